"""A link or router that is taken out of service as an operator does it."""

from __future__ import annotations

from testbed.lab import vty
from testbed.lab.lab import Lab
from testbed.plan.types import Interface, Plan
from testbed.run.faults.base import Action, Beat, Strike
from testbed.spec.types import Duration, Spec

_MOST = 65535  # of an interface's cost: RFC 2328 C.3


class Draining(Spec):
    """How long traffic has to go elsewhere before the links go down, and after they are up until it may come back."""

    drain: Duration = 1.0


class Maintenance(Action[Draining]):
    """The links get the highest cost, at both ends, and after `drain` go down; of a node all its links to routers. At
    the end they come up at that cost, and after `drain` have their own again. A node stays alive."""

    name = "maintenance"
    takes = frozenset({"link", "node"})
    parameters = Draining

    def inject(self, lab: Lab, strike: Strike[Draining]) -> None:
        self._costs(lab, strike, _MOST)

    def undo(self, lab: Lab, strike: Strike[Draining]) -> None:
        lab.restore(*self.without(lab.plan, strike))
        self._costs(lab, strike, None)

    def length(self, parameters: Draining, duration: float | None) -> float | None:
        if duration is not None and duration <= 2 * parameters.drain:
            raise ValueError("it is drained longer than it lasts: duration has to be more than twice drain")
        return duration

    def beats(self, parameters: Draining, duration: float | None) -> tuple[Beat, ...]:
        beats = [
            Beat(0.0, "fault", self.inject, "cost out"),
            Beat(parameters.drain, "fault", self._down, "down"),
        ]
        if duration is not None:
            beats.append(Beat(duration - parameters.drain, "fault-restored", self._up, "down", holds=True))
            beats.append(Beat(duration, "fault-restored", self.undo, "cost out"))
        return tuple(beats)

    def _down(self, lab: Lab, strike: Strike[Draining]) -> None:
        lab.cut(*self.without(lab.plan, strike))

    def _up(self, lab: Lab, strike: Strike[Draining]) -> None:
        lab.restore(*self.without(lab.plan, strike))

    def without(self, plan: Plan, strike: Strike[Draining]) -> tuple[str, ...]:
        return tuple(name for name in self.touches(plan, strike) if not plan.links[name].is_lan)

    def _costs(self, lab: Lab, strike: Strike[Draining], cost: int | None) -> None:
        """None: as planned."""
        for link in map(lab.plan.links.__getitem__, self.without(lab.plan, strike)):
            for end in (link.a, link.b):
                self._cost(lab, end, end.cost if cost is None else cost)

    def _cost(self, lab: Lab, end: Interface, cost: int) -> None:
        for daemon, command in (("ospfd", "ip ospf cost"), ("ospf6d", "ipv6 ospf6 cost")):
            if (end.node, daemon) in lab.daemons:
                lines = ("configure terminal", f"interface {end.name}", f"{command} {cost}")
                vty.converse(lab[end.node].folder / f"run/frr/{daemon}.vty", lines)
