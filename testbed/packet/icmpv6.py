"""ICMPv6 Echo Request and Reply (RFC 4443 section 4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from testbed.packet.checksum import internet_checksum, pseudo_header
from testbed.packet.ip import Protocol
from testbed.packet.wire import Reader, unsigned

REQUEST, REPLY = 128, 129


@dataclass(frozen=True, slots=True)
class Icmpv6Echo:
    identifier: int
    sequence: int
    reply: bool = False

    def __post_init__(self) -> None:
        unsigned("icmpv6.identifier", self.identifier, 16)
        unsigned("icmpv6.sequence", self.sequence, 16)

    def encode(self, payload: bytes, src: IPv6Address, dst: IPv6Address) -> bytes:
        """`dst` is the final destination: to ping a leaf through Replication-SIDs, the leaf's (RFC 9524 2.2.2)."""
        head = bytes((REPLY if self.reply else REQUEST, 0))
        tail = struct.pack("!HH", self.identifier, self.sequence) + payload
        pseudo = pseudo_header(src, dst, Protocol.ICMPV6, 4 + len(tail))
        return head + internet_checksum(pseudo + head + b"\0\0" + tail).to_bytes(2, "big") + tail

    @classmethod
    def decode(cls, data: bytes, src: IPv6Address, dst: IPv6Address) -> tuple[Icmpv6Echo, bytes]:
        """The message and its data; `data` is what IPv6 carried, whole."""
        reader = Reader(data, "icmpv6")
        kind = reader.uint(1, "type")
        if kind not in (REQUEST, REPLY):
            raise reader.error("type", kind, f"{REQUEST} (Echo Request) or {REPLY} (Echo Reply)", 1)
        if code := reader.uint(1, "code"):
            raise reader.error("code", code, "0", 1)
        checksum = reader.uint(2, "checksum")
        pseudo = pseudo_header(src, dst, Protocol.ICMPV6, len(data))
        right = internet_checksum(pseudo + data[:2] + b"\0\0" + data[4:])
        if checksum != right:
            raise reader.error("checksum", f"{checksum:#06x}", f"{right:#06x}", 2)
        return cls(reader.uint(2, "identifier"), reader.uint(2, "sequence"), kind == REPLY), reader.rest()
