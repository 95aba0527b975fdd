"""What the links carried against what was asked of them, while the data ran."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from testbed.plan.paths import ideal_tree, unicast_path
from testbed.plan.types import Plan
from testbed.run.counters import Direction
from testbed.run.fidelity.kernel import parse_sent
from testbed.schemes import Flow

# In a period in which the source sent less of its highest rate, it announced or waited. A direction that carried less
# of its part of what was sent is not on the scheme's own tree: the data did not run there.
RUNNING = 0.1
# Periods that a rate is taken from, at least; of fewer none is.
LEAST_PERIODS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """Octets sent so far in each direction, at `t` (CLOCK_MONOTONIC)."""

    t: float
    sent: Mapping[Direction, int]


@dataclass(frozen=True, slots=True)
class LinkRate:
    """One direction of a link, in bit/s with all layer-2 headers: what the data asked of it, and what it carried."""

    asked: float
    achieved: float

    @property
    def ratio(self) -> float:
        return self.achieved / self.asked


def asked_rates(plan: Plan, source: str, hosts: Sequence[str], flow: Flow, copy: float) -> dict[Direction, float]:
    """What a sync asks of each direction of the ideal tree's links, in bit/s, if one copy is sent at `copy`."""
    tree = ideal_tree(plan, source, hosts)
    if flow.group is not None and not flow.copied:
        return {(branch.link, branch.src): copy for branch in tree}
    # A copy to each host; or, made by the repository's router, to each site, whose router hands it to all hosts there.
    takers = tuple({plan.nodes[host].site: host for host in hosts}.values()) if flow.copied else hosts
    copies = Counter(hop.link for taker in takers for hop in unicast_path(plan, taker, source))
    if flow.copied:
        (first,) = plan.nodes[source].interfaces
        copies[first.link] = 1
    return {(branch.link, branch.src): copy * max(1, copies[branch.link]) for branch in tree}


def link_rates(
    samples: Sequence[Sample], asked: Mapping[Direction, float], source: Direction, copy: int, until: float | None
) -> dict[Direction, LinkRate]:
    """The median rate of each direction that the data ran over, of the periods in which they ran undisturbed: from the
    first whole one until `source` had sent `copy` octets (what follows is repair), or until the moment `until` (a
    fault's). Empty if those are fewer than LEAST_PERIODS.
    """
    if not samples or source not in asked:
        return {}
    begun = samples[0].sent.get(source, 0)
    periods = list(pairwise(samples))
    floor = RUNNING * max((_rate(a, b, source) for a, b in periods), default=0.0)
    running = [
        (a, b)
        for a, b in periods
        if b.sent.get(source, 0) - begun <= copy and (until is None or b.t <= until) and _rate(a, b, source) > floor
    ][1:]
    if len(running) < LEAST_PERIODS:
        return {}
    achieved = {d: LinkRate(asked[d], statistics.median(_rate(a, b, d) for a, b in running)) for d in asked}
    least = RUNNING * achieved[source].ratio
    return {direction: rate for direction, rate in achieved.items() if rate.ratio > least}


def _rate(a: Sample, b: Sample, direction: Direction) -> float:
    return (b.sent.get(direction, 0) - a.sent.get(direction, 0)) * 8 / (b.t - a.t)


class RateSampler:
    """Reads the octets sent in these directions once a period, in a thread, from `start` to `stop`.

    A reading takes some 50 us a node, and the period grows with them: it is a fortieth of a core at most.
    """

    def __init__(self, plan: Plan, pid_of: Callable[[str], int], directions: Iterable[Direction]) -> None:
        wanted = set(directions)
        self._nodes = {
            name: (Path(f"/proc/{pid_of(name)}/net/dev"), names)
            for name, node in plan.nodes.items()
            if (names := {i.name: i.link for i in node.interfaces if (i.link, name) in wanted})
        }
        self._period_s = 0.1 + 0.002 * len(self._nodes)
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._run, name="rate-sampler", daemon=True)

    def start(self) -> RateSampler:
        self._thread.start()
        return self

    def stop(self) -> tuple[Sample, ...]:
        self._stop.set()
        self._thread.join()
        return tuple(self._samples)

    def _run(self) -> None:
        self._samples.append(self._read())
        while not self._stop.wait(self._period_s):
            self._samples.append(self._read())

    def _read(self) -> Sample:
        t, sent = time.monotonic(), {}
        for node, (path, names) in self._nodes.items():
            with suppress(OSError):  # the node is gone: a lab that is torn down
                for interface, count in parse_sent(path.read_text()).items():
                    if interface in names:
                        sent[names[interface], node] = count
        return Sample(t, sent)
