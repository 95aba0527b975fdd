"""Outages: worked examples, and a naive implementation that shares nothing with the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.record import Outage
from testbed.run.outages import StreamResult, find_outages
from testbed.run.probe import Probes, read_records, write_records

MS = 1_000_000


def stream(*arrivals: tuple[int, float, float]) -> Probes:
    """(sequence number, sent in ms, received in ms)."""
    rows = np.array(arrivals, dtype=float).reshape(-1, 3)
    return Probes(rows[:, 0].astype(np.int64), *((rows[:, i] * MS).astype(np.int64) for i in (1, 2)))


def regular(*numbers: int, delay: float = 2) -> Probes:
    return stream(*((n, n, n + delay) for n in numbers))


def find(probes: Probes, **options: object) -> StreamResult:
    return find_outages(probes, interval_s=0.001, **options)  # type: ignore[arg-type]


def test_a_hole_has_start_length_and_count() -> None:
    result = find(regular(0, 1, 2, 7, 8), zero_s=0.001)
    assert result.outages == (Outage(start_s=0.002, length_ms=4.0, lost=4, duplicates=0, end_s=0.008, travel_ms=2.0),)
    assert (result.received, result.lost, result.missed, result.reordered) == (5, 4, 0, 0)


def test_probes_that_queue_end_the_outage_when_they_come() -> None:
    (outage,) = find(stream((0, 0, 6), (5, 5, 11))).outages
    assert (outage.start_s, outage.length_ms, outage.end_s) == (0.001, 4.0, 0.011)
    assert outage.travel_ms == 6.0


def test_the_first_probe_after_a_hole_is_the_one_that_came_first() -> None:
    (outage,) = find(stream((0, 0, 1), (4, 4, 9), (5, 5, 7), (6, 6, 8))).outages
    assert (outage.end_s, outage.travel_ms) == (0.007, 2.0)


def test_a_single_lost_probe_counts() -> None:
    assert find(regular(0, 2)).outages == (Outage(0.001, 1.0, 1, 0, end_s=0.004, travel_ms=2.0),)


def test_a_pause_of_the_sender_is_no_outage() -> None:
    assert find(stream((0, 0, 1), (1, 500, 501))).outages == ()


def test_a_burst_behind_a_queue_is_no_outage() -> None:
    assert find(stream((0, 0, 1), (1, 1, 90), (2, 2, 90))).outages == ()


def test_probes_before_the_first_are_the_time_to_join() -> None:
    result = find(regular(5, 6), zero_s=0.004)
    assert (result.outages, result.missed, result.first_probe_s) == ((), 5, 0.003)


def test_nothing_received() -> None:
    assert find(regular(), sent=9) == StreamResult((), 0, 0, 9, 0, 0, None)


def test_a_hole_that_never_closed_lasts_to_the_last_probe_sent() -> None:
    result = find(regular(0, 1), sent=5, last_sent_ns=4 * MS)
    assert result.outages == (Outage(0.002, 3.0, 3, 0),)
    assert find(regular(0, 1), sent=2, last_sent_ns=1 * MS).outages == ()


def test_without_the_last_send_time_a_trailing_hole_is_one_interval_long() -> None:
    assert find(regular(0, 1), sent=5).outages == (Outage(0.002, 1.0, 3, 0),)


def test_the_first_lost_probe_was_sent_no_later_than_the_one_after_the_hole() -> None:
    assert find(stream((0, 0, 1), (2, 0.5, 1.5))).outages[0].start_s == 0.0005


def test_duplicates_belong_to_the_hole_before_them() -> None:
    copies = stream((0, 0, 1), (0, 0, 1.5), (3, 3, 4), (3, 3, 4.5), (5, 5, 6), (5, 5, 6.5), (5, 5, 1500))
    result = find(copies)
    assert [o.duplicates for o in result.outages] == [1, 2]  # 1500 ms is too late to be the repair's doing
    assert (result.duplicates, result.received) == (4, 3)


def test_reordering_is_counted_and_makes_no_hole() -> None:
    result = find(stream((0, 0, 1), (2, 2, 3), (1, 1, 4), (3, 3, 5)))
    assert (result.outages, result.reordered) == ((), 1)


def test_a_straggler_from_the_old_path_leaves_no_negative_length() -> None:
    result = find(stream((0, 0, 1), (3, 3, 4), (1, 1, 9)))
    assert result.outages == (Outage(0.002, 0.0, 1, 0, end_s=0.004, travel_ms=1.0),)


FAULTS = ((1.0, "cut a-b"), (3.0, "restored a-b"))


@pytest.mark.parametrize(
    ("start", "cause"),
    [
        (0.5, ""),
        (0.97, "cut a-b"),  # in flight when the link was cut
        (2.9, "cut a-b"),
        (3.0, "restored a-b"),
        (12.0, "restored a-b"),
        (14.0, ""),
    ],
)
def test_the_latest_fault_is_the_cause(start: float, cause: str) -> None:
    ms = start * 1000
    probes = stream((0, ms - 1, ms), (9, ms + 8, ms + 9))
    # Whatever the run's zero, faults are on CLOCK_MONOTONIC.
    (outage,) = find(probes, zero_s=0.25, faults=FAULTS[::-1]).outages
    assert outage.cause == cause


def test_records_survive_the_file(tmp_path: Path) -> None:
    probes = regular(0, 1, 5)
    write_records(tmp_path / "x.npz", probes)
    again = read_records(tmp_path / "x.npz")
    assert [again.seq.tolist(), again.sent_ns.tolist(), again.received_ns.tolist()] == [
        probes.seq.tolist(),
        probes.sent_ns.tolist(),
        probes.received_ns.tolist(),
    ]


def naive(arrivals: list[tuple[int, int, int]], interval: int, sent: int, last_sent: int) -> list[tuple[int, ...]]:
    """Every hole as (start, length, lost, duplicates) in ns, number by number."""
    first: dict[int, tuple[int, int]] = {}
    copies = []
    for number, sent_at, received_at in arrivals:
        if number in first:
            copies.append(received_at)
        else:
            first[number] = (sent_at, received_at)
    holes: list[list[int]] = []
    for number in range(min(first), sent):
        if number not in first:
            if holes and holes[-1][-1] == number - 1:
                holes[-1].append(number)
            else:
                holes.append([number])
    found = []
    for hole in holes:
        below = max(n for n in first if n < hole[0])
        before = max(r for n, (_, r) in first.items() if n < hole[0])
        later = [n for n in first if n > hole[-1]]
        start = first[below][0] + interval
        if later:
            start = min(start, first[min(later)][0])
            after = min(first[n][1] for n in later)
            length = max(0, after - before - interval)
        else:
            after = max(start, last_sent)
            length = after - first[below][0]
        found.append([start, length, len(hole), before, after])
    answer = []
    for i, (start, length, lost, before, after) in enumerate(found):
        end = min([after + 1_000_000_000] + [following[3] for following in found[i + 1 : i + 2]])
        answer.append((start, length, lost, sum(before < c <= end for c in copies)))
    return answer


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], int]:
    """Probes sent 1 ms apart, each lost, delivered once or several times, with any delay up to 3 s."""
    sent = draw(st.integers(1, 25))
    arrivals = []
    for number in range(sent):
        delays = draw(st.lists(st.integers(0, 30) | st.integers(0, 3000), max_size=3))
        arrivals += [(number, number * MS, (number + delay) * MS) for delay in delays]
    return sorted(arrivals, key=lambda a: a[2]), sent


@given(deliveries())
def test_agrees_with_a_naive_implementation(case: tuple[list[tuple[int, int, int]], int]) -> None:
    arrivals, sent = case
    last = (sent - 1) * MS
    columns = np.array(arrivals, np.int64).reshape(-1, 3).T
    result = find(Probes(*columns), sent=sent, last_sent_ns=last)
    numbers = [n for n, _, _ in arrivals]
    assert result.received == len(set(numbers))
    assert result.duplicates == len(numbers) - len(set(numbers))
    assert result.received + result.lost + result.missed == sent
    expected = naive(arrivals, MS, sent, last) if arrivals else []
    assert all(o.end_s is None or o.end_s >= o.start_s for o in result.outages)
    got = [(round(o.start_s * 1e9), round(o.length_ms * 1e6), o.lost, o.duplicates) for o in result.outages]
    assert got == expected
    firsts = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
    assert result.reordered == sum(any(m > n for m in firsts[:i]) for i, n in enumerate(firsts))
