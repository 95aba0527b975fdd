"""How long the routers' processes waited for a core: their run-queue delay, by what they are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.run.fidelity.kernel import parse_schedstat

SOFTIRQ = "ksoftirqd"
FEW = 100  # turns: with fewer, one late one is the mean, and what runs so seldom delays no stream of packets

Process = tuple[str, str, int]  # the node, what runs there, and its number: ("r1", "mcfwd", 4711)
Turns = dict[Process, tuple[int, int]]  # ns waited for a core, and turns got, since its start


@dataclass(frozen=True, slots=True)
class Delay:
    """How long the processes of one name waited for each turn, in ms: all nodes' mean, and that of the worst node that
    had more than a FEW turns, if any had."""

    mean_ms: float
    worst_ms: float
    worst_node: str


def read_turns(processes: Iterable[Process]) -> Turns:
    """What the kernel counts of these processes. One that ended is left out, and so are all where it counts nothing
    (CONFIG_SCHED_INFO): everybody's turns are 0 there."""
    turns = {}
    for process in processes:
        with suppress(OSError, ValueError):
            counted = parse_schedstat(Path(f"/proc/{process[2]}/schedstat").read_text())
            if counted[1]:
                turns[process] = counted
    return turns


def softirq_threads(proc: Path = Path("/proc")) -> tuple[Process, ...]:
    """The kernel's threads that forward packets where a core has more of them than it takes on the way, by core."""
    found = []
    for path in proc.glob("[0-9]*/comm"):
        with suppress(OSError):
            name, _, core = path.read_text().strip().partition("/")
            if name == SOFTIRQ:
                found.append((f"core {core}", name, int(path.parent.name)))
    return tuple(sorted(found))


def delays(before: Turns, after: Turns) -> dict[str, Delay]:
    """By name, from two readings. A process that was started in between is counted from its start."""
    grown: dict[str, list[tuple[str, int, int]]] = {}
    for process, (waited, turns) in after.items():
        node, name, _ = process
        waited_before, turns_before = before.get(process, (0, 0))
        if turns > turns_before:
            grown.setdefault(name, []).append((node, waited - waited_before, turns - turns_before))
    found = {}
    for name, nodes in sorted(grown.items()):
        mean = sum(waited for _, waited, _ in nodes) / sum(turns for _, _, turns in nodes)
        counted = [node for node in nodes if node[2] >= FEW] or [max(nodes, key=lambda n: n[2])]
        worst_node, waited, turns = max(counted, key=lambda n: n[1] / n[2])
        found[name] = Delay(round(mean / 1e6, 4), round(waited / turns / 1e6, 4), worst_node)
    return found
