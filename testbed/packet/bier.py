"""The BIER header in MPLS and in non-MPLS networks (RFC 8296 section 2).

word 0   BIFT-id (20)  TC (3)  S (1)  TTL (8)         in MPLS networks: the last label stack entry
word 1   Nibble (4)  Ver (4)  BSL (4)  Entropy (20)
word 2   OAM (2)  Rsv (2)  DSCP (6)  Proto (6)  BFIR-id (16)
then     BitString, most significant octet first
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum

from testbed.packet.bitstring import LENGTHS, BitString, check_length
from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

MPLS_NIBBLE = 0b0101  # so that no ECMP logic takes the header for IPv4 or IPv6
FIXED_SIZE = 12  # octets before the BitString


class Encapsulation(Enum):
    """The two of RFC 8296; the octets do not say which one they are."""

    MPLS = "2.1"
    NON_MPLS = "2.2"


class Proto(IntEnum):
    """BIER Next Protocol Identifiers (RFC 8296 section 4)."""

    MPLS_DOWNSTREAM = 1
    MPLS_UPSTREAM = 2
    ETHERNET = 3
    IPV4 = 4
    OAM = 5
    IPV6 = 6


def bsl_code(length: int) -> int:
    """The BSL field for a BitString of `length` bits: log2(length) - 5."""
    check_length("bier.bsl", length)
    return length.bit_length() - 6


def bsl_length(code: int) -> int:
    """The length in bits that a BSL field stands for."""
    if not 1 <= code <= len(LENGTHS):
        raise PacketError("bier.bsl", code, f"1 (64 bits) to {len(LENGTHS)} (4096 bits)")
    return 1 << (code + 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bier:
    """One header. Any value that fits its field can be built, so that tests can send what receivers must discard.

    The defaults are those of MPLS networks; in others `nibble` SHOULD be 0. `bits` holds the length of its BitString,
    from which the BSL field is made. `entropy`: packets with the same entropy and BitString take the same path.
    """

    bift_id: int
    bits: BitString
    proto: int
    bfir_id: int
    ttl: int = 64
    entropy: int = 0
    tc: int = 0
    s: int = 1
    nibble: int = MPLS_NIBBLE
    ver: int = 0
    oam: int = 0
    rsv: int = 0
    dscp: int = 0

    def __post_init__(self) -> None:
        unsigned("bier.bift_id", self.bift_id, 20)
        unsigned("bier.tc", self.tc, 3)
        unsigned("bier.s", self.s, 1)
        unsigned("bier.ttl", self.ttl, 8)
        unsigned("bier.nibble", self.nibble, 4)
        unsigned("bier.ver", self.ver, 4)
        unsigned("bier.entropy", self.entropy, 20)
        unsigned("bier.oam", self.oam, 2)
        unsigned("bier.rsv", self.rsv, 2)
        unsigned("bier.dscp", self.dscp, 6)
        unsigned("bier.proto", self.proto, 6)
        unsigned("bier.bfir_id", self.bfir_id, 16, least=1)

    def encode(self, payload: bytes = b"") -> bytes:
        bsl = bsl_code(self.bits.length)
        head = struct.pack(
            "!III",
            self.bift_id << 12 | self.tc << 9 | self.s << 8 | self.ttl,
            self.nibble << 28 | self.ver << 24 | bsl << 20 | self.entropy,
            self.oam << 30 | self.rsv << 28 | self.dscp << 22 | self.proto << 16 | self.bfir_id,
        )
        return head + bytes(self.bits) + payload

    @classmethod
    def decode(cls, data: bytes, bsl: int, encapsulation: Encapsulation = Encapsulation.MPLS) -> tuple[Bier, bytes]:
        """The header and its payload, as a BFR reads them: the BIFT-id told it that the BitString has `bsl` bits.

        Refused is what RFC 8296 section 2.1.2 has a BFR discard: another version, another length in the BSL field,
        in MPLS networks another nibble than 5 or a clear S bit. Fields to be ignored are kept as they came.
        """
        reader = Reader(data, "bier")
        word = reader.uint(4, "bift_id")
        bift_id, tc, s, ttl = word >> 12, word >> 9 & 7, word >> 8 & 1, word & 0xFF
        mpls = encapsulation is Encapsulation.MPLS
        if mpls and not s:
            raise reader.error("s", s, "1, the bottom of the label stack", 4)
        word = reader.uint(4, "nibble")
        nibble, ver, code, entropy = word >> 28, word >> 24 & 0xF, word >> 20 & 0xF, word & 0xFFFFF
        if mpls and nibble != MPLS_NIBBLE:
            raise reader.error("nibble", nibble, f"{MPLS_NIBBLE}", 4)
        if ver:
            raise reader.error("ver", ver, "0", 4)
        if code != bsl_code(bsl):
            raise reader.error("bsl", code, f"{bsl_code(bsl)}, {bsl} bits being what the BIFT-id stands for", 4)
        word = reader.uint(4, "proto")
        bfir_id = word & 0xFFFF
        if not bfir_id:
            raise reader.error("bfir_id", bfir_id, "1 to 65535", 4)
        header = cls(
            bift_id=bift_id,
            bits=BitString.from_bytes(reader.take(bsl // 8, "bitstring")),
            proto=word >> 16 & 0x3F,
            bfir_id=bfir_id,
            ttl=ttl,
            entropy=entropy,
            tc=tc,
            s=s,
            nibble=nibble,
            ver=ver,
            oam=word >> 30,
            rsv=word >> 28 & 3,
            dscp=word >> 22 & 0x3F,
        )
        return header, reader.rest()

    @classmethod
    def dissect(cls, data: bytes, encapsulation: Encapsulation = Encapsulation.MPLS) -> tuple[Bier, bytes]:
        """As `decode`, for offline tools: the length is taken from the BSL field, which a BFR MUST NOT do."""
        reader = Reader(data, "bier")
        reader.take(4, "bift_id")
        code = reader.uint(4, "nibble") >> 20 & 0xF
        try:
            bsl = bsl_length(code)
        except PacketError as problem:
            raise reader.error("bsl", code, problem.expected, 4) from None
        return cls.decode(data, bsl, encapsulation)
