"""A part of the network that is cut off from the rest."""

from __future__ import annotations

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.run.faults.base import Action, NoParameters, Strike


class Partition(Action[NoParameters]):
    """Every link between the nodes and all others is cut at once; among themselves they stay connected."""

    name = "partition"
    takes = frozenset({"node"})
    parameters = NoParameters

    def inject(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        lab.cut(*self.touches(lab.plan, strike))

    def undo(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        lab.restore(*self.touches(lab.plan, strike))

    def without(self, plan: Plan, strike: Strike[NoParameters]) -> tuple[str, ...]:
        return self.touches(plan, strike)

    def touches(self, plan: Plan, strike: Strike[NoParameters]) -> tuple[str, ...]:
        """The border: links with one end among the nodes. Hosts are on the side of their router."""
        inside = set(strike.nodes)
        return tuple(
            name
            for name, link in plan.links.items()
            if not link.is_lan and (link.a.node in inside) != (link.b.node in inside)
        )
