"""The probe sender's pacing on a clock of the test's own, the collector's view of a stream, batched reception."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from testbed.run.batch import SO_TIMESTAMPNS, Batch, drops
from testbed.run.clock import MonotonicStamps, measure_offset
from testbed.run.collector import Stream
from testbed.run.probe import HEADER, MAGIC
from testbed.run.probe_sender import Summary, send_probes

MS = 1_000_000


class Clock:
    """Time passes only when the sender waits, plus the delays (ns) that the test puts on its wakings."""

    def __init__(self, until: int, delays: dict[int, int] | None = None) -> None:
        self.now = 5_000 * MS
        self._end = self.now + until
        self._delays, self._wakings = delays or {}, 0

    def wait(self, seconds: float) -> bool:
        self.now += round(seconds * 1e9) + self._delays.get(self._wakings, 0)
        self._wakings += 1
        return self.now >= self._end


def run(clock: Clock, refuse: tuple[int, ...] = (), size: int = 64) -> tuple[Summary, list[tuple[int, int]]]:
    """The summary, and (sequence number, send time in ms after the start) of each probe that got out."""
    begun, out = clock.now, []

    def send(packet: bytearray) -> None:
        assert len(packet) == size
        magic, sync, seq, sent = HEADER.unpack_from(packet)
        assert (magic, sync) == (MAGIC, 3)
        if seq in refuse:
            raise OSError("no carrier")
        out.append((seq, (sent - begun) // MS))

    summary = send_probes(send, clock.wait, lambda: clock.now, sync=3, interval_ns=MS, size=size)
    return summary, out


def test_one_probe_every_interval() -> None:
    summary, out = run(Clock(5 * MS))
    assert out == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    assert (summary.sent, summary.skipped, summary.refused, summary.late_max_ms) == (5, 0, 0, 0)
    assert summary.last_sent_ns - summary.first_sent_ns == 4 * MS


def test_a_late_sender_skips_and_never_bursts() -> None:
    summary, out = run(Clock(9 * MS, {2: round(3.4 * MS)}))
    # Deadline 2 was met at 5.4: that probe goes, 3, 4 and 5 are skipped, the next is on time at 6.
    assert out == [(0, 0), (1, 1), (2, 5), (3, 6), (4, 7), (5, 8)]
    assert summary.skipped == 3
    assert summary.late_max_ms == pytest.approx(3.4)
    assert summary.late_p99_ms == pytest.approx(3.4)


def test_a_refused_probe_uses_its_number_up() -> None:
    summary, out = run(Clock(4 * MS), refuse=(1,))
    assert [seq for seq, _ in out] == [0, 2, 3]
    assert (summary.sent, summary.refused) == (4, 1)


def test_the_99th_percentile_leaves_a_rare_delay_out() -> None:
    summary, _ = run(Clock(1000 * MS, {500: MS // 2}))
    assert summary.late_max_ms == pytest.approx(0.5)
    assert summary.late_p99_ms <= 0.01


def batch_of(*numbers: int, sync: int = 1, magic: bytes = MAGIC) -> np.ndarray:
    raw = b"".join(HEADER.pack(magic, sync, n, n * MS) for n in numbers)
    return np.frombuffer(raw, np.uint8).reshape(len(numbers), HEADER.size)


def take(stream: Stream, numbers: list[int], at_ms: list[float]) -> list[tuple[float, str, dict[str, int]]]:
    stamps = np.array([round(t * MS) for t in at_ms], np.int64)
    return [(round(t * 1000, 6), kind, detail) for t, kind, detail in stream.take(batch_of(*numbers), stamps)]


def test_the_collector_tells_first_probe_and_outages() -> None:
    stream = Stream("h", 1, "sync", MS)
    assert take(stream, [4, 5], [4, 5]) == [(4, "first-probe", {"sync": "sync", "seq": 4})]
    assert list(stream.idle(10 * MS)) == []
    (silent,) = stream.idle(11 * MS)
    assert silent == (0.006, "outage-start", {"sync": "sync"})
    assert list(stream.idle(12 * MS)) == []
    assert take(stream, [30, 31], [30, 31]) == [(30, "outage-end", {"sync": "sync", "lost": 24})]
    # Inside one batch both ends show; a short hole, or silence without a hole, is nothing to tell.
    told = take(stream, [32, 50, 52, 53], [32, 50, 52, 90])
    assert told == [(33, "outage-start", {"sync": "sync"}), (50, "outage-end", {"sync": "sync", "lost": 17})]
    assert stream.probes().seq.tolist() == [4, 5, 30, 31, 32, 50, 52, 53]
    assert stream.received == 8


def test_a_pause_of_the_sender_ends_without_loss() -> None:
    stream = Stream("h", 1, "sync", MS)
    take(stream, [0], [0])
    list(stream.idle(20 * MS))
    assert take(stream, [1], [20]) == [(20, "outage-end", {"sync": "sync", "lost": 0})]


def test_foreign_datagrams_are_left_out() -> None:
    stream = Stream("h", 1, "sync", MS)
    stamps = np.array([MS], np.int64)
    assert list(stream.take(batch_of(0, sync=2), stamps)) == []
    assert list(stream.take(batch_of(0, magic=b"none"), stamps)) == []
    assert stream.received == 0
    assert stream.probes().seq.tolist() == []


def test_a_batch_brings_data_and_kernel_stamps() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        batch = Batch(4, 8)
        assert len(batch.receive(receiver)[0]) == 0
        before = time.time_ns()
        payloads = [b"%04d-and-more" % i for i in range(5)] + [b"short"]
        for payload in payloads:
            sender.sendto(payload, receiver.getsockname())
        data, stamps = batch.receive(receiver)
        assert [bytes(row) for row in data] == [p[:8] for p in payloads[:4]]
        assert before <= stamps[0] <= stamps[1] <= stamps[2] <= stamps[3] <= time.time_ns()
        data, stamps = batch.receive(receiver)  # the short one is left out
        assert [bytes(row) for row in data] == [payloads[4][:8]]
        assert len(stamps) == 1
        assert drops(receiver) == 0


def test_drops_at_a_full_socket_are_counted() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        receiver.bind(("127.0.0.1", 0))
        for _ in range(50):
            sender.sendto(bytes(1000), receiver.getsockname())
        batch = Batch(64, 8)
        assert len(batch.receive(receiver)[0]) + drops(receiver) == 50
        assert drops(receiver) > 0


def test_the_offset_between_the_clocks_is_true_to_its_error() -> None:
    offset = measure_offset()
    before = time.monotonic_ns()
    real = time.time_ns()
    after = time.monotonic_ns()
    assert before - offset.error_ns <= real - offset.offset_ns <= after + offset.error_ns


def test_a_step_of_the_realtime_clock_is_counted() -> None:
    stamps = MonotonicStamps()
    stamps.offset_ns += 50 * MS
    stamps.refresh()
    assert stamps.steps == 1
