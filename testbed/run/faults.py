"""Fault actions by name: what is done to the lab, and how it is undone.

An action is one class here that does what `Action` says, listed in `ACTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from testbed.lab.lab import Lab
from testbed.plan.paths import busiest_link
from testbed.plan.types import Plan
from testbed.spec.names import find_link
from testbed.spec.scenario import Fault


class Action(Protocol):
    """Something that can go wrong, and right again."""

    name: str

    def inject(self, lab: Lab, link: str) -> None: ...

    def undo(self, lab: Lab, link: str) -> None: ...


class Cut:
    """A cable cut: both ends lose their carrier at once, and get it back at once."""

    name = "cut"

    def inject(self, lab: Lab, link: str) -> None:
        lab.cut(link)

    def undo(self, lab: Lab, link: str) -> None:
        lab.restore(link)


ACTIONS: Mapping[str, Action] = MappingProxyType({a.name: a for a in (Cut(),)})


def resolve(plan: Plan, fault: Fault, destinations: tuple[str, ...]) -> str:
    """The link a fault means, by its name in the plan. Raises RequestError where no link fits."""
    if fault.target.link is None:
        return busiest_link(plan, destinations)
    found = find_link(plan.topology, fault.target.link)
    return found[0] if found else fault.target.link
