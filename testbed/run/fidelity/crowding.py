"""Moments in which the host had no core to spare, and what of each outage fell into them.

A second of means hides them: after a fault, all routers of a network compute at once, and on a few cores one after the
other. What an outage is prolonged by that, no real network would take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from testbed.run.fidelity.kernel import parse_stat

# Seconds between two readings: some five of the ticks that the kernel counts idle time by.
PERIOD = 0.05

Span = tuple[float, float]  # from, to; CLOCK_MONOTONIC seconds


@dataclass(frozen=True, slots=True)
class Crowded:
    """One outage at one site, in s: how long it was, and for how much of it no core was idle."""

    site: str
    cause: str
    length_s: float
    crowded_s: float

    @property
    def share(self) -> float:
        return self.crowded_s / self.length_s if self.length_s else 0.0


def within(spans: Sequence[Span], start: float, end: float) -> float:
    """How much of the time from `start` to `end` is in one of the spans, which do not overlap; in s."""
    return sum(max(0.0, min(end, b) - max(start, a)) for a, b in spans)


def crowded_spans(readings: Sequence[tuple[float, Mapping[str, int]]]) -> tuple[Span, ...]:
    """Between which readings of (when, idle ticks of each core) no core was idle at all."""
    spans = []
    for (begin, before), (end, after) in pairwise(readings):
        if all(idle <= before.get(core, 0) for core, idle in after.items()):
            spans.append((begin, end))
    return tuple(spans)


class CrowdingSampler:
    """Reads the cores' idle time in a thread, from `start` to `stop`."""

    def __init__(self, period_s: float = PERIOD, stat: Path = Path("/proc/stat")) -> None:
        self._period_s, self._stat = period_s, stat
        self._stop = threading.Event()
        self._readings: list[tuple[float, dict[str, int]]] = []
        self._thread = threading.Thread(target=self._run, name="crowding-sampler", daemon=True)

    def start(self) -> CrowdingSampler:
        self._thread.start()
        return self

    def stop(self) -> tuple[Span, ...]:
        """End it: the spans in which no core was idle."""
        self._stop.set()
        self._thread.join()
        self._read()
        return crowded_spans(self._readings)

    def _run(self) -> None:
        self._read()
        while not self._stop.wait(self._period_s):
            self._read()

    def _read(self) -> None:
        idle = {core: ticks for core, (ticks, _) in parse_stat(self._stat.read_text()).items()}
        self._readings.append((time.monotonic(), idle))
