"""A link that fails without a word."""

from __future__ import annotations

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.run.faults.base import Action, NoParameters, Strike


class Silent(Action[NoParameters]):
    """Packets vanish in both directions while both ends stay up: BFD or the dead timer must notice."""

    name = "silent"
    takes = frozenset({"link"})
    parameters = NoParameters

    def inject(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for link in strike.links:
            lab.silence(link)

    def without(self, plan: Plan, strike: Strike[NoParameters]) -> tuple[str, ...]:
        return strike.links

    def undo(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for link in strike.links:
            lab.unsilence(link)
