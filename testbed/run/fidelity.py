"""Was the emulator good enough for its numbers? Samples of the host during a transfer, and their judgement.

A run is invalid, and never averaged, when the host rather than the emulated network was the bottleneck:

- no core had IDLE_FLOOR of its time idle for more than BUSY_SHARE of the transfer, or
- the probe sender's lateness had a 99th percentile above LATE_LIMIT_MS.

Everything else only warns.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.run.counters import Counters, Direction

IDLE_FLOOR = 0.03
BUSY_SHARE = 0.5
LATE_LIMIT_MS = 20.0
LATE_WARNING_MS = 2.0
RATE_WARNING = 0.95

Ticks = dict[str, tuple[int, int]]  # a core's idle and total clock ticks since boot


def parse_stat(text: str) -> Ticks:
    """/proc/stat: `cpu0`, `cpu1`, ... Waiting for I/O counts as idle, time stolen by a hypervisor does not."""
    ticks = {}
    for line in text.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            counts = [int(v) for v in values[:8]]  # user nice system idle iowait irq softirq steal; guest is in user
            ticks[name] = (counts[3] + counts[4], sum(counts))
    return ticks


def parse_softnet(text: str) -> int:
    """/proc/net/softnet_stat: packets dropped because a core's backlog was full (second column, hexadecimal)."""
    return sum(int(line.split()[1], 16) for line in text.splitlines() if line.strip())


def parse_snmp(text: str) -> dict[str, int]:
    """/proc/net/snmp: the Udp counters of one network namespace, by name (`RcvbufErrors`, ...)."""
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith("Udp:")]
    return dict(zip(rows[0], map(int, rows[1]), strict=True)) if len(rows) == 2 else {}


def udp_drops(pids: Mapping[str, int]) -> dict[str, int]:
    """UDP datagrams dropped at full socket buffers so far, by host. Raises OSError if a host is gone."""
    return {
        host: parse_snmp(Path(f"/proc/{pid}/net/snmp").read_text()).get("RcvbufErrors", 0) for host, pid in pids.items()
    }


def idle_between(before: Ticks, after: Ticks) -> dict[str, float]:
    """The idle ratio 0..1 of each core between two readings (1.0 where no tick passed)."""
    idle = {}
    for core, (idle_after, total_after) in after.items():
        idle_before, total_before = before.get(core, (0, 0))
        total = total_after - total_before
        idle[core] = max(0.0, min(1.0, (idle_after - idle_before) / total)) if total > 0 else 1.0
    return idle


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The host during a transfer: each sample holds the idle ratio of each core over one period."""

    idle: tuple[dict[str, float], ...] = ()
    softnet_drops: int = 0

    @property
    def busy_share(self) -> float:
        """The share of samples in which no core was idle for IDLE_FLOOR of the time."""
        busy = sum(all(ratio < IDLE_FLOOR for ratio in sample.values()) for sample in self.idle if sample)
        return busy / len(self.idle) if self.idle else 0.0

    def cores(self) -> dict[str, dict[str, float]]:
        """For each core the mean and the least idle ratio."""
        result = {}
        for core in sorted({core for sample in self.idle for core in sample}):
            ratios = [sample[core] for sample in self.idle if core in sample]
            result[core] = {"mean": round(sum(ratios) / len(ratios), 4), "min": round(min(ratios), 4)}
        return result


class LoadSampler:
    """Samples the host's load in a thread, from `start` to `stop`."""

    def __init__(self, period_s: float = 1.0, proc: Path = Path("/proc")) -> None:
        self._period_s, self._proc = period_s, proc
        self._stop = threading.Event()
        self._samples: list[dict[str, float]] = []
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
        self._samples.append(idle_between(self._ticks, ticks))
        self._ticks = ticks

    def _read(self) -> tuple[Ticks, int]:
        stat = (self._proc / "stat").read_text()
        return parse_stat(stat), parse_softnet((self._proc / "net/softnet_stat").read_text())


@dataclass(frozen=True, slots=True)
class Measured:
    """What `assess` judges. `faulted`: names of the links a fault touched, where drops are expected.

    `udp_drops` are grown since the transfer's start, by host. `sender` and `collector` are the two programs' summaries.
    Rates are in bit/s (None: not known).
    """

    load: HostLoad = HostLoad()
    udp_drops: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[Direction, Counters] = field(default_factory=dict)
    faulted: Collection[str] = ()
    sender: Mapping[str, Any] = field(default_factory=dict)
    collector: Mapping[str, Any] = field(default_factory=dict)
    requested_rate: float | None = None
    achieved_rate: float | None = None


def assess(measured: Measured) -> dict[str, Any]:
    """The dictionary of record.Run.fidelity; `invalid` is "" or says why the run must not be averaged."""
    load, sender, collector = measured.load, measured.sender, measured.collector
    unexplained = {
        f"{link} from {node}": counted.drops
        for (link, node), counted in measured.links.items()
        if counted.drops and link not in measured.faulted
    }
    at_sockets = {host: n for host, n in measured.udp_drops.items() if n}
    late = float(sender.get("late_p99_ms", 0.0))
    requested, achieved = measured.requested_rate, measured.achieved_rate

    invalid = []
    if load.busy_share > BUSY_SHARE:
        share = f"{load.busy_share:.0%} of the transfer"
        invalid.append(f"every core was busy (less than {IDLE_FLOOR:.0%} idle) for {share}")
    if late > LATE_LIMIT_MS:
        invalid.append(f"the probe sender was {late:.1f} ms late (99th percentile; the limit is {LATE_LIMIT_MS:g} ms)")

    warnings = list(invalid)
    if 0 < load.busy_share <= BUSY_SHARE:
        warnings.append(f"every core was busy for {load.busy_share:.0%} of the transfer")
    if load.softnet_drops:
        warnings.append(f"the host's own packet backlog overflowed: {load.softnet_drops} packets dropped")
    if at_sockets:
        hosts = ", ".join(f"{host}: {n}" for host, n in at_sockets.items())
        warnings.append(f"datagrams dropped at full socket buffers ({hosts})")
    if unexplained:
        links = ", ".join(f"{where}: {n}" for where, n in unexplained.items())
        warnings.append(f"packets dropped at links no fault touched ({links})")
    if LATE_WARNING_MS < late <= LATE_LIMIT_MS:
        warnings.append(f"the probe sender was {late:.1f} ms late (99th percentile)")
    if collector.get("clock_steps"):
        warnings.append(f"the realtime clock was stepped {collector['clock_steps']} times: some probe times are off")
    if requested and achieved is not None and achieved < RATE_WARNING * requested:
        warnings.append(f"the sender reached {achieved / requested:.0%} of the requested rate")
    return {
        "cpu_idle": load.cores(),
        "busy_share": round(load.busy_share, 4),
        "softnet_drops": load.softnet_drops,
        "socket_drops": at_sockets,
        "qdisc_drops": sum(counted.drops for counted in measured.links.values()),
        "qdisc_drops_unexplained": sum(unexplained.values()),
        "probe_sender": dict(sender),
        "clock_error_ms": collector.get("clock_error_ms"),
        "requested_rate": requested,
        "achieved_rate": achieved,
        "warnings": warnings,
        "invalid": "; ".join(invalid),
    }
