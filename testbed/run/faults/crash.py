"""A router that loses its power."""

from __future__ import annotations

from testbed.errors import RequestError
from testbed.lab.lab import Lab
from testbed.plan.types import Plan, Role
from testbed.run.faults.base import Action, NoParameters, Strike


class Crash(Action[NoParameters]):
    """All processes of the node are killed and all its links go down, at both ends; it comes back as it was at first:
    links up, then its daemons, each waited for."""

    name = "crash"
    takes = frozenset({"node"})
    parameters = NoParameters

    def inject(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for name in strike.nodes:
            role = lab.plan.nodes[name].role
            if not (role.is_router or role is Role.CONTROLLER):
                raise RequestError(f"{name} also sends or receives the model; kill its daemon instead of crashing it")
        for name in strike.nodes:
            lab.crash(name)

    def without(self, plan: Plan, strike: Strike[NoParameters]) -> tuple[str, ...]:
        return tuple(name for name in self.touches(plan, strike) if not plan.links[name].is_lan)

    def undo(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for name in strike.nodes:
            lab.revive(name)
