"""What an impairment engine is. The rate and the queue are not its business: a TBF at each end has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from testbed import plan
from testbed.lab.node import Node

Direction = tuple[str, str]  # a link's name, and the node that sends


@dataclass(frozen=True, slots=True)
class Impaired:
    """What an engine did in one direction of a link so far, in packets.

    `lost`, `duplicated` and `reordered` as it was asked to; `dropped` for want of room. None: it does not count that.
    """

    lost: int | None
    duplicated: int | None
    reordered: int | None
    dropped: int


class Engine(Protocol):
    """Holds the links that it was made for. Methods raise LabError, MachineError, pyroute2's NetlinkError."""

    name: str

    @property
    def links(self) -> Mapping[str, plan.Link]:
        """Those that it holds, by name."""

    @property
    def rate_parent(self) -> int:
        """The class of a qdisc that a node's TBF hangs under."""

    def refuse(self, shape: plan.Shape) -> list[str]:
        """Everything about a shape that this engine cannot honour, each with the reason; empty: it can."""

    def start(self) -> None:
        """Before any of the links is made."""

    def connect(self, link: plan.Link, a: Node, b: Node) -> None:
        """Make one of its links: an interface in each node."""

    def shape(self, node: Node, interface: plan.Interface, shape: plan.Shape) -> None:
        """What is sent from one end of a link is treated like this from now on, the rate left out."""

    def wait_ready(self) -> None:
        """Return once packets get through. The interfaces are up."""

    def wait_empty(self, link: str) -> None:
        """Return once a link, both of whose ends are down, has nothing on its way any more."""

    def read(self) -> dict[Direction, Impaired]:
        """What it did, by direction."""

    def why_dead(self) -> str:
        """ "" while it does its work."""

    def stop(self) -> None:
        """End what runs of it."""
