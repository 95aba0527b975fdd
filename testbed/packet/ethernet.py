"""Ethernet II headers, and the addresses that multicast groups have there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from testbed.packet.checksum import Address
from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_LEAST_ETHERTYPE = 0x0600  # below it, the field is an IEEE 802.3 length


class Ethertype(IntEnum):
    IPV4 = 0x0800
    IPV6 = 0x86DD
    MPLS = 0x8847  # downstream-assigned label on top, in unicast and multicast frames (RFC 5332)
    BIER = 0xAB37  # BIER in non-MPLS networks (RFC 8296 section 5)


@dataclass(frozen=True, slots=True)
class Ethernet:
    """Addresses are text as Linux writes it: "02:00:00:00:00:01", lower case."""

    dst: str
    src: str
    ethertype: int

    def __post_init__(self) -> None:
        for field, mac in (("dst", self.dst), ("src", self.src)):
            if not _MAC.fullmatch(mac):
                raise PacketError(f"ethernet.{field}", repr(mac), "six octets as in 02:00:00:00:00:01")
        unsigned("ethernet.ethertype", self.ethertype, 16, _LEAST_ETHERTYPE)

    def encode(self, payload: bytes = b"") -> bytes:
        """The frame without its check sequence; nothing is padded to 60 octets."""
        return b"".join((_octets(self.dst), _octets(self.src), self.ethertype.to_bytes(2, "big"), payload))

    @classmethod
    def decode(cls, data: bytes) -> tuple[Ethernet, bytes]:
        """The header and what follows it, padding included."""
        reader = Reader(data, "ethernet")
        dst, src = reader.take(6, "dst"), reader.take(6, "src")
        ethertype = reader.uint(2, "ethertype")
        if ethertype < _LEAST_ETHERTYPE:
            raise reader.error("ethertype", f"{ethertype:#06x}", "an Ethertype, 0x0600 or more", 2)
        return cls(dst.hex(":"), src.hex(":"), ethertype), reader.rest()


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def multicast_mac(group: Address) -> str:
    """The destination address of frames to `group`: RFC 1112 section 6.4 (low 23 bits), RFC 2464 section 7 (low 32)."""
    if not group.is_multicast:
        raise PacketError("ethernet.group", group, "a multicast address")
    if group.version == 4:
        return (0x01005E000000 | int(group) & 0x7FFFFF).to_bytes(6, "big").hex(":")
    return (0x333300000000 | int(group) & 0xFFFFFFFF).to_bytes(6, "big").hex(":")
