"""What a scheme is: the one protocol between the ways packets reach the sites and everything else.

A scheme is one file in this folder with a class that does what `Scheme` says, listed in `SCHEMES` (`__init__.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from testbed.lab.lab import Lab
from testbed.plan.frr import PimFeatures
from testbed.spec.scenario import OptionValue


@dataclass(frozen=True, slots=True)
class Flow:
    """How the packets of sync number `number` (from 1) are addressed. `ssm`: receivers join (source, group)."""

    number: int
    group: str
    ssm: bool


class Scheme(Protocol):
    """One way for packets to reach the sites. Made from its options; raises RequestError for one it does not know."""

    name: str
    features: PimFeatures | None
    """What it wants of FRR's multicast daemons."""

    def __init__(self, options: dict[str, OptionValue]) -> None: ...

    def flow(self, number: int) -> Flow:
        """The addresses of sync number `number`."""

    def wait_ready(self, lab: Lab) -> None:
        """Return once the control plane stands (neighbours up, RP known). Raises NotConverged."""

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        """Forwarding and protocol state entries, by router."""

    def control(self, lab: Lab) -> dict[str, dict[str, int]]:
        """Control messages so far, by protocol: counters that only grow."""
