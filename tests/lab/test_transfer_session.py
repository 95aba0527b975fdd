"""Real deliveries with UFTP between namespaces on one bridge."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from bridged_hosts import DEADLINE, Net, network, until

from testbed.errors import TransferError
from testbed.transfer.base import Command, Delivery, Destination, Process
from testbed.transfer.manifest import digest
from testbed.transfer.model import make_model
from testbed.transfer.session import Session
from testbed.transfer.uftp import Uftp

pytestmark = pytest.mark.lab

MIB = 2**20
NAMES = ("repo-src", "s1-st", "s2-st", "s3-st")


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with network(NAMES) as made:
        yield made


@pytest.fixture
def bulk(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"transfer-test-{os.getpid()}-{tmp_path.name}"
    yield folder
    subprocess.run(("rm", "-rf", str(folder)), check=True)


@pytest.fixture
def delivery(net: Net, tmp_path: Path) -> Delivery:
    model = tmp_path / "model"
    manifest = make_model(model, 32 * MIB, 16 * MIB, seed=7)
    return Delivery(
        sync="sync",
        model=model,
        manifest=manifest,
        group=IPv4Address("232.1.0.1"),
        source_host=NAMES[0],
        source=net.address(NAMES[0]),
        ssm=True,
        rate=100_000_000,
        block=8800,
        patience=60.0,
        destinations=tuple(Destination(n, n.partition("-")[0], net.address(n)) for n in NAMES[1:]),
    )


@pytest.mark.parametrize(("ssm", "block"), [(True, 8800), (False, 1300)])
def test_every_destination_gets_every_block(
    net: Net, delivery: Delivery, tmp_path: Path, bulk: Path, ssm: bool, block: int
) -> None:
    delivery = replace(delivery, ssm=ssm, block=block, group=IPv4Address("232.1.0.1" if ssm else "239.1.0.1"))
    heard: list[tuple[str, str]] = []

    def notify(t: float, kind: str, host: str, detail: dict[str, Any]) -> None:
        heard.append((kind, host))

    session = Session(delivery, Uftp(), net.spawn, tmp_path, bulk, keep=True, notify=notify)
    with session:
        session.prepare(DEADLINE)
        zero = session.start()
        until(lambda: any(session.progress().values()), "progress")
        assert session.wait(DEADLINE)
        assert zero <= time.monotonic()
    for result in session.results():
        assert (result.delivered, result.reason) == (True, "")
        assert result.verified_bytes == result.expected_bytes == delivery.manifest.total
        assert result.first_byte_s is not None
        assert result.delivery_s is not None
        assert 0 < result.first_byte_s < result.delivery_s
        assert result.curve[-1] == (result.delivery_s, delivery.manifest.total)
        assert ("delivered", result.name) in heard
        got = session.folder(result.name).data / "done" / "sync"
        for file in delivery.manifest.files:
            data = (got / file.name).read_bytes()
            pieces = (data[at : at + MIB] for at in range(0, len(data), MIB))
            assert tuple(map(digest, pieces)) == file.digests


def test_memory_is_given_back_while_it_runs(net: Net, delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    with Session(delivery, Uftp(), net.spawn, tmp_path, bulk) as session:
        session.prepare(DEADLINE)
        session.start()
        assert session.wait(DEADLINE)
        held = sum(path.stat().st_blocks for path in bulk.rglob("*.safetensors"))
        assert held == 0
        assert all(result.delivered for result in session.results())
    assert not list(bulk.rglob("*.safetensors"))


def test_an_outage_shorter_than_the_patience_is_survived(
    net: Net, delivery: Delivery, tmp_path: Path, bulk: Path
) -> None:
    with Session(delivery, Uftp(), net.spawn, tmp_path, bulk) as session:
        session.prepare(DEADLINE)
        session.start()
        until(lambda: session.progress()["s2-st"] > 2 * MIB, "progress")
        net.link("s2-st", "down")
        try:
            assert not session.wait(2.0)
        finally:
            net.link("s2-st", "up")
        assert session.wait(DEADLINE)
    assert [(r.name, r.delivered, r.reason) for r in session.results()] == [(n, True, "") for n in NAMES[1:]]


def test_a_short_gap_at_a_low_rate_costs_no_more_than_itself(
    net: Net, delivery: Delivery, tmp_path: Path, bulk: Path
) -> None:
    """A receiver with room for fewer blocks than the gap would throw all that follow away (testbed.transfer.uftp)."""
    model = tmp_path / "small"
    manifest = make_model(model, MIB, MIB, seed=7)
    slow = replace(delivery, model=model, manifest=manifest, rate=4_000_000)
    with Session(slow, Uftp(), net.spawn, tmp_path, bulk) as session:
        session.prepare(DEADLINE)
        before = net.sent(NAMES[0])
        session.start()
        until(lambda: net.sent(NAMES[0]) > before + 40, "some blocks sent")
        net.link("s2-st", "down")
        try:
            cut = net.sent(NAMES[0])
            until(lambda: net.sent(NAMES[0]) > cut + 2, "three packets sent")
        finally:
            net.link("s2-st", "up")
        assert session.wait(DEADLINE)
    assert all(result.delivered for result in session.results())
    (log,) = tmp_path.rglob("sender.log")
    naks = [int(n) for n in re.findall(r"Got (\d+) NAKs", log.read_text())]
    blocks = manifest.total // slow.block
    assert naks, "nothing was lost"
    assert sum(naks) < blocks // 2, f"{naks} of {blocks} blocks asked for again"


def test_a_destination_dropped_by_the_sender_is_served_by_a_restart(
    net: Net, delivery: Delivery, tmp_path: Path, bulk: Path
) -> None:
    kinds: list[str] = []

    def notify(t: float, kind: str, host: str, detail: dict[str, Any]) -> None:
        kinds.append(kind)

    session = Session(replace(delivery, patience=30.0), Uftp(), net.spawn, tmp_path, bulk, notify=notify)
    with session:
        session.prepare(DEADLINE)
        session.start()
        until(lambda: session.progress()["s2-st"] > 2 * MIB, "progress")
        net.link("s2-st", "down")
        try:
            until(lambda: "resumed" in kinds or session.wait(0), "the sender dropped the destination")
        finally:
            net.link("s2-st", "up")
        assert session.wait(DEADLINE)
    assert "resumed" in kinds
    assert [(r.name, r.delivered, r.reason) for r in session.results()] == [(n, True, "") for n in NAMES[1:]]


def test_a_corrupt_block_is_caught(net: Net, delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    shard = delivery.manifest.files[-1].name
    with (delivery.model / shard).open("r+b") as file:
        file.seek(9 * MIB + 17)
        file.write(b"\0\0\0\0\0\0\0\0")
    with Session(delivery, Uftp(), net.spawn, tmp_path, bulk) as session:
        session.prepare(DEADLINE)
        session.start()
        assert session.wait(DEADLINE)
    for result in session.results():
        assert not result.delivered
        assert result.reason == f"corrupt block 9 of {shard}"
        assert result.verified_bytes == delivery.manifest.total - MIB
        assert result.delivery_s is None


def test_a_killed_receiver_is_not_delivered(net: Net, delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    spawned: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        spawned[node] = net.spawn(node, argv, log=log)
        return spawned[node]

    with Session(replace(delivery, patience=1.0), Uftp(), spawn, tmp_path, bulk) as session:
        session.prepare(DEADLINE)
        session.start()
        until(lambda: session.progress()["s3-st"] > 2 * MIB, "progress")
        spawned["s3-st"].kill()
        assert session.wait(DEADLINE)
    first, second, third = session.results()
    assert first.delivered
    assert second.delivered
    assert not third.delivered
    assert third.delivery_s is None
    assert 0 < third.verified_bytes < third.expected_bytes
    assert "blocks missing: the receiver on s3-st was killed by signal 9" in third.reason


def test_a_destination_that_never_answers_is_given_up(net: Net, delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    net.link("s1-st", "down")
    try:
        with Session(replace(delivery, patience=3.0), Uftp(), net.spawn, tmp_path, bulk) as session:
            session.prepare(DEADLINE)
            session.start()
            assert session.wait(DEADLINE)
    finally:
        net.link("s1-st", "up")
    lost, *rest = session.results()
    assert all(result.delivered for result in rest)
    assert not lost.delivered
    assert lost.first_byte_s is None
    assert "never registered" in lost.reason


def test_stop_ends_everything_and_keeps_what_was_measured(
    net: Net, delivery: Delivery, tmp_path: Path, bulk: Path
) -> None:
    spawned: list[subprocess.Popen[bytes]] = []

    def spawn(node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        spawned.append(net.spawn(node, argv, log=log))
        return spawned[-1]

    session = Session(delivery, Uftp(), spawn, tmp_path, bulk)
    session.prepare(DEADLINE)
    session.start()
    until(lambda: min(session.progress().values()) > MIB, "progress")
    session.stop()
    session.stop()
    assert len(spawned) == 4
    assert all(process.returncode is not None for process in spawned)
    for result in session.results():
        assert not result.delivered
        assert result.verified_bytes > MIB
        assert result.curve
        assert "missing: stopped before the end" in result.reason


class Broken(Uftp):
    def listeners(self, *args: Any) -> tuple[Process, ...]:
        return (Process("receiver", NAMES[1], (), Command(("sh", "-c", "echo no such thing >&2; exit 3"))),)


def test_a_receiver_that_does_not_start_is_an_error(net: Net, delivery: Delivery, tmp_path: Path, bulk: Path) -> None:
    session = Session(delivery, Broken(), net.spawn, tmp_path, bulk)
    with session, pytest.raises(TransferError, match="exited with status 3: no such thing"):
        session.prepare(DEADLINE)
