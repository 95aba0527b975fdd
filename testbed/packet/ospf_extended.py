"""OSPFv2's Extended Prefix and Extended Link TLVs (RFC 7684): frames around what other RFCs say of a prefix or link.

Sub-TLVs are octets here, and readers over them: packet/ospf_bier.py and packet/ospf_sr.py know what is in them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from testbed.packet.ospf_tlv import decode_tlvs, encode_tlv
from testbed.packet.wire import Reader, unsigned

EXTENDED_PREFIX = EXTENDED_LINK = 1  # the TLV's type, each in its own opaque LSA
INTRA_AREA, INTER_AREA = 1, 3  # route types
A_FLAG, N_FLAG = 0x80, 0x40
_AF_IPV4 = 0


def check_extended_prefix(route_type: int, flags: int) -> None:
    """Raise PacketError unless both fit."""
    unsigned("ospf.prefix.route_type", route_type, 8)
    unsigned("ospf.prefix.flags", flags, 8)


def encode_extended_prefix(prefix: IPv4Network, route_type: int, flags: int, sub_tlvs: bytes) -> bytes:
    """RFC 7684 section 2.1."""
    head = struct.pack("!BBBB", route_type, prefix.prefixlen, _AF_IPV4, flags)
    return encode_tlv(EXTENDED_PREFIX, head + prefix.network_address.packed + sub_tlvs)


def decode_extended_prefixes(data: bytes) -> Iterator[tuple[IPv4Network, int, int, Reader]]:
    """Prefix, route type, flags of every one in an opaque LSA's body, and a reader over its sub-TLVs.

    Other TLVs are skipped. Raises PacketError where it comes upon what is malformed.
    """
    for kind, reader in decode_tlvs(Reader(data, "ospf")):
        if kind != EXTENDED_PREFIX:
            continue
        route_type, length = reader.uint(1, "prefix.route_type"), reader.uint(1, "prefix.length")
        if length > 32:
            raise reader.error("prefix.length", length, "0 to 32", 1)
        if family := reader.uint(1, "prefix.af"):
            raise reader.error("prefix.af", family, f"{_AF_IPV4}, IPv4 unicast", 1)
        flags = reader.uint(1, "prefix.flags")
        address = reader.uint(4, "prefix.address")
        if address & (1 << 32 - length) - 1:
            raise reader.error("prefix.address", f"{address:#010x}", f"no bit set behind the first {length}", 4)
        yield IPv4Network((address, length)), route_type, flags, reader


def encode_extended_link(link_type: int, link_id: IPv4Address, link_data: IPv4Address, sub_tlvs: bytes) -> bytes:
    """RFC 7684 section 3.1. Type, id and data are those of the router-LSA's link."""
    return encode_tlv(EXTENDED_LINK, struct.pack("!B3x", link_type) + link_id.packed + link_data.packed + sub_tlvs)


def decode_extended_links(data: bytes) -> Iterator[tuple[int, IPv4Address, IPv4Address, Reader]]:
    """Link type, link id, link data of every one in an opaque LSA's body, and a reader over its sub-TLVs.

    Other TLVs are skipped. Raises PacketError where it comes upon what is malformed.
    """
    for kind, reader in decode_tlvs(Reader(data, "ospf")):
        if kind != EXTENDED_LINK:
            continue
        link_type = reader.uint(1, "link.type")
        reader.take(3, "link.reserved")
        link_id = IPv4Address(reader.take(4, "link.id"))
        link_data = IPv4Address(reader.take(4, "link.data"))
        yield link_type, link_id, link_data, reader
