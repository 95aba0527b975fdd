"""The host's cores and its packet backlog while a model is sent."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from testbed.run.fidelity.kernel import Ticks, idle_between, parse_softnet, parse_stat

# A core is busy in a sample in which less of its time was idle.
IDLE_FLOOR = 0.03

Sample = tuple[float, dict[str, float]]  # when it ended (CLOCK_MONOTONIC), and the idle ratio of each core


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The host during a transfer. `softnet_drops`: packets dropped because a core's backlog was full."""

    samples: tuple[Sample, ...] = ()
    softnet_drops: int = 0

    @property
    def busy_share(self) -> float:
        """The share of samples in which no core was idle for IDLE_FLOOR of the time."""
        busy = sum(all(ratio < IDLE_FLOOR for ratio in idle.values()) for _, idle in self.samples if idle)
        return busy / len(self.samples) if self.samples else 0.0

    def until(self, t: float) -> HostLoad:
        """Without the samples that ended later, as long as there are others: what comes after a transfer is idle."""
        kept = tuple(sample for sample in self.samples if sample[0] <= t)
        return HostLoad(kept or self.samples[:1], self.softnet_drops)

    def cores(self) -> dict[str, dict[str, float]]:
        """For each core the mean and the least idle ratio."""
        result = {}
        for core in sorted({core for _, idle in self.samples for core in idle}):
            ratios = [idle[core] for _, idle in self.samples if core in idle]
            result[core] = {"mean": round(sum(ratios) / len(ratios), 4), "min": round(min(ratios), 4)}
        return result


class LoadSampler:
    """Samples the host's load in a thread, from `start` to `stop`."""

    def __init__(self, period_s: float = 1.0, proc: Path = Path("/proc")) -> None:
        self._period_s, self._proc = period_s, proc
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, name="load-sampler", daemon=True)
        self._ticks: Ticks = {}
        self._softnet = 0

    def start(self) -> LoadSampler:
        self._ticks, self._softnet = self._read()
        self._thread.start()
        return self

    def stop(self) -> HostLoad:
        """End the sampling. What is left of a period is too short for a sample, unless it is all there is."""
        self._stop.set()
        self._thread.join()
        if not self._samples:
            self._sample()
        return HostLoad(tuple(self._samples), self._read()[1] - self._softnet)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._sample()

    def _sample(self) -> None:
        ticks, _ = self._read()
        self._samples.append((time.monotonic(), idle_between(self._ticks, ticks)))
        self._ticks = ticks

    def _read(self) -> tuple[Ticks, int]:
        stat = (self._proc / "stat").read_text()
        return parse_stat(stat), parse_softnet((self._proc / "net/softnet_stat").read_text())
