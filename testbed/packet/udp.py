"""UDP (RFC 768) over IPv4 and IPv6."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from testbed.packet.checksum import Address, internet_checksum, pseudo_header
from testbed.packet.error import PacketError
from testbed.packet.ip import IPv4, IPv6, Protocol
from testbed.packet.wire import Reader, unsigned

SIZE = 8  # octets


@dataclass(frozen=True, slots=True)
class Udp:
    sport: int
    dport: int

    def __post_init__(self) -> None:
        unsigned("udp.sport", self.sport, 16)
        unsigned("udp.dport", self.dport, 16)

    def encode(self, payload: bytes, src: Address, dst: Address) -> bytes:
        """With the checksum over the pseudo header of these addresses; a computed 0 is sent as 0xFFFF."""
        length = SIZE + len(payload)
        unsigned("udp.length", length, 16)
        head = struct.pack("!HHH", self.sport, self.dport, length)
        pseudo = pseudo_header(src, dst, Protocol.UDP, length)
        checksum = internet_checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF
        return head + checksum.to_bytes(2, "big") + payload

    @classmethod
    def decode(cls, data: bytes, src: Address, dst: Address, *, verify: bool = True) -> tuple[Udp, bytes]:
        """The header and its payload; `data` is what IP carried, whole.

        `verify=False` is for packets captured before they were complete: Linux leaves the checksum of a local socket
        to the device, and a veth never fills it in.
        """
        reader = Reader(data, "udp")
        sport, dport = reader.uint(2, "sport"), reader.uint(2, "dport")
        length = reader.uint(2, "length")
        if length != len(data):
            raise reader.error("length", length, f"{len(data)}, the octets in the IP packet", 2)
        checksum = reader.uint(2, "checksum")
        payload = reader.rest()
        if verify and (checksum or src.version == 6):  # 0 is "none" over IPv4, forbidden over IPv6
            pseudo = pseudo_header(src, dst, Protocol.UDP, length)
            right = internet_checksum(pseudo + data[:6] + b"\0\0" + payload) or 0xFFFF
            if checksum != right:
                raise PacketError("udp.checksum", f"{checksum:#06x}", f"{right:#06x}", 6)
        return cls(sport, dport), payload


def udp_packet(src: Address, dst: Address, sport: int, dport: int, payload: bytes = b"", ttl: int = 64) -> bytes:
    """A whole IP packet of the addresses' family; `ttl` is IPv6's hop limit too."""
    datagram = Udp(sport, dport).encode(payload, src, dst)
    if isinstance(src, IPv4Address) and isinstance(dst, IPv4Address):
        return IPv4(src, dst, Protocol.UDP, ttl).encode(datagram)
    assert isinstance(src, IPv6Address)
    assert isinstance(dst, IPv6Address)
    return IPv6(src, dst, Protocol.UDP, ttl).encode(datagram)
