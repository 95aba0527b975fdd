"""OSPFv2's link state advertisements (RFC 2328 appendix A.4): the header, and the bodies that span an area's graph.

    age (2)  options (1)  type (1)
    link state id (4)                  an opaque LSA's: opaque type (1), opaque id (3), RFC 5250 section 3
    advertising router (4)
    sequence number (4)
    checksum (2)  length (2)
    body

A body is kept as octets: `RouterLsa` and `NetworkLsa` decode those of types 1 and 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

HEADER_SIZE = 20  # octets
MAX_AGE = 3600  # seconds: an LSA of this age is being flushed (RFC 2328 section 14.1)
DO_NOT_AGE = 0x8000  # the bit of the age field that RFC 1793 took
INITIAL_SEQUENCE = -0x7FFFFFFF  # 0x80000001: sequence numbers are signed (RFC 2328 section 12.1.6)

_CHECKSUM_AT = 14  # of the checksum, counted behind the age, which it leaves out


class LsaType(IntEnum):
    """RFC 2328 appendix A.4.1, RFC 3101, RFC 5250 section 3. Others may come, and are decoded, too."""

    ROUTER = 1
    NETWORK = 2
    SUMMARY = 3
    ASBR_SUMMARY = 4
    AS_EXTERNAL = 5
    NSSA = 7
    OPAQUE_LINK = 9
    OPAQUE_AREA = 10
    OPAQUE_AS = 11


class LsaKey(NamedTuple):
    """What all instances of one LSA have in common (RFC 2328 section 12.1)."""

    type: int
    id: IPv4Address
    advertising_router: IPv4Address

    def __str__(self) -> str:
        return f"LSA {self.type}/{self.id}/{self.advertising_router}"


@dataclass(frozen=True, slots=True)
class Lsa:
    """One instance of an LSA. `age` in seconds; `sequence` as it is compared, signed."""

    type: int
    id: IPv4Address
    advertising_router: IPv4Address
    body: bytes = b""
    sequence: int = INITIAL_SEQUENCE
    age: int = 0
    options: int = 0

    def __post_init__(self) -> None:
        unsigned("lsa.age", self.age, 16)
        unsigned("lsa.options", self.options, 8)
        unsigned("lsa.type", self.type, 8)
        unsigned("lsa.length", HEADER_SIZE + len(self.body), 16)
        if not -(1 << 31) <= self.sequence < 1 << 31:
            raise PacketError("lsa.sequence", self.sequence, "a signed number of 32 bits")

    @property
    def key(self) -> LsaKey:
        return LsaKey(self.type, self.id, self.advertising_router)

    @property
    def is_max_age(self) -> bool:
        """Whether this instance takes its LSA out of the area."""
        return self.age & ~DO_NOT_AGE >= MAX_AGE

    @property
    def opaque_type(self) -> int:
        return self.id.packed[0]

    @property
    def opaque_id(self) -> int:
        return int(self.id) & 0xFFFFFF

    def same_contents(self, other: Lsa) -> bool:
        """Whether it says what `other` says, a refresh at most (RFC 2328 section 13.2)."""
        return (self.options, self.is_max_age, self.body) == (other.options, other.is_max_age, other.body)

    def encode(self) -> bytes:
        head = struct.pack("!BB", self.options, self.type) + self.id.packed + self.advertising_router.packed
        head += struct.pack("!iHH", self.sequence, 0, HEADER_SIZE + len(self.body))
        checksum = fletcher_checksum(head + self.body, _CHECKSUM_AT)
        head = head[:_CHECKSUM_AT] + checksum.to_bytes(2, "big") + head[_CHECKSUM_AT + 2 :]
        return self.age.to_bytes(2, "big") + head + self.body

    @classmethod
    def decode(cls, data: bytes, *, verify: bool = True) -> Lsa:
        """The LSA that these octets are, all of them. `verify=False` is for those whose checksum is not made yet."""
        reader = Reader(data, "lsa")
        age, options, kind = reader.uint(2, "age"), reader.uint(1, "options"), reader.uint(1, "type")
        key = LsaKey(kind, _address(reader, "id"), _address(reader, "advertising_router"))
        (sequence,) = struct.unpack("!i", reader.take(4, "sequence"))
        checksum, length = reader.uint(2, "checksum"), reader.uint(2, "length")
        if length != len(data):
            raise reader.error("length", length, f"{len(data)}, the octets there are", 2)
        if verify and checksum != (right := fletcher_checksum(data[2:], _CHECKSUM_AT)):
            raise PacketError("lsa.checksum", f"{checksum:#06x}", f"{right:#06x}", 2 + _CHECKSUM_AT)
        return cls(*key, reader.rest(), sequence, age, options)


def opaque_lsa_id(opaque_type: int, opaque_id: int) -> IPv4Address:
    """The link state id of an opaque LSA (RFC 5250 section 3)."""
    unsigned("lsa.opaque_type", opaque_type, 8)
    unsigned("lsa.opaque_id", opaque_id, 24)
    return IPv4Address(opaque_type << 24 | opaque_id)


def fletcher_checksum(data: bytes, at: int) -> int:
    """The checksum of RFC 2328 section 12.1.7 (ISO 8473's, RFC 905 annex B) whose two octets lie at `at` in `data`.

    They are taken as 0. An LSA's checksum covers all of it but its age.
    """
    octets = data[:at] + b"\0\0" + data[at + 2 :]
    count = len(octets)
    c0 = sum(octets)
    c1 = sum((count - place) * octet for place, octet in enumerate(octets))
    x = ((count - at - 1) * c0 - c1) % 255 or 255
    y = (c1 - (count - at) * c0) % 255 or 255
    return x << 8 | y


class LinkType(IntEnum):
    """RFC 2328 section 12.4.1: what `RouterLink.id` and `.data` mean hangs on it.

    POINT_TO_POINT   the neighbour's router id; the own interface's address (or index, where it is unnumbered)
    TRANSIT          the designated router's interface address; the own interface's address
    STUB             a network; its mask
    VIRTUAL          the neighbour's router id; the own interface's address
    """

    POINT_TO_POINT = 1
    TRANSIT = 2
    STUB = 3
    VIRTUAL = 4


@dataclass(frozen=True, slots=True)
class RouterLink:
    """One link of a router-LSA. `metric` is that of TOS 0; others are skipped, as RFC 2328 has it."""

    type: int
    id: IPv4Address
    data: IPv4Address
    metric: int

    def __post_init__(self) -> None:
        unsigned("router_lsa.link_type", self.type, 8)
        unsigned("router_lsa.metric", self.metric, 16)

    def encode(self) -> bytes:
        return self.id.packed + self.data.packed + struct.pack("!BBH", self.type, 0, self.metric)

    @classmethod
    def _from(cls, reader: Reader) -> RouterLink:
        link_id, data = _address(reader, "link_id"), _address(reader, "link_data")
        kind, tos_count = reader.uint(1, "link_type"), reader.uint(1, "tos_count")
        metric = reader.uint(2, "metric")
        reader.take(4 * tos_count, "tos")
        return cls(kind, link_id, data, metric)


@dataclass(frozen=True, slots=True)
class RouterLsa:
    """The body of a router-LSA (RFC 2328 appendix A.4.2)."""

    links: tuple[RouterLink, ...]
    flags: int = 0  # 4: end of a virtual link, 2: AS boundary router, 1: area border router

    def __post_init__(self) -> None:
        unsigned("router_lsa.flags", self.flags, 8)
        unsigned("router_lsa.link_count", len(self.links), 16)

    def encode(self) -> bytes:
        return struct.pack("!BBH", self.flags, 0, len(self.links)) + b"".join(link.encode() for link in self.links)

    @classmethod
    def decode(cls, body: bytes) -> RouterLsa:
        reader = Reader(body, "router_lsa")
        flags = reader.uint(1, "flags")
        reader.take(1, "reserved")
        links = tuple(RouterLink._from(reader) for _ in range(reader.uint(2, "link_count")))
        _end(reader)
        return cls(links, flags)


@dataclass(frozen=True, slots=True)
class NetworkLsa:
    """The body of a network-LSA (RFC 2328 appendix A.4.3): the other half of every transit link."""

    mask: IPv4Address
    routers: tuple[IPv4Address, ...]

    def encode(self) -> bytes:
        return self.mask.packed + b"".join(router.packed for router in self.routers)

    @classmethod
    def decode(cls, body: bytes) -> NetworkLsa:
        reader = Reader(body, "network_lsa")
        mask, routers = _address(reader, "mask"), []
        while reader.left:
            routers.append(_address(reader, "router"))
        return cls(mask, tuple(routers))


def _address(reader: Reader, field: str) -> IPv4Address:
    return IPv4Address(reader.take(4, field))


def _end(reader: Reader) -> None:
    if reader.left:
        raise reader.error("length", f"{reader.left} octets more", "none", 0)
