"""What a scheme is: the one protocol between the ways packets reach the sites and everything else.

A scheme is one file in this folder with a class that does what `Scheme` says, listed in `SCHEMES` (`__init__.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Protocol

from testbed.errors import Problem, RequestError
from testbed.lab.lab import Lab
from testbed.lab.messages import Reading
from testbed.plan.frr import PimFeatures, RouterConfig, Underlay, Version, render
from testbed.plan.paths import DirectedLink
from testbed.plan.timers import Timers
from testbed.plan.types import Plan
from testbed.spec.scenario import OptionValue


@dataclass(frozen=True, slots=True)
class Flow:
    """How the packets of sync number `number` (from 1) are addressed: to a `group`, which receivers join (`ssm`: for
    the source only), or without one to each destination at its own address.

    `copied`: the repository's router sends each site a copy of the group's packets, so that links carry several.
    """

    number: int
    group: str | None = None
    ssm: bool = False
    copied: bool = False


def group(first: str, number: int) -> str:
    """The group of flow `number` (from 1) in the block of 65,535 that follows the address `first`."""
    return str(IPv4Address(first) + number)


@dataclass(frozen=True, slots=True)
class SchemeEvent:
    """Something that a scheme's own control plane did at a router. `t` is CLOCK_MONOTONIC."""

    t: float
    kind: str
    router: str
    detail: dict[str, Any] = field(default_factory=dict)


def refuse_options(name: str, options: Mapping[str, OptionValue]) -> None:
    """For a scheme that has none. Raises RequestError with all that were given."""
    if options:
        raise RequestError(
            [Problem(f"scheme {name} has no option {key!r}", hint="it has none at all") for key in options]
        )


class Scheme(Protocol):
    """One way for packets to reach the sites. Made from its options; raises RequestError for one it does not know."""

    name: str
    features: PimFeatures | None
    """What it wants of FRR's multicast daemons."""

    underlay: Underlay
    """What it wants of the unicast routing."""

    multicast: bool
    """Whether its flows go to groups. The transports that it can carry are those that do, too, or those that do not."""

    stages: tuple[str, ...]
    """The kinds of events, the kernel's or its own, that are stages of its convergence, in the order of their course:
    each becomes a `<kind>_ms` of a run's stages and a mark in the report's timelines."""

    def __init__(self, options: dict[str, OptionValue]) -> None: ...

    def flow(self, number: int) -> Flow:
        """The addresses of sync number `number`."""

    def start(self, lab: Lab) -> None:
        """Start what runs beside FRR in the routers; the IGP stands. Raises LabError, MachineError."""

    def wait_ready(self, lab: Lab) -> None:
        """Return once the control plane stands (neighbours up, RP known). Raises NotConverged."""

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        """Make a flow from the host `source` reach these hosts, as far as they do not see to that by joining.

        Raises LabError.
        """

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        """The links that the packets of a prepared flow take at this moment, by the scheme's own forwarding state,
        beginning at the repository's router; empty where that does not tell. Raises LabError, OSError, ValueError."""

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        """What its own control plane did until now, in no order."""

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        """Forwarding and protocol state entries, by router."""

    def control(self, lab: Lab) -> Reading:
        """Its own control messages so far, as they are counted. Asked for before `start`, too."""


def router_configs(plan: Plan, scheme: Scheme, timers: Timers, frr_version: Version) -> dict[str, RouterConfig]:
    """FRR's configuration of every router of a plan, as the scheme wants it."""
    return {
        router.name: render(
            plan,
            router.name,
            scheme_features=scheme.features,
            timers=timers,
            frr_version=frr_version,
            underlay=scheme.underlay,
        )
        for router in plan.routers
    }
