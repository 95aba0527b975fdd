"""What OSPFv2 says about BIER: RFC 8444's sub-TLVs inside RFC 7684's Extended Prefix TLV.

    Extended Prefix TLV (1)                  the BFR-prefix
    └── BIER Sub-TLV (9)                     one a sub-domain: BFR-id, topology, algorithms
        └── BIER MPLS Encapsulation (10)     one a BitString length: the labels of its Set Identifiers

What is well-formed is decoded, also when the RFC has it ignored: `ospf_bier_accept` says what counts. TLVs of other
types are skipped, reserved bits are sent as 0 and ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from testbed.packet.bitstring import DEFAULT_LENGTH
from testbed.packet.error import PacketError
from testbed.packet.ospf_extended import INTRA_AREA, N_FLAG, decode_extended_prefixes, encode_extended_prefix
from testbed.packet.ospf_tlv import decode_tlvs, encode_tlv
from testbed.packet.wire import Reader, unsigned

BIER, BIER_MPLS_ENCAPSULATION = 9, 10  # sub-TLV types


@dataclass(frozen=True, slots=True)
class MplsEncapsulation:
    """BIER MPLS Encapsulation Sub-TLV (RFC 8444 section 2.2): labels `label` to `label + max_si`, one for each SI.

    `bsl` is in bits. The 4-bit field has room for 16 powers of two from 32 on, of which RFC 8296 allows seven.
    """

    label: int
    bsl: int = DEFAULT_LENGTH
    max_si: int = 0

    def __post_init__(self) -> None:
        unsigned("ospf.bier_mpls.label", self.label, 20)
        unsigned("ospf.bier_mpls.max_si", self.max_si, 8)
        if self.bsl.bit_count() != 1 or not 0 <= self.bsl.bit_length() - 6 <= 15:
            raise PacketError("ospf.bier_mpls.bs_len", self.bsl, "a power of two, 32 to 1048576")

    @property
    def labels(self) -> range:
        return range(self.label, self.label + self.max_si + 1)

    def encode(self) -> bytes:
        bs_len = self.bsl.bit_length() - 6
        return encode_tlv(BIER_MPLS_ENCAPSULATION, struct.pack("!II", self.max_si << 24 | self.label, bs_len << 28))

    @classmethod
    def _from(cls, reader: Reader) -> MplsEncapsulation:
        if reader.left != 8:
            raise reader.error("bier_mpls.length", reader.left, "8", 0)
        word = reader.uint(4, "bier_mpls.label")
        bs_len = reader.uint(4, "bier_mpls.bs_len") >> 28
        return cls(label=word & 0xFFFFF, bsl=1 << (bs_len + 5), max_si=word >> 24)


@dataclass(frozen=True, slots=True)
class BierSubTlv:
    """RFC 8444 section 2.1. `bfr_id` is 0 where the router has none."""

    sub_domain: int
    bfr_id: int
    mt_id: int = 0
    bar: int = 0
    ipa: int = 0
    encapsulations: tuple[MplsEncapsulation, ...] = ()

    def __post_init__(self) -> None:
        unsigned("ospf.bier.sub_domain", self.sub_domain, 8)
        unsigned("ospf.bier.bfr_id", self.bfr_id, 16)
        unsigned("ospf.bier.mt_id", self.mt_id, 8)
        unsigned("ospf.bier.bar", self.bar, 8)
        unsigned("ospf.bier.ipa", self.ipa, 8)

    def encode(self) -> bytes:
        head = struct.pack("!BBHBBH", self.sub_domain, self.mt_id, self.bfr_id, self.bar, self.ipa, 0)
        return encode_tlv(BIER, head + b"".join(each.encode() for each in self.encapsulations))

    @classmethod
    def _from(cls, reader: Reader) -> BierSubTlv:
        sub_domain, mt_id = reader.uint(1, "bier.sub_domain"), reader.uint(1, "bier.mt_id")
        bfr_id = reader.uint(2, "bier.bfr_id")
        bar, ipa = reader.uint(1, "bier.bar"), reader.uint(1, "bier.ipa")
        reader.take(2, "bier.reserved")
        encapsulations = tuple(
            MplsEncapsulation._from(value) for kind, value in decode_tlvs(reader) if kind == BIER_MPLS_ENCAPSULATION
        )
        return cls(sub_domain, bfr_id, mt_id, bar, ipa, encapsulations)


@dataclass(frozen=True, slots=True)
class ExtendedPrefix:
    """OSPFv2 Extended Prefix TLV (RFC 7684 section 2.1) with what it says about BIER."""

    prefix: IPv4Network
    bier: tuple[BierSubTlv, ...] = ()
    route_type: int = INTRA_AREA
    flags: int = N_FLAG

    def __post_init__(self) -> None:
        unsigned("ospf.prefix.route_type", self.route_type, 8)
        unsigned("ospf.prefix.flags", self.flags, 8)

    def encode(self) -> bytes:
        sub_tlvs = b"".join(each.encode() for each in self.bier)
        return encode_extended_prefix(self.prefix, self.route_type, self.flags, sub_tlvs)


def encode_prefixes(prefixes: Iterable[ExtendedPrefix]) -> bytes:
    """The body of an Extended Prefix Opaque LSA: all that follows the LSA header."""
    return b"".join(prefix.encode() for prefix in prefixes)


def decode_prefixes(data: bytes) -> tuple[ExtendedPrefix, ...]:
    """The body of an Extended Prefix Opaque LSA. Raises PacketError if anything in it is malformed."""
    return tuple(
        ExtendedPrefix(
            prefix, tuple(BierSubTlv._from(value) for kind, value in decode_tlvs(rest) if kind == BIER), *said
        )
        for prefix, *said, rest in decode_extended_prefixes(data)
    )
