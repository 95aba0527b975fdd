"""The client of a forwarder's control socket: against a real forwarder, and against one that misbehaves."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import IO

import pytest

from testbed.errors import DaemonError, ForwarderError, MachineError
from testbed.forwarder import program
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.forwarder.rows import Bift, End, Flow, Label, NextHop, Node, Path, Pop, Port, PortAction, Swap
from testbed.forwarder.state import Counter
from testbed.forwarder.tables import Tables, difference
from testbed.lab.waiting import until
from testbed.packet import BitString, Encapsulation

PATIENT = 60.0

Answer = Callable[[bytes], bytes | None]


class Scripted:
    """A server on a Unix socket that answers each line with what `answer` gives; None: it hangs up."""

    def __init__(self, path: pathlib.Path, answer: Answer) -> None:
        self.path, self.answer = path, answer
        self.heard: list[bytes] = []
        self.conversations = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.conversations += 1
            with peer, peer.makefile("rb") as lines:
                for line in lines:
                    self.heard.append(line)
                    reply = self.answer(line)
                    if reply is None:
                        break
                    peer.sendall(reply)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> Iterator[Callable[[Answer], Scripted]]:
    servers = []

    def start(answer: Answer) -> Scripted:
        servers.append(Scripted(tmp_path / "socket", answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[[Answer], Scripted]


def transactions(reply: bytes) -> Answer:
    """Nothing is answered before a commit."""
    return lambda line: reply if line == b"commit\n" else b""


class TestConversation:
    def test_a_transaction_is_sent_as_one_and_answered_once(self, serve: Serve) -> None:
        server = serve(transactions(b"ok\n"))
        with Forwarder(server.path, PATIENT) as forwarder:
            forwarder.replace(Tables())
            forwarder.update(["del label 16", "port r1-r2"])
        assert server.heard == [
            *(b"replace\n", b"node source :: ttl 64\n", b"commit\n"),
            *(b"update\n", b"del label 16\n", b"port r1-r2\n", b"commit\n"),
        ]
        assert server.conversations == 1

    def test_every_mistake_is_told_with_its_row(self, serve: Serve) -> None:
        server = serve(transactions(b"error line 2: unknown word: sway\nerror bift 5: no\nerror and 3 more\nfailed\n"))
        with Forwarder(server.path, PATIENT) as forwarder:
            with pytest.raises(ForwarderError) as caught:
                forwarder.update(["port r1-r2", "label 16 sway 17"])
            assert caught.value.errors == (
                "line 2: unknown word: sway (in: label 16 sway 17)",
                "bift 5: no",
                "and 3 more",
            )
            assert str(caught.value).splitlines() == [
                f"the forwarder at {server.path} refused this update:",
                *(f"    {error}" for error in caught.value.errors),
            ]

    @pytest.mark.parametrize("line", ["commit", " abort", "port a\ncommit"])
    def test_no_line_ends_its_transaction(self, serve: Serve, line: str) -> None:
        server = serve(transactions(b"ok\n"))
        with Forwarder(server.path, PATIENT) as forwarder, pytest.raises(ForwarderError, match="cannot be a line"):
            forwarder.update([line])
        assert server.heard == []

    def test_threads_get_their_own_answers(self, serve: Serve) -> None:
        server = serve(lambda line: line + b"ok\n")
        with Forwarder(server.path, PATIENT) as forwarder, ThreadPoolExecutor(8) as pool:
            views = [f"view{number}" for number in range(64)]
            assert list(pool.map(forwarder.show, views)) == [f"show {view}\n" for view in views]
        assert server.conversations == 1


class TestTrouble:
    def test_nobody_listens(self, tmp_path: pathlib.Path) -> None:
        with (
            Forwarder(tmp_path / "socket") as forwarder,
            pytest.raises(ForwarderError, match=f"at {tmp_path}/socket does not answer: .*No such file"),
        ):
            forwarder.tables()

    def test_it_hangs_up_and_is_spoken_to_again(self, serve: Serve) -> None:
        replies = [b"BIFT 5", None, b"drops\nok\n"]
        server = serve(lambda _: replies.pop(0))
        with Forwarder(server.path, PATIENT) as forwarder:
            with pytest.raises(ForwarderError, match="hung up"):
                forwarder.update([])
            assert forwarder.show("drops") == "drops\n"
        assert server.conversations == 2

    def test_what_it_said_before_it_hung_up_is_told(self, serve: Serve) -> None:
        replies = [b"error a line is longer than 64 KiB\n", None]
        server = serve(lambda _: replies.pop(0))
        with (
            Forwarder(server.path, PATIENT) as forwarder,
            pytest.raises(ForwarderError, match="hung up; a line is longer than 64 KiB"),
        ):
            forwarder.update([])

    def test_a_late_answer_is_not_taken_for_the_next_one(self, serve: Serve) -> None:
        replies = [b"", b"second\nok\n"]
        server = serve(lambda _: replies.pop(0))
        with Forwarder(server.path, timeout=0.05) as forwarder:
            with pytest.raises(ForwarderError, match="does not answer: timed out"):
                forwarder.show("bift")
            forwarder.timeout = PATIENT
            assert forwarder.show("bift") == "second\n"
        assert server.conversations == 2

    @pytest.mark.parametrize("reply", [b"BIFT 5", b"gate 5\n", b"{}\n", b'{"node":{}}\n', b"[1]\n", b"\xff\n"])
    def test_an_answer_that_is_none(self, serve: Serve, reply: bytes) -> None:
        server = serve(lambda _: reply + b"\nok\n")
        with Forwarder(server.path, PATIENT) as forwarder:
            with pytest.raises(ForwarderError, match="answered 'state' strangely"):
                forwarder.state()
            with pytest.raises(ForwarderError, match="answered 'tables' strangely"):
                forwarder.tables()


BIER = Encapsulation.NON_MPLS
TABLES = Tables(
    [
        Node(ttl=9),
        Port("r1-r2", transport=True),
        Port("r1-s1", context=7),
        NextHop(1, "r1-r2", IPv4Address("10.0.0.2")),
        NextHop(2, "r1-r2", "02:00:00:00:00:02"),
        Bift(BIER, 5, bsl=256, bfr_id=1, context=7),
        Path(BIER, 5, 0, 0, fbm=BitString.of({1}), to=End.LOCAL),
        Path(BIER, 5, 0, 1, fbm=BitString.of({2, 3}), to=1),
        Label(16001, Swap(16001, 2)),
        Flow(7, None, IPv4Address("232.0.0.1"), (PortAction("r1-s1"),)),
    ]
)


class Router:
    """A node as a daemon sees it: namespaces of its own, and private folders that are reached from outside too."""

    name = "r1"

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        for part in ("run", "log"):
            (folder / part).mkdir()

    def popen(
        self, argv: Sequence[str], *, stdout: IO[bytes] | None, stderr: IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        inside = 'mount --bind "$0/log" /var/log && mount --bind "$0/run" /run && exec "$@"'
        command = ["unshare", "--mount", "--net", "sh", "-c", inside, str(self.folder), *argv]
        self.processes.append(subprocess.Popen(command, stdout=stdout, stderr=stderr))
        return self.processes[-1]


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[ForwarderDaemon]:
    router = Router(tmp_path)
    yield ForwarderDaemon(router, binary="mcfwd-checked")
    for process in router.processes:
        process.kill()
        process.wait()


def started(daemon: ForwarderDaemon) -> subprocess.Popen[bytes]:
    process = daemon.start()
    until(lambda: daemon.why_not_ready(process), PATIENT, "the forwarder's start", pause=0.005)
    return process


class TestForwarder:
    """Against the program itself, built with sanitizers."""

    @pytest.fixture
    def forwarder(self, daemon: ForwarderDaemon) -> Iterator[Forwarder]:
        process = started(daemon)
        with Forwarder(daemon.socket, PATIENT) as forwarder:
            yield forwarder
        daemon.stop(process, PATIENT)
        assert process.returncode == 0, daemon.tail(50)

    def test_it_says_what_it_was_told(self, forwarder: Forwarder) -> None:
        assert forwarder.tables() == Tables()
        forwarder.replace(TABLES)
        assert forwarder.tables() == TABLES
        assert forwarder.state().tables() == TABLES

    def test_its_state(self, forwarder: Forwarder) -> None:
        forwarder.replace(TABLES)
        state = forwarder.state()
        nothing = Counter(0, 0)
        assert (state.ports["r1-r2"].ifindex, state.ports["r1-r2"].up, state.ports["r1-r2"].rx) == (0, False, nothing)
        assert state.nexthops[1].mac is None
        assert state.nexthops[2].mac == "02:00:00:00:00:02"
        assert [path.row.to for path in state.bifts[BIER, 5].paths] == [End.LOCAL, 1]
        assert state.labels[16001].received == nothing
        assert [action.sent for flow in state.flows for action in flow.actions] == [nothing]
        assert state.drops == {}

    def test_an_update_changes_some_rows(self, forwarder: Forwarder) -> None:
        forwarder.replace(TABLES)
        changed = TABLES.put(Label(16001, Pop()), Label(16002, Swap(16002, 1)), Port("r1-r3"))
        changed = Tables(row for row in changed if not isinstance(row, Bift | Path))
        forwarder.update(difference(TABLES, changed))
        assert forwarder.tables() == changed

    def test_a_refusal_names_every_mistake_and_changes_nothing(self, forwarder: Forwarder) -> None:
        forwarder.replace(TABLES)
        with pytest.raises(ForwarderError) as caught:
            forwarder.update(["label 16002 pop", "del label 17", "label 5 pop"])
        assert [error.split(": ")[0] for error in caught.value.errors] == ["line 2", "line 3"]
        assert caught.value.errors[1].endswith("(in: label 5 pop)")
        with pytest.raises(ForwarderError, match="there is no nexthop 77"):
            forwarder.update(["label 16002 swap 16003 nexthop 77"])
        with pytest.raises(ForwarderError, match="refused this show everything"):
            forwarder.show("everything")
        assert forwarder.tables() == TABLES

    def test_a_line_that_is_too_long(self, forwarder: Forwarder) -> None:
        forwarder.replace(TABLES)
        with pytest.raises(ForwarderError, match="a line is longer than 64 KiB"):
            forwarder.update([f"# {'-' * 300_000}"])
        assert forwarder.tables() == TABLES

    def test_many_rows(self, forwarder: Forwarder) -> None:
        many = Tables([*TABLES, *(Label(label, Swap(label, 2)) for label in range(100_000, 105_000))])
        forwarder.replace(many)
        assert forwarder.tables() == many
        assert forwarder.state().tables() == many

    def test_views_for_people(self, forwarder: Forwarder) -> None:
        forwarder.replace(TABLES)
        assert "r1-r2" in forwarder.show("ports")
        assert "BIFT 5 (ethernet)" in forwarder.show("bift")
        assert forwarder.show("drops") == ""


class TestDaemon:
    def test_it_begins_with_the_tables_that_were_saved(self, daemon: ForwarderDaemon) -> None:
        process = started(daemon)
        with Forwarder(daemon.socket, PATIENT) as forwarder:
            forwarder.replace(TABLES)
        daemon.save(TABLES)
        daemon.stop(process, PATIENT)
        assert process.returncode == 0
        process = started(daemon)
        with Forwarder(daemon.socket, PATIENT) as forwarder:
            assert forwarder.tables() == TABLES
        daemon.stop(process, PATIENT)

    def test_it_begins_anew_where_it_was_killed(self, daemon: ForwarderDaemon) -> None:
        process = started(daemon)
        process.kill()
        process.wait()
        assert daemon.socket.exists()
        daemon.stop(started(daemon), PATIENT)

    def test_what_ended_is_never_ready(self, daemon: ForwarderDaemon) -> None:
        daemon.tables.write_text("label 5 pop\n")
        process = daemon.start()
        process.wait(PATIENT)
        with pytest.raises(DaemonError, match=r"(?s)mcfwd of r1 ended with status 2\n.*line 1: a label must be"):
            daemon.why_not_ready(process)

    def test_what_does_not_end_is_killed(self, daemon: ForwarderDaemon) -> None:
        process = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; exec sleep 600"], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        with process.stdout, pytest.raises(DaemonError, match=r"(?s)r1 did not end .*\(it wrote no log\)"):
            daemon.stop(process, 0.01)
        assert process.returncode == -9

    def test_it_must_be_built(self, daemon: ForwarderDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(program, "BIN", pathlib.Path("/nonexistent"))
        with pytest.raises(MachineError) as caught:
            daemon.start()
        assert caught.value.remedy == "make forwarder"
