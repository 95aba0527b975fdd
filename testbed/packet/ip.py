"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

Both decoders return the payload that the length field covers and drop what lies behind it: Ethernet pads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from testbed.packet.checksum import internet_checksum
from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

IPV4_SIZE = 20  # octets, without options


class Protocol(IntEnum):
    """Values of IPv4's Protocol and IPv6's Next Header that are used here."""

    IPV4 = 4
    UDP = 17
    IPV6 = 41
    ROUTING = 43
    GRE = 47
    ICMPV6 = 58
    ETHERNET = 143


@dataclass(frozen=True, slots=True)
class IPv4:
    """`fragment_offset` counts units of 8 octets; `options` is a multiple of 4 octets, at most 40."""

    src: IPv4Address
    dst: IPv4Address
    protocol: int
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    df: bool = False
    mf: bool = False
    fragment_offset: int = 0
    options: bytes = b""

    def __post_init__(self) -> None:
        unsigned("ipv4.protocol", self.protocol, 8)
        unsigned("ipv4.ttl", self.ttl, 8)
        unsigned("ipv4.tos", self.tos, 8)
        unsigned("ipv4.identification", self.identification, 16)
        unsigned("ipv4.fragment_offset", self.fragment_offset, 13)
        if len(self.options) % 4 or len(self.options) > 40:
            raise PacketError("ipv4.options", f"{len(self.options)} octets", "a multiple of 4, at most 40")

    def encode(self, payload: bytes = b"") -> bytes:
        size = IPV4_SIZE + len(self.options)
        unsigned("ipv4.total_length", size + len(payload), 16)
        fragment = self.df << 14 | self.mf << 13 | self.fragment_offset
        head = struct.pack(
            "!BBHHHBB",
            0x40 | size // 4,
            self.tos,
            size + len(payload),
            self.identification,
            fragment,
            self.ttl,
            self.protocol,
        )
        tail = self.src.packed + self.dst.packed + self.options
        return head + internet_checksum(head + tail).to_bytes(2, "big") + tail + payload

    @classmethod
    def decode(cls, data: bytes) -> tuple[IPv4, bytes]:
        reader = Reader(data, "ipv4")
        first = reader.uint(1, "version")
        if first >> 4 != 4:
            raise reader.error("version", first >> 4, "4", 1)
        size = (first & 0xF) * 4
        if size < IPV4_SIZE:
            raise reader.error("ihl", first & 0xF, "5 or more", 1)
        tos = reader.uint(1, "tos")
        total = reader.uint(2, "total_length")
        if not size <= total <= len(data):
            raise reader.error("total_length", total, f"{size} (the header) to {len(data)} (what is there)", 2)
        identification = reader.uint(2, "identification")
        fragment = reader.uint(2, "flags")
        if fragment >> 15:
            raise reader.error("flags", f"{fragment >> 13:#05b}", "the first bit clear", 2)
        ttl, protocol = reader.uint(1, "ttl"), reader.uint(1, "protocol")
        checksum = reader.uint(2, "checksum")
        right = internet_checksum(data[:10] + b"\0\0" + data[12:size])
        if checksum != right:
            raise reader.error("checksum", f"{checksum:#06x}", f"{right:#06x}", 2)
        header = cls(
            src=IPv4Address(reader.take(4, "src")),
            dst=IPv4Address(reader.take(4, "dst")),
            protocol=protocol,
            ttl=ttl,
            tos=tos,
            identification=identification,
            df=bool(fragment >> 14 & 1),
            mf=bool(fragment >> 13 & 1),
            fragment_offset=fragment & 0x1FFF,
            options=reader.take(size - IPV4_SIZE, "options"),
        )
        return header, reader.take(total - size, "payload")


@dataclass(frozen=True, slots=True)
class IPv6:
    """Extension headers are the payload's beginning: `srv6.Srh` builds one."""

    src: IPv6Address
    dst: IPv6Address
    next_header: int
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0

    def __post_init__(self) -> None:
        for field, address in (("src", self.src), ("dst", self.dst)):
            if address.scope_id is not None:
                raise PacketError(f"ipv6.{field}", address, "an address without a zone, which no packet carries")
        unsigned("ipv6.next_header", self.next_header, 8)
        unsigned("ipv6.hop_limit", self.hop_limit, 8)
        unsigned("ipv6.traffic_class", self.traffic_class, 8)
        unsigned("ipv6.flow_label", self.flow_label, 20)

    def encode(self, payload: bytes = b"") -> bytes:
        unsigned("ipv6.payload_length", len(payload), 16)
        word = 6 << 28 | self.traffic_class << 20 | self.flow_label
        head = struct.pack("!IHBB", word, len(payload), self.next_header, self.hop_limit)
        return head + self.src.packed + self.dst.packed + payload

    @classmethod
    def decode(cls, data: bytes) -> tuple[IPv6, bytes]:
        reader = Reader(data, "ipv6")
        word = reader.uint(4, "version")
        if word >> 28 != 6:
            raise reader.error("version", word >> 28, "6", 4)
        length = reader.uint(2, "payload_length")
        next_header, hop_limit = reader.uint(1, "next_header"), reader.uint(1, "hop_limit")
        header = cls(
            src=IPv6Address(reader.take(16, "src")),
            dst=IPv6Address(reader.take(16, "dst")),
            next_header=next_header,
            hop_limit=hop_limit,
            traffic_class=word >> 20 & 0xFF,
            flow_label=word & 0xFFFFF,
        )
        return header, reader.take(length, "payload")
