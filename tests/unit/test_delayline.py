"""The delay line's core: what becomes of the n-th packet, told beforehand by a second implementation of the generator
and of the model; and that no packet is ever lost otherwise. Run with sanitizers."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.plan.shape import burst_chances

SOURCES = Path(__file__).resolve().parents[2] / "testbed" / "delayline" / "src"
MASK = 2**64 - 1
DRAWS = 8
LOSS, DUPLICATE, REORDER, DELAY, DELAY_OF_COPY = range(5)


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as `make` left it if that is up to date, else built for this process."""
    make = ["make", "-s", "-j2", "-C", str(SOURCES)]
    os.environ.pop("MAKEFLAGS", None)  # of a make that runs the tests
    if subprocess.run([*make, "-q", "../bin/sim"], stderr=subprocess.DEVNULL).returncode == 0:
        return SOURCES.parent / "bin" / "sim"
    folder = tmp_path_factory.mktemp("delayline")
    subprocess.run([*make, f"BIN={folder}", f"{folder}/sim"], check=True)
    return folder / "sim"


class Sim:
    """A line in a process of its own."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> list[str]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = []
        while (said := self._process.stdout.readline()) != "ok\n":
            assert said, f"sim ended with {self._process.wait()} at {line!r}"
            answer.append(said.rstrip("\n"))
        return answer

    def begin(self, seed: int = 0, **shape: float) -> None:
        assert self.ask(f"seed {seed}") == []
        assert self.ask(shape_line(**shape)) == []

    def take(self, now: int) -> list[int]:
        return [int(number) for number in self.ask(f"take {now}")]

    def counts(self) -> dict[str, int]:
        return {name: int(value) for name, value in map(str.split, self.ask("counts"))}

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0


def shape_line(**shape: float) -> str:
    return " ".join(["shape", *(f"{name.replace('_', '-')}={value!r}" for name, value in shape.items())])


@pytest.fixture(scope="module")
def sim(binary: Path) -> Iterator[Sim]:
    made = Sim(binary)
    yield made
    made.close()


# -- a second implementation -----------------------------------------------------------------------------------------


def splitmix64(seed: int, count: int) -> list[int]:
    """Vigna's reference code, one number after the other."""
    numbers, x = [], seed
    for _ in range(count):
        x = (x + 0x9E3779B97F4A7C15) & MASK
        z = x
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_generator_here_is_the_published_one() -> None:
    """The first five numbers for seed 1234567, as published with several implementations."""
    assert splitmix64(1234567, 5) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@dataclass
class Model:
    """What leaves, and when, of `count` packets that all come at time 0."""

    seed: int
    delay: int = 0
    jitter: int = 0
    loss: float = 0.0
    to_bad: float = 0.0
    to_good: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0

    def departures(self, count: int) -> list[tuple[int, int]]:
        """(when, which), in the order in which they leave."""
        numbers, bad, leaving = splitmix64(self.seed, count * DRAWS), False, []
        for n in range(count):
            draws = numbers[n * DRAWS :]

            def happens(purpose: int, chance: float, draws: list[int] = draws) -> bool:
                return draws[purpose] >> 11 < int(chance * 2**53)

            if self.to_bad:
                lost, bad = bad, bad ^ happens(LOSS, self.to_good if bad else self.to_bad)
            else:
                lost = happens(LOSS, self.loss)
            if lost:
                continue
            late = [0 if happens(REORDER, self.reorder) else self._delay(draws[DELAY])]
            late += [self._delay(draws[DELAY_OF_COPY])] if happens(DUPLICATE, self.duplicate) else []
            leaving += [(each, len(leaving) + k, n) for k, each in enumerate(late)]
        return [(when, n) for when, _, n in sorted(leaving)]

    def _delay(self, draw: int) -> int:
        return max(0, self.delay - self.jitter + (draw * (2 * self.jitter + 1) >> 64))


CHANCES = st.sampled_from([0.0, 1e-3, 0.25, 0.5, 1.0])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, MASK),
    delay=st.integers(0, 10**9),
    wobble=st.floats(0, 1),
    loss=CHANCES,
    bursts=st.booleans(),
    duplicate=CHANCES,
    reorder=CHANCES,
)
def test_every_packet_has_the_fate_that_was_told_beforehand(
    sim: Sim, seed: int, delay: int, wobble: float, loss: float, bursts: bool, duplicate: float, reorder: float
) -> None:
    count = 60
    shape: dict[str, float] = {
        "delay": delay,
        "jitter": int(delay * wobble),
        "duplicate": duplicate,
        "reorder": reorder,
    }
    shape |= {"to_bad": 0.3, "to_good": 0.4} if bursts else {"loss": loss}
    expected = Model(seed, **shape).departures(count)  # type: ignore[arg-type]
    sim.begin(seed, **shape)
    sim.ask(f"put 0 100 {count}")
    found: list[tuple[int, int]] = []
    while (due := int(sim.ask("due")[0])) != MASK:
        if due:
            assert sim.take(due - 1) == []
        found += [(due, number) for number in sim.take(due)]
    assert found == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 9000), st.integers(1, 5)), max_size=40), st.data())
def test_every_packet_is_accounted_for(sim: Sim, arrivals: list[tuple[int, int, int]], data: st.DataObject) -> None:
    sim.begin(7, delay=500, jitter=300, loss=0.2, duplicate=0.2, reorder=0.2)
    now = sent = put = 0
    for pause, length, count in arrivals:
        now += pause
        sim.ask(f"put {now} {length} {count}")
        put += count
        what = data.draw(st.sampled_from(["take", "cut", ""]))
        if what == "take":
            sent += len(sim.take(now))
        elif what == "cut":
            sim.ask(f"cut {now + 1}")
            assert sim.counts()["waiting"] == 0
        counts = sim.counts()
        assert (counts["received"], counts["sent"]) == (put, sent)
        went = sum(counts[name] for name in ("lost", "cut", "overflowed", "sent", "refused", "waiting"))
        assert counts["received"] + counts["duplicated"] == went


