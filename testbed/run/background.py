"""Background flows (spec.scenario.Background): what else the control plane keeps, and repairs when links fail."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.plan.types import Plan
from testbed.record import FlowResult
from testbed.run.measure import Instruments, Stream
from testbed.run.outages import Cause
from testbed.schemes import Scheme
from testbed.spec.scenario import Background


def spread(flows: int, watched: int) -> tuple[int, ...]:
    """`watched` of the positions 0 to flows - 1, evenly spread, the last among them."""
    return tuple((k + 1) * flows // watched - 1 for k in range(watched))


@dataclass(frozen=True, slots=True)
class Crowd:
    """The streams of all background flows: those that carry probes, and those that do not."""

    watched: tuple[Stream, ...] = ()
    silent: tuple[Stream, ...] = ()

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All of them, by their numbers."""
        return tuple(sorted((*self.watched, *self.silent), key=lambda stream: stream.flow.number))

    def results(self, instruments: Instruments, zero: float, faults: list[Cause]) -> tuple[FlowResult, ...]:
        """The outages of every watched flow at every site."""
        found = []
        for stream in self.watched:
            for host in stream.hosts:
                seen = instruments.outages(stream, host, zero, faults)
                if seen is not None:
                    found.append(FlowResult(stream.flow.number, host, seen.outages, seen.received, seen.lost))
        return tuple(found)


def make_crowd(asked: Background | None, scheme: Scheme, plan: Plan, first: int) -> Crowd:
    """The background flows, numbered from `first`; none where the scheme has no groups, for it keeps no state then."""
    if asked is None or not scheme.multicast:
        return Crowd()
    hosts = tuple(host.name for site in plan.sites for host in plan.destinations(site.name, "storage"))
    chosen = set(spread(asked.flows, asked.watched))
    watched: list[Stream] = []
    silent: list[Stream] = []
    for position in range(asked.flows):
        flow = scheme.flow(first + position)
        name = f"flow-{flow.number}"
        stream = Stream(name, flow, plan.repository, hosts, interval=asked.interval, background=True)
        (watched if position in chosen else silent).append(stream)
    return Crowd(tuple(watched), tuple(silent))
