"""GRE (RFC 2784) with the fields of RFC 2890: a tunnel over IP for whatever has an Ethertype."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.packet.checksum import internet_checksum
from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

_CHECKSUM, _KEY, _SEQUENCE = 0x8000, 0x2000, 0x1000
_REFUSED = 0x4C00  # RFC 1701's routing, strict source route and recursion: RFC 2784 section 2.3 has them discarded


@dataclass(frozen=True, slots=True)
class Gre:
    """`protocol`: the payload's Ethertype. `checksum`: whether header and payload carry one. `reserved`: bits 6 to 12,
    which a receiver ignores."""

    protocol: int
    checksum: bool = False
    key: int | None = None
    sequence: int | None = None
    reserved: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        unsigned("gre.protocol", self.protocol, 16)
        unsigned("gre.key", self.key or 0, 32)
        unsigned("gre.sequence", self.sequence or 0, 32)
        unsigned("gre.reserved", self.reserved, 7)
        unsigned("gre.version", self.version, 3)

    def encode(self, payload: bytes = b"") -> bytes:
        flags = self.checksum * _CHECKSUM | self.reserved << 3 | self.version
        rest = b""
        for flag, value in ((_KEY, self.key), (_SEQUENCE, self.sequence)):
            if value is not None:
                flags |= flag
                rest += value.to_bytes(4, "big")
        head = flags.to_bytes(2, "big") + self.protocol.to_bytes(2, "big")
        if not self.checksum:
            return head + rest + payload
        checksum = internet_checksum(head + bytes(4) + rest + payload)
        return head + checksum.to_bytes(2, "big") + bytes(2) + rest + payload

    @classmethod
    def decode(cls, data: bytes) -> tuple[Gre, bytes]:
        reader = Reader(data, "gre")
        flags, protocol = reader.uint(2, "flags"), reader.uint(2, "protocol")
        if flags & _REFUSED:
            raise reader.error("flags", f"{flags:#06x}", "no routing of RFC 1701", 4)
        if flags & _CHECKSUM:
            checksum = reader.uint(2, "checksum")
            reader.take(2, "reserved1")
            right = internet_checksum(data[:4] + bytes(2) + data[6:])
            if checksum != right:
                raise PacketError("gre.checksum", f"{checksum:#06x}", f"{right:#06x}", 4)
        key = reader.uint(4, "key") if flags & _KEY else None
        sequence = reader.uint(4, "sequence") if flags & _SEQUENCE else None
        gre = cls(protocol, bool(flags & _CHECKSUM), key, sequence, flags >> 3 & 0x7F, flags & 7)
        return gre, reader.rest()
