"""The internet checksum (RFC 1071) and the pseudo headers that upper layers put under it."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from testbed.packet.error import PacketError

Address = IPv4Address | IPv6Address


def internet_checksum(data: bytes) -> int:
    """The one's complement of the one's complement sum of 16-bit words; odd data is padded with a zero octet.

    Over data that already holds its right checksum the result is 0: that is how to verify one.
    """
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo_header(src: Address, dst: Address, protocol: int, length: int) -> bytes:
    """What UDP (RFC 768) and all that runs over IPv6 (RFC 8200 section 8.1) sum in front of their own octets.

    `length` is the upper layer's in octets, header and data. With an IPv6 routing header, `dst` is the final
    destination, not the one in the IPv6 header of the moment.
    """
    if isinstance(src, IPv4Address) and isinstance(dst, IPv4Address):
        return src.packed + dst.packed + struct.pack("!BBH", 0, protocol, length)
    if isinstance(src, IPv6Address) and isinstance(dst, IPv6Address):
        return src.packed + dst.packed + struct.pack("!I3xB", length, protocol)
    raise PacketError("pseudo_header.dst", dst, f"an address of the family of {src}")
