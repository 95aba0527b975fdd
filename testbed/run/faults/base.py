"""What a fault action is: the one protocol between what can go wrong and everything that makes it go wrong.

An action is one file in this folder with a subclass of `Action`, listed in `ACTIONS` (`__init__.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.spec.faults import Fault, Kind
from testbed.spec.types import Spec

P = TypeVar("P", bound=Spec)


class NoParameters(Spec):
    """For an action without any."""


@dataclass(frozen=True, slots=True)
class Strike(Generic[P]):
    """One fault and what it hits: names of links and nodes of the plan; `daemon`: only that process of the nodes.

    `found_by` says how a target was found that the request did not name, "" where it did.
    """

    id: int
    fault: Fault
    parameters: P
    links: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    daemon: str = ""
    found_by: str = ""


Work = Callable[[Lab, Strike[Any]], None]


class Beat(NamedTuple):
    """One thing that a fault does, `after` seconds from its beginning. `kind` is that of its event: fault or
    fault-restored; `step` names it where a fault does several things. `holds`: whether the fault keeps links from use
    after it; None: as `kind` says."""

    after: float
    kind: str
    do: Work
    step: str = ""
    holds: bool | None = None


class Action(ABC, Generic[P]):
    """Something that can go wrong, and right again."""

    name: ClassVar[str]
    """How a fault asks for it."""

    takes: ClassVar[frozenset[Kind]]
    """The kinds of targets that it hits."""

    parameters: type[P]
    """A fault's keys that are its own."""

    def require(self) -> None:
        """Asked before anything is started. Raises MachineError where this machine lacks what it needs."""
        return

    @abstractmethod
    def inject(self, lab: Lab, strike: Strike[P]) -> None:
        """Make it go wrong. Raises LabError, RequestError."""

    @abstractmethod
    def undo(self, lab: Lab, strike: Strike[P]) -> None:
        """Make it right again; also after an `inject` that failed half-way. Raises LabError."""

    def length(self, parameters: P, duration: float | None) -> float | None:
        """Seconds from its beginning to its end; None: it has none. Raises ValueError where they do not fit."""
        return duration

    def beats(self, parameters: P, duration: float | None) -> tuple[Beat, ...]:
        """What it does, in order: wrong, and after `duration` right again."""
        end = () if duration is None else (Beat(duration, "fault-restored", self.undo),)
        return (Beat(0.0, "fault", self.inject), *end)

    def impairs(self, parameters: P) -> bool:
        """Whether the links that it hits need an impairment engine: it changes more of them than the rate."""
        return False

    def parts(self, parameters: P, daemon: str) -> Collection[str]:
        """What of a node it has to itself while it lasts, and leaves the rest to other faults: processes, or kinds of
        messages; none: all of it. `daemon`: the process that it hits, "" where it hits nodes."""
        return [daemon] if daemon else []

    def without(self, plan: Plan, strike: Strike[P]) -> tuple[str, ...]:
        """The links that nothing can use while it lasts, at least one way: the IGP has to do without them."""
        return ()

    def touches(self, plan: Plan, strike: Strike[P]) -> tuple[str, ...]:
        """The links where packets may be lost while it lasts: its own, and all of its nodes."""
        of_nodes = [name for name, link in plan.links.items() if {link.a.node, link.b.node} & set(strike.nodes)]
        return tuple(dict.fromkeys((*strike.links, *of_nodes)))
