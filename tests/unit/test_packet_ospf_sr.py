"""RFC 8665's sub-TLVs and the locator's in RFC 7684's TLVs: octets laid out by hand from the figures, then round trips.

tests/lab/test_ospf_api.py has what FRR's ospfd itself originates decoded.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import PacketError
from testbed.packet.ospf_bier import decode_prefixes
from testbed.packet.ospf_extended import INTER_AREA
from testbed.packet.ospf_sr import (
    AdjSid,
    PrefixSid,
    SrLink,
    SrPrefix,
    decode_sr_links,
    decode_sr_prefixes,
    encode_sr_links,
    encode_sr_prefixes,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too

# Node-SID with index 7, locator fc00:0:7::/48.
PREFIX_OCTETS = bytes.fromhex(
    "0001 002c 01200040 0aff0007"
    "0002 0008 00 00 00 00 00000007"
    "8000 0014 30 000000 fc000000 00070000 00000000 00000000"
)
PREFIX = SrPrefix(IPv4Network("10.255.0.7/32"), (PrefixSid(7),), (IPv6Network("fc00:0:7::/48"),))
# The link from 10.0.0.1 to router 10.255.0.2, label 15001.
LINK_OCTETS = bytes.fromhex("0001 0018 01 000000 0aff0002 0a000001 0002 0007 60 00 00 00 003a99 00")
LINK = SrLink(IPv4Address("10.255.0.2"), IPv4Address("10.0.0.1"), (AdjSid(15001),))

U8 = st.integers(0, 255)
LABELS = st.tuples(st.integers(0, 2**20 - 1), st.just(True))
INDICES = st.tuples(st.integers(0, 2**32 - 1), st.just(False))
PREFIX_SIDS = st.builds(
    lambda sid, *rest: PrefixSid(*sid, *rest), LABELS | INDICES, U8.map(lambda flags: flags & 0x73), U8, U8
)
ADJ_SIDS = st.builds(
    lambda sid, *rest: AdjSid(*sid, *rest), LABELS | INDICES, U8.map(lambda flags: flags & 0x98), U8, U8
)
NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
LOCATORS = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
PREFIXES = st.builds(
    SrPrefix, NETWORKS, st.lists(PREFIX_SIDS, max_size=3).map(tuple), st.lists(LOCATORS, max_size=2).map(tuple), U8, U8
)
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
LINKS = st.builds(SrLink, ADDRESSES, ADDRESSES, st.lists(ADJ_SIDS, max_size=3).map(tuple), U8)


def test_golden_octets() -> None:
    assert encode_sr_prefixes([PREFIX]) == PREFIX_OCTETS
    assert decode_sr_prefixes(PREFIX_OCTETS) == (PREFIX,)
    assert encode_sr_links([LINK]) == LINK_OCTETS
    assert decode_sr_links(LINK_OCTETS) == (LINK,)


def test_each_field_in_its_place() -> None:
    assert PrefixSid(0x12345, True, 0x73, 2, 3).encode() == bytes.fromhex("0002 0007 7f 00 02 03 012345 00")
    assert PrefixSid(0x12345678, False, 0x40, 2, 3).encode() == bytes.fromhex("0002 0008 40 00 02 03 12345678")
    assert AdjSid(0x12345, True, 0x98, 2, 3).encode() == bytes.fromhex("0002 0007 f8 00 02 03 012345 00")
    assert AdjSid(0x12345678, False, 0x80, 2, 3).encode() == bytes.fromhex("0002 0008 80 00 02 03 12345678")
    prefix = SrPrefix(IPv4Network("192.0.2.0/24"), route_type=INTER_AREA, flags=0x80)
    assert prefix.encode() == bytes.fromhex("0001 0008 03 18 00 80 c0000200")


def test_reserved_bits_and_foreign_tlvs_are_ignored() -> None:
    octets = bytes.fromhex(
        "0002 0003 aabbcc 00"  # another TLV, padded
        "0001 0034 01200040 0aff0007"
        "0009 0001 ff 000000"  # another sub-TLV of the prefix
        "0002 0008 80 ff 00 00 00000007"  # the first flag, Reserved set
        "8000 0014 30 ffffff fc000000 00070000 00000000 00000000"
    )
    assert decode_sr_prefixes(octets) == (PREFIX,)
    octets = bytes.fromhex(
        "0001 0020 01 ffffff 0aff0002 0a000001"
        "0003 0001 ff 000000"  # a LAN Adj-SID's type
        "0002 0007 67 ff 00 00 f03a99 00"  # flags and the 4 bits left of the label
    )
    assert decode_sr_links(octets) == (LINK,)


@pytest.mark.parametrize("flags", ["08", "04"])
def test_a_prefix_sid_with_v_or_l_alone_is_ignored(flags: str) -> None:
    """RFC 8665 section 5: all other combinations are invalid, and what has them MUST be ignored."""
    octets = bytes.fromhex(f"0001 0014 01200040 0aff0007 0002 0008 {flags} 00 00 00 00000007")
    assert decode_sr_prefixes(octets) == (SrPrefix(IPv4Network("10.255.0.7/32")),)


@pytest.mark.parametrize("flags", ["40", "20"])
def test_an_adj_sid_with_v_or_l_alone_is_ignored(flags: str) -> None:
    octets = bytes.fromhex(f"0001 0018 01 000000 0aff0002 0a000001 0002 0007 {flags} 00 00 00 003a99 00")
    assert decode_sr_links(octets) == (SrLink(LINK.id, LINK.data),)


def test_bier_and_segment_routing_share_a_prefix() -> None:
    """Each codec reads its own sub-TLVs of one Extended Prefix TLV."""
    assert [each.prefix for each in decode_prefixes(PREFIX_OCTETS)] == [PREFIX.prefix]


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        (PREFIX_OCTETS[:-1], "ospf.tlv.value", 4),
        (bytes.fromhex("0001 0014 01200040 0aff0007 0002 0007 00000000 000007 00"), "ospf.prefix_sid.length", 16),
        (bytes.fromhex("0001 0014 01200040 0aff0007 0002 0008 0c000000 00000007"), "ospf.prefix_sid.length", 16),
        (bytes.fromhex("0001 0010 01200040 0aff0007 0002 0002 0000 0000"), "ospf.prefix_sid.mt_id", 18),
        (bytes.fromhex("0001 0010 01200040 0aff0007 8000 0004 30000000"), "ospf.srv6_locator.locator", 20),
        (
            bytes.fromhex("0001 0020 01200040 0aff0007 8000 0014 81 000000") + bytes(16),
            "ospf.srv6_locator.length",
            16,
        ),
        (
            bytes.fromhex("0001 0020 01200040 0aff0007 8000 0014 00 000000 00000001") + bytes(12),
            "ospf.srv6_locator.locator",
            20,
        ),
        (
            bytes.fromhex("0001 0024 01200040 0aff0007 8000 0018 00 000000") + bytes(20),
            "ospf.srv6_locator.length",
            36,
        ),
    ],
)
def test_malformed_prefixes(octets: bytes, field: str, offset: int) -> None:
    with pytest.raises(PacketError) as caught:
        decode_sr_prefixes(octets)
    assert (caught.value.field, caught.value.offset) == (field, offset)


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        (LINK_OCTETS[:-1], "ospf.tlv.value", 4),
        (bytes.fromhex("0001 0008 01 000000 0aff0002"), "ospf.link.data", 12),
        (
            bytes.fromhex("0001 0018 01 000000 0aff0002 0a000001 0002 0008 60000000 00003a99"),
            "ospf.adj_sid.length",
            20,
        ),
    ],
)
def test_malformed_links(octets: bytes, field: str, offset: int) -> None:
    with pytest.raises(PacketError) as caught:
        decode_sr_links(octets)
    assert (caught.value.field, caught.value.offset) == (field, offset)


def test_what_cannot_be_built() -> None:
    with pytest.raises(PacketError, match=r"ospf.prefix_sid.sid: found 4294967296"):
        PrefixSid(1 << 32)
    with pytest.raises(PacketError, match=r"ospf.adj_sid.sid: found 1048576"):
        AdjSid(1 << 20)
    with pytest.raises(PacketError, match=r"ospf.prefix_sid.flags: found 0x08"):
        PrefixSid(1, flags=0x08)
    with pytest.raises(PacketError, match=r"ospf.adj_sid.flags: found 0x20"):
        AdjSid(1, flags=0x20)
    with pytest.raises(PacketError, match=r"ospf.link.type"):
        SrLink(LINK.id, LINK.data, type=256)


@PATIENT
@given(st.lists(PREFIXES, max_size=4))
def test_prefixes_round_trip(prefixes: list[SrPrefix]) -> None:
    assert decode_sr_prefixes(encode_sr_prefixes(prefixes)) == tuple(prefixes)


@PATIENT
@given(st.lists(LINKS, max_size=4))
def test_links_round_trip(links: list[SrLink]) -> None:
    assert decode_sr_links(encode_sr_links(links)) == tuple(links)
