"""The kernel's texts about cores, processes and packets, read. Pure, but for the reading of the files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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


def idle_between(before: Ticks, after: Ticks) -> dict[str, float]:
    """The idle ratio 0..1 of each core between two readings (1.0 where no tick passed)."""
    idle = {}
    for core, (idle_after, total_after) in after.items():
        idle_before, total_before = before.get(core, (0, 0))
        total = total_after - total_before
        idle[core] = max(0.0, min(1.0, (idle_after - idle_before) / total)) if total > 0 else 1.0
    return idle


def parse_softnet(text: str) -> int:
    """/proc/net/softnet_stat: packets dropped because a core's backlog was full (second column, hexadecimal)."""
    return sum(int(line.split()[1], 16) for line in text.splitlines() if line.strip())


def parse_snmp(text: str) -> dict[str, int]:
    """/proc/net/snmp: the Udp counters of one network namespace, by name (`RcvbufErrors`, ...)."""
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith("Udp:")]
    return dict(zip(rows[0], map(int, rows[1]), strict=True)) if len(rows) == 2 else {}


def parse_sent(text: str) -> dict[str, int]:
    """/proc/net/dev: octets sent so far, by interface."""
    sent = {}
    for line in text.splitlines()[2:]:
        name, _, counts = line.partition(":")
        sent[name.strip()] = int(counts.split()[8])
    return sent


def parse_schedstat(text: str) -> tuple[int, int]:
    """/proc/PID/schedstat: ns that the process's first thread was ready and waited for a core; turns that it got."""
    _run, waited, turns = map(int, text.split())
    return waited, turns


def udp_counts(pids: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """UDP datagrams received, and dropped at full socket buffers, so far, by host. Raises OSError if a host is gone."""
    counts = {}
    for host, pid in pids.items():
        udp = parse_snmp(Path(f"/proc/{pid}/net/snmp").read_text())
        counts[host] = udp.get("InDatagrams", 0), udp.get("RcvbufErrors", 0)
    return counts
