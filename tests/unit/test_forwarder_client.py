"""The client of a forwarder's control socket: against a real forwarder, and against one that misbehaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.tables import Tables

PATIENT = 60.0

Answer = Callable[[bytes], bytes | None]


class Scripted:
    """A server on a Unix socket that answers each line with what `answer` gives; None: it hangs up."""

    def __init__(self, path: Path, answer: Answer) -> None:
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
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Scripted]]:
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
            with pytest.raises(ForwarderError):
                forwarder.update([])
        assert server.conversations == 1, "a refusal is no reason to hang up"

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
    def test_nobody_listens(self, tmp_path: Path) -> None:
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
