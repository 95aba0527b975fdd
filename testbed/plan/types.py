"""What follows from a topology: every name, address, interface, shape and role, decided once.

Pure data: same spec, same plan. Everything above (lab, schemes, run) reads it; nothing changes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.spec.topology import Topology


class Role(Enum):
    """What a node is for. The first three run FRR, the others are hosts."""

    CORE = "core"
    SITE_EDGE = "site-edge"
    REPOSITORY_EDGE = "repository-edge"
    REPOSITORY = "repository"
    STORAGE = "storage"
    SERVER = "server"
    CONTROLLER = "controller"

    @property
    def is_router(self) -> bool:
        return self in (Role.CORE, Role.SITE_EDGE, Role.REPOSITORY_EDGE)


@dataclass(frozen=True, slots=True)
class Shape:
    """One direction of a link. Rate in bit/s (None: unshaped), delay and jitter in s, queue and burst in bytes (sized
    from rate, delay and MTU). `loss`, `duplicate` and `reorder` are probabilities 0..1.

    `loss_burst`: packets lost in a row, in the mean; 0: each is lost or not on its own. `seed`: same seed, same packets
    lost, duplicated, reordered, delayed as much; None: that is not asked for."""

    rate: int | None
    delay: float
    jitter: float
    loss: float
    queue: int
    burst: int
    loss_burst: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int | None = None

    @property
    def impaired(self) -> bool:
        """Whether it asks for more than a rate and a queue."""
        return any((self.delay, self.jitter, self.loss, self.duplicate, self.reorder))


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a link. `name` is at most 15 characters; `address` carries its prefix length."""

    name: str
    node: str
    link: str
    peer_node: str
    peer_name: str
    address: IPv4Interface
    peer_address: IPv4Address
    mtu: int
    cost: int
    is_lan: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A namespace of the lab. `site` is the topology's node it belongs to (None for core routers).

    `loopback` (a /32, also the router-id) is set for routers; `gateway` for hosts. `number` counts routers from 1.
    """

    name: str
    role: Role
    site: str | None
    number: int
    loopback: IPv4Interface | None
    gateway: IPv4Address | None
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair. `is_lan`: between an edge router and its own host (never shaped, never a fault's target)."""

    name: str
    a: Interface
    b: Interface
    shape: Shape
    mtu: int
    is_lan: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole network. `nodes` and `links` are in topology order: routers first, then hosts."""

    topology: Topology
    nodes: dict[str, Node]
    links: dict[str, Link]
    repository: str
    repository_edge: str
    rp: str
    underlay: IPv4Network

    @property
    def routers(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes.values() if n.role.is_router)

    @property
    def hosts(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes.values() if not n.role.is_router)

    @property
    def sites(self) -> tuple[Node, ...]:
        """The sites' edge routers, in topology order."""
        return tuple(n for n in self.nodes.values() if n.role is Role.SITE_EDGE)

    def destinations(self, site: str, deliver_to: str) -> tuple[Node, ...]:
        """The hosts a sync delivers to at a site: its storage host, or each of its GPU servers."""
        role = Role.STORAGE if deliver_to == "storage" else Role.SERVER
        return tuple(n for n in self.nodes.values() if n.site == site and n.role is role)
