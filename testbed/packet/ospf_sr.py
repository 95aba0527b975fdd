"""What OSPFv2 says about segment routing: RFC 8665's SIDs inside RFC 7684's TLVs, and SRv6 locators.

    Extended Prefix TLV (1)                  a router's address
    ├── Prefix-SID Sub-TLV (2)               RFC 8665 section 5: its Node-SID
    └── SRv6 Locator Sub-TLV (32768)         our own: OSPFv2 has none (RFC 9513 is OSPFv3's), so it is one of those
                                             that RFC 7684 section 6.2 leaves to experiments
    Extended Link TLV (1)                    one link of the router-LSA
    └── Adj-SID Sub-TLV (2)                  RFC 8665 section 6.1

The layout of a SRv6 Locator Sub-TLV's value: locator length in bits (1), reserved (3), locator (16).

A SID with flags that cannot be (one of V and L without the other) is ignored, as RFC 8665 has it. TLVs of other types
are skipped, reserved bits are sent as 0 and ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from testbed.packet.error import PacketError
from testbed.packet.ospf_extended import (
    INTRA_AREA,
    N_FLAG,
    check_extended_prefix,
    decode_extended_links,
    decode_extended_prefixes,
    encode_extended_link,
    encode_extended_prefix,
)
from testbed.packet.ospf_lsa import LinkType
from testbed.packet.ospf_tlv import decode_tlvs, encode_tlv
from testbed.packet.wire import Reader, unsigned

PREFIX_SID, ADJ_SID, SRV6_LOCATOR = 2, 2, 32768  # sub-TLV types, the second one's in Extended Link TLVs
NP_FLAG, M_FLAG, E_FLAG = 0x40, 0x20, 0x10  # of a Prefix-SID: no PHP, from a mapping server, explicit null
B_FLAG, G_FLAG, P_FLAG = 0x80, 0x10, 0x08  # of an Adj-SID: backed up, of a group, persistent
_PREFIX_VL, _ADJ_VL = 0x0C, 0x60  # V, a value and no index, and L, of local significance: both or none


@dataclass(frozen=True, slots=True)
class PrefixSid:
    """RFC 8665 section 5. `sid` is an index into the SRGB, or, with `is_label`, a label. `flags`: NP, M and E."""

    sid: int
    is_label: bool = False
    flags: int = 0
    mt_id: int = 0
    algorithm: int = 0

    def __post_init__(self) -> None:
        _check("prefix_sid", self.sid, self.is_label, self.flags, _PREFIX_VL)
        unsigned("ospf.prefix_sid.mt_id", self.mt_id, 8)
        unsigned("ospf.prefix_sid.algorithm", self.algorithm, 8)

    def encode(self) -> bytes:
        flags = self.flags | (_PREFIX_VL if self.is_label else 0)
        return _encode(PREFIX_SID, flags, self.mt_id, self.algorithm, self.sid, self.is_label)


@dataclass(frozen=True, slots=True)
class AdjSid:
    """RFC 8665 section 6.1. `sid` is a label, or, without `is_label`, an index. `flags`: B, G and P."""

    sid: int
    is_label: bool = True
    flags: int = 0
    mt_id: int = 0
    weight: int = 0

    def __post_init__(self) -> None:
        _check("adj_sid", self.sid, self.is_label, self.flags, _ADJ_VL)
        unsigned("ospf.adj_sid.mt_id", self.mt_id, 8)
        unsigned("ospf.adj_sid.weight", self.weight, 8)

    def encode(self) -> bytes:
        flags = self.flags | (_ADJ_VL if self.is_label else 0)
        return _encode(ADJ_SID, flags, self.mt_id, self.weight, self.sid, self.is_label)


@dataclass(frozen=True, slots=True)
class SrPrefix:
    """An Extended Prefix TLV with what it says about segment routing."""

    prefix: IPv4Network
    sids: tuple[PrefixSid, ...] = ()
    locators: tuple[IPv6Network, ...] = ()
    route_type: int = INTRA_AREA
    flags: int = N_FLAG

    def __post_init__(self) -> None:
        check_extended_prefix(self.route_type, self.flags)

    def encode(self) -> bytes:
        sub_tlvs = b"".join(sid.encode() for sid in self.sids)
        for locator in self.locators:
            value = struct.pack("!B3x", locator.prefixlen) + locator.network_address.packed
            sub_tlvs += encode_tlv(SRV6_LOCATOR, value)
        return encode_extended_prefix(self.prefix, self.route_type, self.flags, sub_tlvs)


@dataclass(frozen=True, slots=True)
class SrLink:
    """An Extended Link TLV: which link of the router-LSA (`id` and `data` as `RouterLink` has them), and its SIDs."""

    id: IPv4Address
    data: IPv4Address
    sids: tuple[AdjSid, ...] = ()
    type: int = LinkType.POINT_TO_POINT

    def __post_init__(self) -> None:
        unsigned("ospf.link.type", self.type, 8)

    def encode(self) -> bytes:
        return encode_extended_link(self.type, self.id, self.data, b"".join(sid.encode() for sid in self.sids))


def encode_sr_prefixes(prefixes: Iterable[SrPrefix]) -> bytes:
    """The body of an Extended Prefix Opaque LSA: all that follows the LSA header."""
    return b"".join(prefix.encode() for prefix in prefixes)


def decode_sr_prefixes(data: bytes) -> tuple[SrPrefix, ...]:
    """The body of an Extended Prefix Opaque LSA. Raises PacketError if anything in it is malformed."""
    found = []
    for prefix, route_type, flags, reader in decode_extended_prefixes(data):
        sids, locators = [], []
        for kind, value in decode_tlvs(reader):
            if kind == SRV6_LOCATOR:
                locators.append(_locator(value))
            elif kind == PREFIX_SID and (said := _sid(value, "prefix_sid", _PREFIX_VL, 0x7F)):
                sids.append(PrefixSid(*said))
        found.append(SrPrefix(prefix, tuple(sids), tuple(locators), route_type, flags))
    return tuple(found)


def encode_sr_links(links: Iterable[SrLink]) -> bytes:
    """The body of an Extended Link Opaque LSA: all that follows the LSA header."""
    return b"".join(link.encode() for link in links)


def decode_sr_links(data: bytes) -> tuple[SrLink, ...]:
    """The body of an Extended Link Opaque LSA. Raises PacketError if anything in it is malformed."""
    found = []
    for link_type, link_id, link_data, reader in decode_extended_links(data):
        sids = [
            AdjSid(*said)
            for kind, value in decode_tlvs(reader)
            if kind == ADJ_SID and (said := _sid(value, "adj_sid", _ADJ_VL, 0xF8))
        ]
        found.append(SrLink(link_id, link_data, tuple(sids), link_type))
    return tuple(found)


def _check(name: str, sid: int, is_label: bool, flags: int, vl: int) -> None:
    unsigned(f"ospf.{name}.sid", sid, 20 if is_label else 32)
    unsigned(f"ospf.{name}.flags", flags, 8)
    if flags & vl:
        raise PacketError(f"ospf.{name}.flags", f"{flags:#04x}", "no V and no L: `is_label` says so")


def _encode(kind: int, flags: int, mt_id: int, fourth: int, sid: int, is_label: bool) -> bytes:
    return encode_tlv(kind, struct.pack("!BBBB", flags, 0, mt_id, fourth) + sid.to_bytes(3 if is_label else 4, "big"))


def _sid(reader: Reader, name: str, vl: int, defined: int) -> tuple[int, bool, int, int, int] | None:
    """SID, whether it is a label, flags, MT-ID, and the fourth octet; None if it is to be ignored."""
    flags = reader.uint(1, f"{name}.flags") & defined
    reader.take(1, f"{name}.reserved")
    mt_id, fourth = reader.uint(1, f"{name}.mt_id"), reader.uint(1, f"{name}.fourth")
    if flags & vl not in (0, vl):
        return None
    is_label = flags & vl == vl
    octets = 3 if is_label else 4
    if reader.left != octets:
        raise reader.error(f"{name}.length", 4 + reader.left, f"{4 + octets}", 4)
    sid = reader.uint(octets, f"{name}.sid")
    return sid & 0xFFFFF if is_label else sid, is_label, flags & ~vl, mt_id, fourth


def _locator(reader: Reader) -> IPv6Network:
    length = reader.uint(1, "srv6_locator.length")
    if length > 128:
        raise reader.error("srv6_locator.length", length, "0 to 128", 1)
    reader.take(3, "srv6_locator.reserved")
    address = int.from_bytes(reader.take(16, "srv6_locator.locator"), "big")
    if address & (1 << 128 - length) - 1:
        raise reader.error("srv6_locator.locator", f"{address:#034x}", f"no bit set behind the first {length}", 16)
    if reader.left:
        raise reader.error("srv6_locator.length", f"{reader.left} octets more", "none", 0)
    return IPv6Network((address, length))
