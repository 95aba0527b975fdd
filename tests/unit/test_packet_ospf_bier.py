"""RFC 8444's sub-TLVs in RFC 7684's TLV: octets laid out by hand from the figures, then round trips."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import PacketError
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation, decode_prefixes, encode_prefixes
from testbed.packet.ospf_extended import INTER_AREA, N_FLAG

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
# BFR-id 7 in sub-domain 0, label 5000 for SI 0 under BSL 256.
BIER_OCTETS = bytes.fromhex("0009 0014 00000007 00000000 000a 0008 00001388 30000000")
OCTETS = bytes.fromhex("0001 0020 01200040 0aff0007") + BIER_OCTETS
BIER = BierSubTlv(sub_domain=0, bfr_id=7, encapsulations=(MplsEncapsulation(label=5000, bsl=256, max_si=0),))
PREFIX = ExtendedPrefix(IPv4Network("10.255.0.7/32"), (BIER,))

U8 = st.integers(0, 255)
ENCAPSULATIONS = st.builds(
    MplsEncapsulation,
    label=st.integers(0, 2**20 - 1),
    bsl=st.integers(5, 20).map(lambda exponent: 1 << exponent),
    max_si=U8,
)
SUB_TLVS = st.builds(BierSubTlv, U8, st.integers(0, 65535), U8, U8, U8, st.lists(ENCAPSULATIONS, max_size=4).map(tuple))
NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
PREFIXES = st.builds(ExtendedPrefix, NETWORKS, st.lists(SUB_TLVS, max_size=3).map(tuple), U8, U8)


def test_golden_octets() -> None:
    assert BIER.encode() == BIER_OCTETS
    assert encode_prefixes([PREFIX]) == OCTETS
    assert decode_prefixes(OCTETS) == (PREFIX,)


def test_each_field_in_its_place() -> None:
    bier = BierSubTlv(
        sub_domain=1,
        mt_id=2,
        bfr_id=0x0304,
        bar=5,
        ipa=6,
        encapsulations=(MplsEncapsulation(label=0x12345, bsl=4096, max_si=255), MplsEncapsulation(label=1, bsl=64)),
    )
    assert bier.encode() == bytes.fromhex(
        "0009 0020  01 02 0304  05 06 0000  000a 0008 ff012345 70000000  000a 0008 00000001 10000000"
    )
    prefix = ExtendedPrefix(IPv4Network("192.0.2.0/24"), route_type=INTER_AREA, flags=0x80)
    assert prefix.encode() == bytes.fromhex("0001 0008 03 18 00 80 c0000200")


def test_reserved_bits_and_foreign_tlvs_are_ignored() -> None:
    octets = bytes.fromhex(
        "0002 0003 aabbcc 00"  # another TLV, padded
        "0001 0034 01200040 0aff0007"
        "0002 0001 ff 000000"  # another sub-TLV of the prefix
        "0009 0020 00000007 0000 ffff"  # Reserved set
        "000a 0008 00f01388 3fffffff"  # the 4 bits left of the label, Reserved set
        "00ff 0006 010203040506 0000"  # another sub-TLV of BIER
    )
    assert decode_prefixes(octets) == (PREFIX,)


def test_several_prefixes_in_one_lsa() -> None:
    other = ExtendedPrefix(IPv4Network("10.255.0.8/32"), flags=N_FLAG)
    assert decode_prefixes(encode_prefixes([PREFIX, other])) == (PREFIX, other)
    assert decode_prefixes(b"") == ()


def test_what_the_rfc_has_ignored_is_still_decoded() -> None:
    """A BitString length that RFC 8296 lacks, and labels that end beyond 20 bits: judged later, and only these."""
    octets = bytes.fromhex("0001 0020 01200040 0aff0007 0009 0014 00000007 00000000 000a 0008 02fffffe 80000000")
    (prefix,) = decode_prefixes(octets)
    (encapsulation,) = prefix.bier[0].encapsulations
    assert encapsulation == MplsEncapsulation(label=0xFFFFE, bsl=8192, max_si=2)
    assert encode_prefixes([prefix])[-8:-4] == bytes.fromhex("020ffffe")


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        (OCTETS[:-1], "ospf.tlv.value", 4),
        (OCTETS + b"\0", "ospf.tlv.type", 36),
        (bytes.fromhex("0001 0003 012000"), "ospf.tlv.padding", 7),
        (bytes.fromhex("0001 0004 01200040"), "ospf.prefix.address", 8),
        (bytes.fromhex("0001 0008 01210040 0aff0007"), "ospf.prefix.length", 5),
        (bytes.fromhex("0001 0008 01200140 0aff0007"), "ospf.prefix.af", 6),
        (bytes.fromhex("0001 0008 01180040 0aff0007"), "ospf.prefix.address", 8),
        (bytes.fromhex("0001 000a 01200040 0aff0007 0009 0000"), "ospf.tlv.length", 14),
        (bytes.fromhex("0001 000c 01200040 0aff0007 0009 0001"), "ospf.tlv.value", 16),
        (bytes.fromhex("0001 0010 01200040 0aff0007 0009 0004 00000007"), "ospf.bier.bar", 20),
        (
            bytes.fromhex("0001 001c 01200040 0aff0007 0009 0010 00000007 00000000 000a 0004 00001388"),
            "ospf.bier_mpls.length",
            28,
        ),
    ],
)
def test_what_is_malformed(octets: bytes, field: str, offset: int) -> None:
    with pytest.raises(PacketError) as caught:
        decode_prefixes(octets)
    assert (caught.value.field, caught.value.offset) == (field, offset)


def test_what_cannot_be_built() -> None:
    with pytest.raises(PacketError, match=r"ospf.bier_mpls.bs_len: found 100"):
        MplsEncapsulation(label=1, bsl=100)
    with pytest.raises(PacketError, match=r"ospf.bier_mpls.bs_len: found 16"):
        MplsEncapsulation(label=1, bsl=16)
    with pytest.raises(PacketError, match=r"ospf.bier_mpls.label"):
        MplsEncapsulation(label=1 << 20)
    with pytest.raises(PacketError, match=r"ospf.bier.bfr_id: found 65536"):
        BierSubTlv(0, 65536)
    with pytest.raises(PacketError, match=r"tlv.length: found 65540"):
        BierSubTlv(0, 1, encapsulations=(MplsEncapsulation(label=1),) * 5461).encode()


@PATIENT
@given(st.lists(PREFIXES, max_size=4))
def test_round_trip(prefixes: list[ExtendedPrefix]) -> None:
    assert decode_prefixes(encode_prefixes(prefixes)) == tuple(prefixes)
