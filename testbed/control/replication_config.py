"""What a replication agent is told when it starts: one JSON file. And the numbers that all of them share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

COMMANDS = 7701  # TCP port of an agent's commands, at the router's loopback address
PREFIX_TYPE, LINK_TYPE = 201, 202  # opaque types for private use (RFC 5250 section 7): ospfd keeps 7 and 8 for itself
SRGB = 16000  # the same everywhere, as RFC 8402 section 3.1.2 recommends: Node-SID index n is label 16000 + n
SRGB_SIZE = 65536
ADJACENCIES = 15000  # a router's adjacency SIDs: its first link has 15001
REPLICATION_SIDS = 400_000  # with SR-MPLS, Replication-SID F is label 400000 + F
LARGEST_SID = 65535
PLANES = ("sr-mpls", "srv6")
OVERLAY_IN, OVERLAY_OUT = 1, 2  # contexts of flows: at a root, at a leaf
KERNEL_NEXTHOP = 65535  # with SRv6: the number of the next hop that is the kernel's own routing


def adjacency_label(place: int) -> int:
    """The adjacency SID of a router's link, by its place among those, from 0."""
    return ADJACENCIES + 1 + place


def replication_sid(locator: IPv6Network, function: int) -> IPv6Address:
    """An SRv6 Replication-SID: the locator, and a function of 16 bits behind it (RFC 9524 section 2.2)."""
    return locator.network_address + (function << 112 - locator.prefixlen)


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another router: the interface, its address, the neighbour's address on it, and its router-id."""

    name: str
    address: str
    peer: str
    neighbour: str


@dataclass(frozen=True, slots=True)
class Srv6:
    """The data plane SRv6 at a router: its locator, the source of what it encapsulates, and the forwarder's way to the
    kernel's routing: a port, and the MAC address behind it."""

    locator: str
    source: str
    port: str
    mac: str


@dataclass(frozen=True, slots=True)
class ReplicationConfig:
    """One router's part in SR-P2MP.

    `loopback`: its router-id, and the prefix of its Node-SID, whose index is `number`. `lans`: interfaces to hosts.
    `srv6`: None where the data plane is SR-MPLS. `mtu`: octets of an IP packet on the narrowest link of the domain, 0:
    not known. `hold`: seconds for which a router counts whose advertisement went because its agent died. `state`: the
    file to remember segments in, `events`: the one to report to.

    `loose`: whether branches of the domain may be; else nobody needs rows of Node-SIDs, and an agent has nothing to do
    when routes change.
    """

    loopback: str
    number: int
    links: tuple[Link, ...]
    lans: tuple[str, ...]
    forwarder: str
    events: str
    state: str
    srv6: Srv6 | None = None
    mtu: int = 0
    hold: float = 60.0
    loose: bool = True

    @property
    def router(self) -> IPv4Address:
        return IPv4Address(self.loopback)

    @property
    def locator(self) -> IPv6Network | None:
        return IPv6Network(self.srv6.locator) if self.srv6 else None

    @property
    def node_sids(self) -> bool:
        """Whether the forwarder has rows of Node-SIDs. With SRv6 the kernel's routes do what those do."""
        return self.loose and self.srv6 is None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> ReplicationConfig:
        values: dict[str, Any] = json.loads(path.read_text())
        links = tuple(Link(**link) for link in values.pop("links"))
        srv6 = Srv6(**values["srv6"]) if values["srv6"] else None
        return cls(**values | {"links": links, "lans": tuple(values["lans"]), "srv6": srv6})
