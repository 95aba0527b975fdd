"""A cable cut."""

from __future__ import annotations

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.run.faults.base import Action, NoParameters, Strike


class Cut(Action[NoParameters]):
    """Both ends of each link lose their carrier at once, and get it back at once. Several links are an SRLG."""

    name = "cut"
    takes = frozenset({"link"})
    parameters = NoParameters

    def inject(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        lab.cut(*strike.links)

    def without(self, plan: Plan, strike: Strike[NoParameters]) -> tuple[str, ...]:
        return strike.links

    def undo(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        lab.restore(*strike.links)
