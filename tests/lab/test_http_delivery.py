"""Real deliveries by nginx and curl between namespaces on one bridge."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from bridged_hosts import DEADLINE, Net, network, until

from testbed.errors import TransferError
from testbed.transfer.base import Delivery, Destination
from testbed.transfer.http import Http, pacing, read_record
from testbed.transfer.manifest import digest
from testbed.transfer.model import make_model
from testbed.transfer.session import Session

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("curl")), reason="needs nginx and curl: make deps"),
]

MIB = 2**20
NAMES = ("repo-src", "s1-st", "s2-st")


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with network(NAMES) as made:
        yield made


@dataclass
class Watched:
    """A session's surroundings: its processes by host, what it told."""

    net: Net
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)

    def spawn(self, node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        self.processes[node] = self.net.spawn(node, argv, log=log)
        return self.processes[node]

    def notify(self, t: float, kind: str, host: str, detail: dict[str, Any]) -> None:
        self.heard.append((kind, host))


@pytest.fixture
def watched(net: Net) -> Watched:
    return Watched(net)


@pytest.fixture
def bulk(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"http-test-{os.getpid()}-{tmp_path.name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def delivery(net: Net, tmp_path: Path) -> Delivery:
    model = tmp_path / "model"
    return Delivery(
        sync="sync",
        model=model,
        manifest=make_model(model, 24 * MIB, 12 * MIB, seed=7),
        group=None,
        source_host=NAMES[0],
        source=net.address(NAMES[0]),
        ssm=False,
        rate=100_000_000,
        block=8800,
        patience=60.0,
        destinations=tuple(Destination(n, n.partition("-")[0], net.address(n)) for n in NAMES[1:]),
        port=8080,
    )


def session(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path, *, keep: bool = False) -> Session:
    return Session(delivery, Http(), watched.spawn, tmp_path / "work", bulk, keep=keep, notify=watched.notify)


def test_every_destination_gets_every_block(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    with session(delivery, watched, tmp_path, bulk, keep=True) as running:
        running.prepare(DEADLINE)
        running.start()
        assert running.wait(DEADLINE)
    for result in running.results():
        assert (result.delivered, result.reason) == (True, "")
        assert result.verified_bytes == result.expected_bytes == delivery.manifest.total
        assert result.first_byte_s is not None
        assert result.delivery_s is not None
        assert 0 < result.first_byte_s < result.delivery_s
        assert len(result.curve) > 3, "verified bytes are seen as they come"
        assert result.curve[-1] == (result.delivery_s, delivery.manifest.total)
        for file in delivery.manifest.files:
            data = (running.folder(result.name).data / file.name).read_bytes()
            assert tuple(digest(data[at : at + MIB]) for at in range(0, len(data), MIB)) == file.digests
    assert all(process.returncode is not None for process in watched.processes.values())
    assert "resumed" not in {kind for kind, _ in watched.heard}


def test_what_the_kernel_makes_of_a_connection(
    net: Net, delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path
) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        until(lambda: min(running.progress().values()) > 2 * MIB, "progress")
        argv = ("nsenter", "-t", str(net.hosts["repo-src"]), "-n", "ss", "-tinH", "state", "established")
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        argv = ("nsenter", "-t", str(net.hosts["repo-src"]), "-n", "ss", "-tlnH")
        listening = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert listening.split()[3] == "10.64.0.1:8080"
    connections = [line for line in said.splitlines() if "pacing_rate" in line]
    assert len(connections) == 2
    for line in connections:
        assert "cubic" in line
        assert "mss:8800 " in line
        rates = re.search(r"pacing_rate (\d+)bps/(\d+)bps", line)
        assert rates is not None
        assert int(rates[2]) == 8 * pacing(delivery)
        assert int(rates[1]) <= int(rates[2])


def test_memory_is_given_back_while_it_runs(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        assert running.wait(DEADLINE)
        shards = list(bulk.rglob("*.safetensors"))
        assert len(shards) == 4
        assert sum(path.stat().st_blocks for path in shards) == 0
        assert all(result.delivered for result in running.results())
    assert not list(bulk.rglob("*.safetensors"))


def test_a_short_outage_is_tcps_own_affair(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        until(lambda: running.progress()["s2-st"] > 2 * MIB, "progress")
        watched.net.link("s2-st", "down")
        try:
            assert not running.wait(1.0)
        finally:
            watched.net.link("s2-st", "up")
        assert running.wait(DEADLINE)
    assert [(r.delivered, r.reason) for r in running.results()] == [(True, "")] * 2
    assert ("resumed", "s1-st") not in watched.heard


def test_a_client_that_gave_up_is_resumed_where_it_was(
    delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path
) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        until(lambda: running.progress()["s2-st"] > 4 * MIB, "progress")
        watched.net.link("s2-st", "down")
        try:
            until(lambda: ("resumed", "s2-st") in watched.heard, "curl gave up")
            assert not running.wait(0)
            until(lambda: ("delivered", "s1-st") in watched.heard, "the other one is not held up")
        finally:
            watched.net.link("s2-st", "up")
        assert running.wait(DEADLINE)
    assert [(r.delivered, r.reason) for r in running.results()] == [(True, "")] * 2
    first, *_ = delivery.manifest.files
    log = (tmp_path / "work" / "sync" / "repo-src" / "access.log").read_text()
    mine = [line for line in log.splitlines() if line.startswith(str(delivery.destinations[1].address))]
    assert sum(f"/{first.name} " in line for line in mine) == 1, "what is complete is not fetched again"
    assert any(" 206 " in line for line in mine), "the server sent a part"
    statuses = {r.status for r in read_record(Http().marker(running.folder("s2-st"))).values()}
    assert statuses == {0}


def test_a_corrupt_block_is_caught(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    shard = delivery.manifest.files[-1].name
    with (delivery.model / shard).open("r+b") as file:
        file.seek(9 * MIB + 17)
        file.write(b"\0\0\0\0\0\0\0\0")
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        assert running.wait(DEADLINE)
    for result in running.results():
        assert result.reason == f"corrupt block 9 of {shard}"
        assert result.verified_bytes == delivery.manifest.total - MIB
        assert not result.delivered


def test_a_killed_client_is_not_delivered(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        until(lambda: running.progress()["s2-st"] > 2 * MIB, "progress")
        watched.processes["s2-st"].kill()
        assert running.wait(DEADLINE)
    first, second = running.results()
    assert first.delivered
    assert not second.delivered
    assert 0 < second.verified_bytes < second.expected_bytes
    assert re.match(r"\d+ of 27 blocks missing: the client on s2-st was killed by signal 9; ", second.reason)


def test_a_killed_server_ends_it_for_all(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        until(lambda: min(running.progress().values()) > 2 * MIB, "progress")
        watched.processes["repo-src"].send_signal(signal.SIGKILL)
        assert running.wait(DEADLINE)
    for result in running.results():
        assert not result.delivered
        assert "blocks missing: the server on repo-src was killed by signal 9" in result.reason


def test_a_file_that_the_server_does_not_have(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    shard = delivery.manifest.files[-1].name
    (delivery.model / shard).unlink()
    with session(delivery, watched, tmp_path, bulk) as running:
        running.prepare(DEADLINE)
        running.start()
        assert running.wait(DEADLINE)
    for result in running.results():
        assert f"12 of 27 blocks missing: curl ended with status 22 at {shard}: " in result.reason
        assert "404" in result.reason


def test_a_destination_that_is_never_reached_is_given_up(
    delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path
) -> None:
    watched.net.link("s1-st", "down")
    try:
        with session(replace(delivery, patience=3.0), watched, tmp_path, bulk) as running:
            running.prepare(DEADLINE)
            running.start()
            assert running.wait(DEADLINE)
    finally:
        watched.net.link("s1-st", "up")
    lost, served = running.results()
    assert served.delivered
    assert lost.first_byte_s is None
    assert "27 of 27 blocks missing: " in lost.reason
    assert "config.json" in lost.reason


def test_a_server_that_cannot_start_is_an_error(
    net: Net, delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path
) -> None:
    elsewhere = replace(delivery, source=net.address("s2-st"))
    running = session(elsewhere, watched, tmp_path, bulk)
    with running, pytest.raises(TransferError, match=r"the server on repo-src exited with status 1: .*bind"):
        running.prepare(DEADLINE)


def test_stop_ends_everything(delivery: Delivery, watched: Watched, tmp_path: Path, bulk: Path) -> None:
    running = session(delivery, watched, tmp_path, bulk)
    running.prepare(DEADLINE)
    running.start()
    until(lambda: min(running.progress().values()) > MIB, "progress")
    running.stop()
    assert set(watched.processes) == set(NAMES)
    assert all(process.returncode is not None for process in watched.processes.values())
    for result in running.results():
        assert not result.delivered
        assert "missing: stopped before the end" in result.reason
