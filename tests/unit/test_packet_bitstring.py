"""BitStrings against RFC 8279 section 3 and RFC 8296's examples of how many Set Identifiers it takes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import BitString, PacketError, split
from testbed.packet.bitstring import LENGTHS, locate

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
BSLS = st.sampled_from(LENGTHS)
BITSTRINGS = BSLS.flatmap(lambda bsl: st.builds(BitString, st.integers(0, 2**bsl - 1), st.just(bsl)))
PAIRS = BSLS.flatmap(lambda bsl: st.tuples(*[st.frozensets(st.integers(1, bsl), max_size=20)] * 2, st.just(bsl)))


def test_the_rfcs_example_takes_two_packets() -> None:
    assert split({27, 235, 497}, 256) == {0: BitString.of({27, 235}, 256), 1: BitString.of({241}, 256)}


def test_set_identifiers_of_the_label_examples() -> None:
    """RFC 8296 section 2.1.1.1: 2 labels for 512 BFERs under BSL 256; 4 + 2 a sub-domain for 1024 and both BSLs."""
    assert list(split(range(1, 513), 256)) == [0, 1]
    assert [len(split(range(1, 1025), bsl)) for bsl in (256, 512)] == [4, 2]


@pytest.mark.parametrize(
    ("bfr_id", "bsl", "place"),
    [(1, 64, (0, 1)), (64, 64, (0, 64)), (65, 64, (1, 1)), (16384, 64, (255, 64)), (65535, 256, (255, 255))],
)
def test_the_ends_of_the_ranges(bfr_id: int, bsl: int, place: tuple[int, int]) -> None:
    assert locate(bfr_id, bsl) == place


@pytest.mark.parametrize(("bfr_id", "bsl"), [(0, 256), (-1, 256), (65536, 4096), (16385, 64), (1, 100)])
def test_what_has_no_place(bfr_id: int, bsl: int) -> None:
    with pytest.raises(PacketError):
        locate(bfr_id, bsl)


def test_bit_1_is_the_last_one_on_the_wire() -> None:
    assert bytes(BitString.of({1}, 64)) == bytes.fromhex("0000000000000001")
    assert BitString.of({64, 9, 8}, 64).hex() == "8000000000000180"


@PATIENT
@given(st.sets(st.integers(1, 65535), max_size=50), st.sampled_from([256, 512, 1024, 2048, 4096]))
def test_splitting_loses_and_invents_nobody(bfr_ids: set[int], bsl: int) -> None:
    parts = split(bfr_ids, bsl)
    assert all(parts.values()), "no empty BitString is sent"
    assert list(parts) == sorted(parts)
    found = [bfr_id for si, bits in parts.items() for bfr_id in bits.bfr_ids(si)]
    assert sorted(found) == sorted(bfr_ids)


@PATIENT
@given(BITSTRINGS)
def test_octets_and_positions_both_say_it_all(bits: BitString) -> None:
    assert BitString.from_bytes(bytes(bits)) == bits
    assert BitString.of(bits, bits.length) == bits
    assert list(bits) == sorted(bits)
    assert bits.bit_count() == len(list(bits))
    assert bool(bits) == (bits.bit_count() > 0)


@PATIENT
@given(PAIRS)
def test_it_is_a_set(pair: tuple[frozenset[int], frozenset[int], int]) -> None:
    a, b, bsl = pair
    x, y = BitString.of(a, bsl), BitString.of(b, bsl)
    assert set(x & y) == a & b
    assert set(x | y) == a | b
    assert set(x - y) == a - b
    assert all((position in x) == (position in a) for position in range(-1, bsl + 2))


def test_what_it_refuses() -> None:
    with pytest.raises(PacketError, match=r"bitstring.position: found 65, expected 1 to 64"):
        BitString.of({65}, 64)
    with pytest.raises(PacketError, match=r"bitstring.position"):
        BitString.of({0}, 64)
    with pytest.raises(PacketError, match=r"bitstring.length: found 96, expected one of 64, 128"):
        BitString.from_bytes(bytes(12))
    with pytest.raises(PacketError, match=r"bitstring.value"):
        BitString(1 << 64, 64)
    with pytest.raises(PacketError, match=r"bitstring.length: found 128, expected 64"):
        BitString(0, 64) | BitString(0, 128)
    with pytest.raises(PacketError, match=r"bitstring.bfr_id: found 65536"):
        BitString.of({256}, 256).bfr_ids(255)


def test_it_reads_as_what_it_is() -> None:
    assert str(BitString.of({27, 1, 235})) == "{1,27,235}/256"