def test_a_plain_delay_keeps_the_order_and_is_never_early(sim: Sim) -> None:
    sim.begin(delay=1000)
    for time in range(0, 500, 5):
        sim.ask(f"put {time} 100 1")
    assert sim.take(999) == []
    assert [sim.take(1000 + time) for time in range(0, 500, 5)] == [[n] for n in range(100)]


def test_a_shape_may_change_and_what_is_on_its_way_keeps_its_time(sim: Sim) -> None:
    sim.begin(delay=1000)
    sim.ask("put 0 100 1")
    sim.ask("shape delay=10")
    sim.ask("put 0 100 1")
    assert sim.take(10) == [1]
    assert sim.take(999) == []
    assert sim.take(1000) == [0]


def test_a_cut_takes_what_had_come_before_it(sim: Sim) -> None:
    sim.begin(delay=1000, jitter=500)
    sim.ask("put 0 100 50")
    sim.ask("put 10 100 50")
    sim.ask("cut 10")
    assert sorted(sim.take(10**6)) == list(range(50, 100))
    assert sim.counts()["cut"] == 50


def test_the_same_packets_are_lost_whatever_else_the_shape_is(sim: Sim) -> None:
    lost = []
    for more in ({}, {"delay": 100, "jitter": 50, "duplicate": 0.3, "reorder": 0.1}):
        sim.begin(42, loss=0.1, **more)
        sim.ask("put 0 100 2000")
        lost.append(set(range(2000)) - set(sim.take(10**6)))
    assert lost[0] == lost[1]
    sim.begin(43, loss=0.1)
    sim.ask("put 0 100 2000")
    assert set(range(2000)) - set(sim.take(10**6)) != lost[0]


@pytest.mark.parametrize("loss", [0.01, 0.3])
@pytest.mark.parametrize("burst", [0, 1.5, 8])
def test_losses_come_as_often_and_as_long_as_asked(sim: Sim, loss: float, burst: float) -> None:
    count = 200_000
    to_bad, to_good = burst_chances(loss, burst) if burst else (0.0, 0.0)
    sim.begin(5, **({"to_bad": to_bad, "to_good": to_good} if burst else {"loss": loss}))
    arrived = set()
    for _ in range(20):
        sim.ask(f"put 0 100 {count // 20}")
        arrived |= set(sim.take(0))
    runs = [len(list(run)) for is_lost, run in groupby(n not in arrived for n in range(count)) if is_lost]
    mean = burst or 1 / (1 - loss)
    # The number lost is a sum over bursts; six standard deviations to either side. The lengths are geometric.
    spread = math.sqrt(count * loss * (1 - loss) * (2 * mean - 1))
    assert abs(sum(runs) - count * loss) < 6 * spread
    deviation = math.sqrt(mean * max(mean - 1, 1e-9)) / math.sqrt(len(runs))
    assert abs(statistics.fmean(runs) - mean) <= 6 * deviation + 1e-9


def test_duplicates_and_overtaking_come_as_often_as_asked(sim: Sim) -> None:
    count, share = 20_000, 0.1
    sim.begin(9, delay=1000, duplicate=share, reorder=share)
    sim.ask(f"put 0 100 {count}")
    early = sim.take(999)
    assert early == sorted(set(early))
    rest = Counter(sim.take(1000))
    six_deviations = 6 * math.sqrt(count * share * (1 - share))
    assert abs(len(early) - count * share) < six_deviations
    assert abs(sum((Counter(early) + rest).values()) - count * (1 + share)) < six_deviations
    counts = sim.counts()
    assert (counts["reordered"], counts["sent"]) == (len(early), count + counts["duplicated"])


def test_what_memory_is_not_for_is_dropped_and_counted(sim: Sim) -> None:
    limit = 256 * 2**20
    sim.begin(delay=10**9)
    for _ in range(40):
        sim.ask(f"put 0 9000 {limit // 9000 // 30}")
    counts = sim.counts()
    assert counts["overflowed"] > 0
    assert counts["waiting"] == limit // 9000
    assert counts["received"] == counts["waiting"] + counts["overflowed"]
    sim.ask(f"cut {MASK}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("delay=-1", ["error delay: whole nanoseconds, up to an hour, not -1"]),
        (
            "delay=1ms jitter",
            [
                f"error {name}: whole nanoseconds, up to an hour, not {value}"
                for name, value in (("delay", "1ms"), ("jitter", ""))
            ],
        ),
        (
            "loss=1.5 reorder=nan",
            [
                f"error {name}: a probability from 0 to 1, not {value}"
                for name, value in (("loss", "1.5"), ("reorder", "nan"))
            ],
        ),
        ("colour=1", ["error a shape has no colour"]),
        (
            "loss=0.1 to-bad=0.1 to-good=1",
            ["error losses are independent (loss) or in bursts (to-bad, to-good), not both"],
        ),
        ("to-bad=0.1", ["error bursts of losses need to-bad and to-good"]),
    ],
)
def test_a_bad_shape_is_refused_whole_with_every_mistake(sim: Sim, words: str, said: list[str]) -> None:
    sim.begin(delay=77)
    assert sim.ask(f"shape {words}") == said
    sim.ask("put 0 100 1")
    assert sim.ask("due") == ["77"]
    sim.take(77)
