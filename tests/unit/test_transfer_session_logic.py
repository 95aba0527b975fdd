"""The session, the verifier and the sink with a transport made of shell commands: no root, no network."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from testbed.errors import TransferError
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Folders, Process, Transport
from testbed.transfer.manifest import NAME
from testbed.transfer.model import make_model
from testbed.transfer.processes import end, status_text, tail
from testbed.transfer.session import Session
from testbed.transfer.sink import Config, Watch, read_config, watch, write_config

DEADLINE = 60 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))
HOSTS = ("a-st", "b-st")


@dataclass(frozen=True)
class Copy:
    """A transport that copies with cp. `script` is run in between; `serves` are the hosts that get it, by attempt."""

    bulk: Path
    serves: tuple[tuple[str, ...], ...] = (HOSTS,)
    script: str = "true"
    receive: str = "exec sleep 600"
    listens: bool = True
    name: str = "copy"
    programs: tuple[str, ...] = ("cp",)
    multicast: bool = True
    port: int = 1000
    overhead: int = 0

    def check(self, delivery: Delivery) -> None:
        pass

    def silence(self, delivery: Delivery) -> float:
        return 0.0

    def listeners(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        def receive(folder: Folder) -> Command:
            return Command(("sh", "-c", self.receive), {folder.work / "listening": "yes"}, (folder.data,))

        return tuple(Process("receiver", host, (host,), receive(folders(host))) for host in HOSTS)

    def ready(self, delivery: Delivery, pid: int) -> bool:
        return self.listens

    def movers(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        folders("src").work.mkdir()
        return (Process("sender", "src", HOSTS, self._copy(delivery, folders("src"), 0)),)

    def resume(
        self, delivery: Delivery, folders: Folders, mover: Process, attempt: int, status: int
    ) -> Process | None:
        if attempt == len(self.serves):
            return None
        return replace(mover, command=self._copy(delivery, folders("src"), attempt))

    def _copy(self, delivery: Delivery, folder: Folder, attempt: int) -> Command:
        folders = " ".join(str(self.bulk / host / delivery.sync) for host in self.serves[attempt])
        copy = f"for d in {folders}; do cp {delivery.model}/* $d/ && echo $d; done >done-{attempt}"
        return Command(("env", "-C", str(folder.work), "sh", "-c", f"{self.script}\n{copy}"))

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        return (str(folder.data / file),)

    def marker(self, folder: Folder) -> Path:
        return folder.work / "marker"

    def fates(self, delivery: Delivery, folders: Folders) -> dict[str, Fate]:
        records = list(folders("src").work.glob("done-*"))
        if not records:
            return {}
        served = {Path(line).parts[-2] for path in records for line in path.read_text().split()}
        return {host: Fate(True) if host in served else Fate(False, "was not served") for host in HOSTS}


@dataclass(frozen=True)
class Fetch(Copy):
    """The other way round: one server listens, every destination copies for itself. `scripts`: by attempt, first."""

    scripts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    serve: str = "exec sleep 600"

    def listeners(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        return (Process("server", "src", HOSTS, Command(("sh", "-c", self.serve))),)

    def movers(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        return tuple(Process("client", h, (h,), self._fetch(delivery, h, folders(h), 0)) for h in HOSTS)

    def resume(
        self, delivery: Delivery, folders: Folders, mover: Process, attempt: int, status: int
    ) -> Process | None:
        if status != 28:
            return None
        return replace(mover, command=self._fetch(delivery, mover.host, folders(mover.host), attempt))

    def _fetch(self, delivery: Delivery, host: str, folder: Folder, attempt: int) -> Command:
        script = (*self.scripts.get(host, ()), "true")[attempt:][0]
        copy = f"{script}\ncp {delivery.model}/* {folder.data}/ && touch fetched"
        return Command(("env", "-C", str(folder.work), "sh", "-c", copy), folders=(folder.work, folder.data))

    def fates(self, delivery: Delivery, folders: Folders) -> dict[str, Fate]:
        return {host: Fate(True) for host in HOSTS if (folders(host).work / "fetched").exists()}


def spawn(node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(argv, stdout=out, stderr=out)


FED: dict[str, subprocess.Popen[bytes]] = {}


def spawn_fed(node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """As `spawn`, and what it made can be written to."""
    with log.open("ab") as out:
        FED[node] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=out)
    return FED[node]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def bulk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    model = tmp_path / "model"
    return Delivery(
        sync="sync",
        model=model,
        manifest=make_model(model, 2**20, 2**19, seed=1, block=2**18),
        group=IPv4Address("232.1.0.1"),
        source_host="src",
        source=IPv4Address("10.0.0.1"),
        ssm=True,
        rate=10**9,
        block=1000,
        patience=0.2,
        destinations=tuple(Destination(host, host[0], IPv4Address(f"10.0.0.{n}")) for n, host in enumerate(HOSTS, 2)),
    )


def deliver(delivery: Delivery, transport: Transport, tmp_path: Path, bulk: Path, keep: bool = False) -> Session:
    with Session(delivery, transport, spawn, tmp_path / "work", bulk, keep=keep) as session:
        session.prepare(DEADLINE)
        session.start()
        assert session.wait(DEADLINE)
    return session


def test_a_delivery(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = deliver(delivery, Copy(bulk), tmp_path, bulk)
    assert session.progress() == dict.fromkeys(HOSTS, delivery.manifest.total)
    for result, host in zip(session.results(), HOSTS, strict=True):
        assert (result.name, result.site, result.sync) == (host, host[0], "sync")
        assert (result.delivered, result.reason) == (True, "")
        assert result.verified_bytes == result.expected_bytes == delivery.manifest.total
        assert result.first_byte_s is not None
        assert result.delivery_s is not None
        assert 0 < result.first_byte_s <= result.delivery_s
    assert not list(bulk.rglob("*.safetensors"))
    assert (tmp_path / "work" / "sync" / "a-st" / "listening").read_text() == "yes"


def test_kept_files_stay(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = deliver(delivery, Copy(bulk), tmp_path, bulk, keep=True)
    for file in delivery.manifest.files:
        got = session.folder("b-st").data / file.name
        assert got.read_bytes() == (delivery.model / file.name).read_bytes()


def test_what_the_first_attempt_left_is_taken_up(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = deliver(delivery, Copy(bulk, (("a-st",), ("b-st",))), tmp_path, bulk)
    assert [r.delivered for r in session.results()] == [True, True]


def test_a_destination_that_is_never_served_has_a_reason(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    served, lost = deliver(delivery, Copy(bulk, (("a-st",),)), tmp_path, bulk).results()
    assert served.delivered
    assert not lost.delivered
    assert lost.reason == f"{delivery.manifest.blocks} of {delivery.manifest.blocks} blocks missing: was not served"


def test_a_silent_transfer_is_given_up(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    results = deliver(delivery, Copy(bulk, script="exec sleep 600"), tmp_path, bulk).results()
    assert all("given up after 0.2 s without progress" in r.reason for r in results)


def test_success_claimed_for_wrong_bytes_is_corrupt(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    shard = delivery.manifest.files[-1].name
    with (delivery.model / shard).open("r+b") as file:
        file.seek(2**18 + 5)
        file.write(b"\0\0\0\0")
    for result in deliver(delivery, Copy(bulk), tmp_path, bulk).results():
        assert result.reason == f"corrupt block 1 of {shard}"
        assert result.verified_bytes == delivery.manifest.total - 2**18


def test_success_claimed_for_missing_bytes_is_not_believed(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    shard = delivery.manifest.files[-1].name
    (delivery.model / shard).unlink()
    for result in deliver(delivery, Copy(bulk), tmp_path, bulk).results():
        total = delivery.manifest.blocks
        assert result.reason == f"2 of {total} blocks missing: although the transport reports success"


def test_a_sender_that_fails_is_quoted(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    results = deliver(delivery, Copy(bulk, script="echo no route; exit 5"), tmp_path, bulk).results()
    assert all("the sender on src exited with status 5: no route" in r.reason for r in results)


def test_each_mover_is_taken_up_for_itself(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    heard: list[tuple[str, str]] = []
    fetch = Fetch(bulk, scripts={"b-st": ("exit 28", "exit 28")})

    def notify(t: float, kind: str, host: str, detail: dict[str, Any]) -> None:
        heard.append((kind, host))

    patient = replace(delivery, patience=60.0)
    with Session(patient, fetch, spawn, tmp_path / "work", bulk, notify=notify) as session:
        session.prepare(DEADLINE)
        session.start()
        assert session.wait(DEADLINE)
    assert [r.delivered for r in session.results()] == [True, True]
    assert [host for kind, host in heard if kind == "resumed"] == ["b-st", "b-st"]
    delivered = heard.index(("delivered", "a-st"))
    assert delivered < heard.index(("resumed", "b-st")), "one that is well does not wait for one that is not"


def test_a_mover_that_cannot_be_taken_up_is_quoted(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    fetch = Fetch(bulk, scripts={"a-st": ("echo no such model; exit 22",), "b-st": ("kill -9 $$",)})
    first, second = deliver(delivery, fetch, tmp_path, bulk).results()
    assert "blocks missing: the client on a-st exited with status 22: no such model" in first.reason
    assert "blocks missing: the client on b-st was killed by signal 9" in second.reason


def test_a_mover_without_progress_is_given_up_alone(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    fetch = Fetch(bulk, scripts={"b-st": ("exec sleep 600",)})
    first, second = deliver(delivery, fetch, tmp_path, bulk).results()
    assert first.delivered
    assert "given up after 0.2 s without progress" in second.reason


def test_a_dead_server_is_the_reason_for_all_it_serves(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = Session(
        replace(delivery, patience=60.0),
        Fetch(bulk, serve="read line; echo broken; exit 3", scripts={"b-st": ("exec sleep 600",)}),
        spawn_fed,
        tmp_path / "work",
        bulk,
    )
    with session:
        session.prepare(DEADLINE)
        session.start()
        until(lambda: session.progress()["a-st"] == delivery.manifest.total)
        FED["src"].communicate(b"go\n")
        assert session.wait(DEADLINE)
    first, second = session.results()
    assert first.delivered
    assert "blocks missing: the server on src exited with status 3: broken" in second.reason


def test_a_dead_receiver_is_named(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    broken = Copy(bulk, receive="echo no device; exit 4", listens=False)
    session = Session(delivery, broken, spawn, tmp_path / "work", bulk)
    with session, pytest.raises(TransferError, match=r"receiver on [ab]-st exited with status 4: no device"):
        session.prepare(DEADLINE)


def test_receivers_that_do_not_listen_are_an_error(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = Session(delivery, Copy(bulk, listens=False), spawn, tmp_path / "work", bulk)
    with session, pytest.raises(TransferError, match=r"after 0\.1 s: the receiver on a-st, the receiver on b-st"):
        session.prepare(0.1)


def test_a_dead_verifier_ends_the_transfer(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    with Session(delivery, Copy(bulk, script="exec sleep 600"), spawn, tmp_path / "work", bulk) as session:
        session.prepare(DEADLINE)
        session.start()
        (sink,) = (p for p in children() if b"testbed.transfer.sink" in p[1])
        os.kill(sink[0], 9)
        assert session.wait(DEADLINE)
    assert all("the verifying process was killed by signal 9" in r.reason for r in session.results())


def children() -> list[tuple[int, bytes]]:
    tasks = Path("/proc/self/task").glob("*/children")
    pids = {int(pid) for task in tasks for pid in task.read_text().split()}
    return [(pid, Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in pids]


def test_the_verifier_ends_with_whoever_started_it(delivery: Delivery, tmp_path: Path) -> None:
    config = Config(str(delivery.model / NAME), (Watch("a", ((),) * 5, "/none"),))
    write_config(config, tmp_path / "c")
    argv = (sys.executable, "-m", "testbed.transfer.sink", "--config", str(tmp_path / "c"))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "ready"
        assert process.stdin is not None
        process.stdin.close()
        assert json.loads(process.stdout.readline())["kind"] == "summary"
        assert process.wait(DEADLINE) == 0


def test_a_sink_configuration_reads_back(tmp_path: Path) -> None:
    config = Config("/m", (Watch("a", (("/x/*", "/y"), ("/z",)), "/mark"),), keep=True, poll=0.5)
    write_config(config, tmp_path / "c")
    assert read_config(tmp_path / "c") == config


def test_a_sink_that_cannot_read_fails_at_once(delivery: Delivery, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    places = ((str(tmp_path / "folder"),),) * len(delivery.manifest.files)
    config = Config(str(delivery.model / NAME), (Watch("a", places, "/none"),))
    with pytest.raises(OSError, match="Is a directory"):
        watch(config, Event(), io.StringIO())


def test_processes_end_and_say_how(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    stubborn = subprocess.Popen((sys.executable, "-c", deaf), stdout=subprocess.PIPE)
    gentle = subprocess.Popen(("sleep", "600"))
    with stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        end([stubborn, gentle], grace=0.1)
    assert (status_text(stubborn.returncode), status_text(gentle.returncode)) == (
        "was killed by signal 9",
        "was killed by signal 15",
    )
    assert status_text(3) == "exited with status 3"
    (tmp_path / "log").write_bytes(b"one\n\0two\n\nthree\n")
    assert tail(tmp_path / "log") == "two | three"
    assert tail(tmp_path / "none") == ""
