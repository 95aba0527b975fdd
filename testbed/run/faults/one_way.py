"""A link that still carries packets one way, but not the other."""

from __future__ import annotations

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.run.faults.base import Action, Strike
from testbed.run.faults.direction import Direction, sender


class OneWay(Action[Direction]):
    """Packets vanish in one direction, both ends up. Without `towards`: those that come from the repository's side."""

    name = "one-way"
    takes = frozenset({"link"})
    parameters = Direction

    def inject(self, lab: Lab, strike: Strike[Direction]) -> None:
        senders = {link: sender(lab.plan, link, strike.parameters.towards) for link in strike.links}
        for link, node in senders.items():
            lab.silence(link, node)

    def without(self, plan: Plan, strike: Strike[Direction]) -> tuple[str, ...]:
        return strike.links

    def undo(self, lab: Lab, strike: Strike[Direction]) -> None:
        for link in strike.links:
            lab.unsilence(link)
