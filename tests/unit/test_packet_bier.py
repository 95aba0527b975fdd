"""The BIER header: octets that Wireshark reads the same way, RFC 8296's rules, round trips."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import Bier, BitString, Encapsulation, PacketError, Proto
from testbed.packet.bier import bsl_code, bsl_length
from testbed.packet.bitstring import LENGTHS

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
MPLS, NON_MPLS = Encapsulation.MPLS, Encapsulation.NON_MPLS

HEADER = Bier(bift_id=100, bits=BitString.of({1, 27, 235}, 256), proto=Proto.IPV4, bfir_id=7, entropy=0x12345, ttl=64)
# tshark 4.4.18 dissects these octets as label 100, S 1, TTL 64, nibble 5, BSL 256, entropy 0x12345, IPv4, BFIR-id 7.
GOLDEN = bytes.fromhex(
    "00064140 50312345 00040007 00000400 00000000 00000000 00000000 00000000 00000000 00000000 04000001"
)

MPLS_HEADERS = st.builds(
    Bier,
    bift_id=st.integers(0, 2**20 - 1),
    bits=st.sampled_from(LENGTHS).flatmap(lambda bsl: st.builds(BitString, st.integers(0, 2**bsl - 1), st.just(bsl))),
    proto=st.integers(0, 63),
    bfir_id=st.integers(1, 65535),
    ttl=st.integers(0, 255),
    entropy=st.integers(0, 2**20 - 1),
    tc=st.integers(0, 7),
    oam=st.integers(0, 3),
    rsv=st.integers(0, 3),
    dscp=st.integers(0, 63),
)
NON_MPLS_HEADERS = st.builds(
    lambda header, s, nibble: replace(header, s=s, nibble=nibble), MPLS_HEADERS, st.integers(0, 1), st.integers(0, 15)
)


def patched(offset: int, octet: int) -> bytes:
    return GOLDEN[:offset] + bytes((octet,)) + GOLDEN[offset + 1 :]


def test_golden_octets() -> None:
    assert HEADER.encode() == GOLDEN
    assert HEADER.encode(b"payload") == GOLDEN + b"payload"
    assert Bier.decode(GOLDEN + b"payload", bsl=256) == (HEADER, b"payload")
    assert Bier.dissect(GOLDEN + b"payload") == (HEADER, b"payload")


def test_every_field_has_its_bits() -> None:
    """One field filled at a time: the octets that change are the RFC's figure."""
    empty = {"bits": BitString(0, 64), "bift_id": 0, "proto": 0, "bfir_id": 1, "ttl": 0, "s": 0, "nibble": 0}
    base = int.from_bytes(Bier(**empty).encode(), "big")  # type: ignore[arg-type]
    assert base == 0x00000000_00100000_00000001 << 64
    for field, width, shift in (
        ("bift_id", 20, 76 + 64),
        ("tc", 3, 73 + 64),
        ("s", 1, 72 + 64),
        ("ttl", 8, 64 + 64),
        ("nibble", 4, 60 + 64),
        ("ver", 4, 56 + 64),
        ("entropy", 20, 32 + 64),
        ("oam", 2, 30 + 64),
        ("rsv", 2, 28 + 64),
        ("dscp", 6, 22 + 64),
        ("proto", 6, 16 + 64),
    ):
        full = (1 << width) - 1
        filled = Bier(**{**empty, field: full})  # type: ignore[arg-type]
        assert int.from_bytes(filled.encode(), "big") ^ base == full << shift, field
        with pytest.raises(PacketError, match=f"bier.{field}: found {full + 1}"):
            Bier(**{**empty, field: full + 1})  # type: ignore[arg-type]


def test_codes_of_the_lengths() -> None:
    assert {bsl_code(length): length for length in LENGTHS} == {
        1: 64, 2: 128, 3: 256, 4: 512, 5: 1024, 6: 2048, 7: 4096
    }  # fmt: skip
    assert [bsl_length(code) for code in range(1, 8)] == list(LENGTHS)
    for code in (0, 8, 15):
        with pytest.raises(PacketError, match=r"bier.bsl"):
            bsl_length(code)


@pytest.mark.parametrize(
    ("data", "field", "offset"),
    [
        (patched(2, 0x40), "bier.s", 0),
        (patched(4, 0x40), "bier.nibble", 4),
        (patched(4, 0x51), "bier.ver", 4),
        (patched(5, 0x21), "bier.bsl", 4),
        (patched(5, 0x01), "bier.bsl", 4),
        (GOLDEN[:10] + b"\0\0" + GOLDEN[12:], "bier.bfir_id", 8),
        (GOLDEN[:-1], "bier.bitstring", 12),
        (GOLDEN[:11], "bier.proto", 8),
        (b"", "bier.bift_id", 0),
    ],
)
def test_what_a_bfr_discards(data: bytes, field: str, offset: int) -> None:
    with pytest.raises(PacketError) as caught:
        Bier.decode(data, bsl=256)
    assert (caught.value.field, caught.value.offset) == (field, offset)


def test_the_length_comes_from_the_bift_id_not_from_the_header() -> None:
    with pytest.raises(PacketError, match=r"bier.bsl at octet 4: found 3, expected 1, 64 bits being what the BIFT-id"):
        Bier.decode(GOLDEN, bsl=64)
    with pytest.raises(PacketError, match=r"bier.bsl: found 100"):
        Bier.decode(GOLDEN, bsl=100)


def test_an_offline_tool_takes_the_field() -> None:
    short = replace(HEADER, bits=BitString.of({3}, 64))
    assert Bier.dissect(short.encode(b"x")) == (short, b"x")
    with pytest.raises(PacketError, match=r"bier.bsl at octet 4: found 8, expected 1 \(64 bits\) to 7"):
        Bier.dissect(patched(5, 0x81))


def test_without_mpls_nibble_tc_and_s_are_ignored() -> None:
    odd = replace(HEADER, nibble=0, s=0, tc=7)
    assert Bier.decode(odd.encode(), 256, NON_MPLS) == (odd, b"")
    assert Bier.dissect(odd.encode(), NON_MPLS) == (odd, b"")
    with pytest.raises(PacketError, match=r"bier.s "):
        Bier.decode(odd.encode(), 256)


@PATIENT
@given(MPLS_HEADERS, st.binary(max_size=64))
def test_round_trip_with_mpls(header: Bier, payload: bytes) -> None:
    octets = header.encode(payload)
    assert len(octets) == 12 + header.bits.length // 8 + len(payload)
    assert Bier.decode(octets, header.bits.length, MPLS) == (header, payload)


@PATIENT
@given(NON_MPLS_HEADERS, st.binary(max_size=64))
def test_round_trip_without_mpls(header: Bier, payload: bytes) -> None:
    octets = header.encode(payload)
    assert Bier.decode(octets, header.bits.length, NON_MPLS) == (header, payload)
    assert Bier.dissect(octets, NON_MPLS) == (header, payload)
