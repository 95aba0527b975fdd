"""The session, the verifier and the sink with a transport made of shell commands: no root, no network."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event

import pytest

from testbed.errors import TransferError
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Transport
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
    overhead: int = 0
    max_block: int = 1000

    def check(self, delivery: Delivery) -> None:
        pass

    def silence(self, delivery: Delivery) -> float:
        return 0.0

    def receiver(self, delivery: Delivery, destination: Destination, folder: Folder) -> Command:
        return Command(("sh", "-c", self.receive), {folder.work / "listening": "yes"}, (folder.data,))

    def ready(self, delivery: Delivery, pid: int) -> bool:
        return self.listens

    def sender(self, delivery: Delivery, folder: Folder, attempt: int) -> Command:
        folders = " ".join(str(self.bulk / host / delivery.sync) for host in self.serves[attempt])
        copy = f"for d in {folders}; do cp {delivery.model}/* $d/ && echo $d; done >done-{attempt}"
        return Command(("env", "-C", str(folder.work), "sh", "-c", f"{self.script}\n{copy}"))

    def resumable(self, delivery: Delivery, folder: Folder) -> bool:
        return len(list(folder.work.glob("done-*"))) < len(self.serves)

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        return (str(folder.data / file),)

    def marker(self, folder: Folder) -> Path:
        return folder.work / "marker"

    def fates(self, delivery: Delivery, folder: Folder) -> dict[str, Fate]:
        records = list(folder.work.glob("done-*"))
        if not records:
            return {}
        served = {Path(line).parts[-2] for path in records for line in path.read_text().split()}
        return {host: Fate(True) if host in served else Fate(False, "was not served") for host in HOSTS}


def spawn(node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(argv, stdout=out, stderr=out)


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
        assert result.reason == f"2 of {total} blocks missing: although the sender reports success"


def test_a_sender_that_fails_is_quoted(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    results = deliver(delivery, Copy(bulk, script="echo no route; exit 5"), tmp_path, bulk).results()
    assert all("the sender exited with status 5: no route" in r.reason for r in results)


def test_a_dead_receiver_is_named(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    broken = Copy(bulk, receive="echo no device; exit 4", listens=False)
    session = Session(delivery, broken, spawn, tmp_path / "work", bulk)
    with session, pytest.raises(TransferError, match="receiver on a-st exited with status 4: no device"):
        session.prepare(DEADLINE)


def test_receivers_that_do_not_listen_are_an_error(delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = Session(delivery, Copy(bulk, listens=False), spawn, tmp_path / "work", bulk)
    with session, pytest.raises(TransferError, match=r"not listening on 232\.1\.0\.1 after 0\.1 s: a-st, b-st"):
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
