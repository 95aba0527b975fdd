"""LSAs: octets as FRR 8.4 originated them, the checksum by its definition, then bounds and round trips."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import PacketError
from testbed.packet.ospf_lsa import (
    DO_NOT_AGE,
    INITIAL_SEQUENCE,
    LinkType,
    Lsa,
    LsaKey,
    LsaType,
    NetworkLsa,
    RouterLink,
    RouterLsa,
    fletcher_checksum,
    opaque_lsa_id,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
A = IPv4Address
# 10.255.0.2, between 10.255.0.1 and 10.255.0.3.
ROUTER_LSA = bytes.fromhex(
    "0000 0201 0aff0002 0aff0002 80000005 0b76 0054"
    "0000 0005"
    "0aff0001 0a000002 0100000a"
    "0a000000 fffffffc 0300000a"
    "0aff0003 0a000005 0100000a"
    "0a000004 fffffffc 0300000a"
    "0aff0002 ffffffff 03000000"
)
OPAQUE_LSA = bytes.fromhex(
    "0000 420a c8010203 0aff0002 80000001 91f7 0038"
    "0001002001200040 0aff0007 0009001400000007 00000000 000a000800001388 30000000"
)

ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
U8, U16 = st.integers(0, 255), st.integers(0, 65535)
LSAS = st.builds(
    Lsa, U8, ADDRESSES, ADDRESSES, st.binary(max_size=60), st.integers(-(2**31), 2**31 - 1), age=U16, options=U8
)
ROUTER_LSAS = st.builds(
    RouterLsa, st.lists(st.builds(RouterLink, U8, ADDRESSES, ADDRESSES, U16), max_size=5).map(tuple), U8
)
NETWORK_LSAS = st.builds(NetworkLsa, ADDRESSES, st.lists(ADDRESSES, max_size=5).map(tuple))


def test_a_router_lsa_of_frr() -> None:
    lsa = Lsa.decode(ROUTER_LSA)
    assert lsa.key == LsaKey(LsaType.ROUTER, A("10.255.0.2"), A("10.255.0.2"))
    assert (lsa.age, lsa.options, lsa.sequence) == (0, 2, INITIAL_SEQUENCE + 4)
    assert lsa.encode() == ROUTER_LSA
    links = (
        RouterLink(LinkType.POINT_TO_POINT, A("10.255.0.1"), A("10.0.0.2"), 10),
        RouterLink(LinkType.STUB, A("10.0.0.0"), A("255.255.255.252"), 10),
        RouterLink(LinkType.POINT_TO_POINT, A("10.255.0.3"), A("10.0.0.5"), 10),
        RouterLink(LinkType.STUB, A("10.0.0.4"), A("255.255.255.252"), 10),
        RouterLink(LinkType.STUB, A("10.255.0.2"), A("255.255.255.255"), 0),
    )
    assert RouterLsa.decode(lsa.body) == RouterLsa(links)
    assert RouterLsa(links).encode() == lsa.body


def test_an_opaque_lsa_of_frr() -> None:
    lsa = Lsa.decode(OPAQUE_LSA)
    assert (lsa.type, lsa.opaque_type, lsa.opaque_id) == (LsaType.OPAQUE_AREA, 200, 0x010203)
    assert lsa.id == opaque_lsa_id(200, 0x010203)
    assert lsa.encode() == OPAQUE_LSA
    assert str(lsa.key) == "LSA 10/200.1.2.3/10.255.0.2"


def test_a_transit_link_and_its_network_lsa() -> None:
    """RFC 2328 appendix A.4.2 and A.4.3, laid out by hand; a metric of another TOS is skipped."""
    body = bytes.fromhex("07 00 0002  c0000201 c0000202 02 01 0005 10000063  0a000000 ff000000 03 00 ffff")
    transit = RouterLink(LinkType.TRANSIT, A("192.0.2.1"), A("192.0.2.2"), 5)
    stub = RouterLink(LinkType.STUB, A("10.0.0.0"), A("255.0.0.0"), 65535)
    assert RouterLsa.decode(body) == RouterLsa((transit, stub), flags=7)
    network = NetworkLsa(A("255.255.255.0"), (A("10.255.0.1"), A("10.255.0.2")))
    assert network.encode() == bytes.fromhex("ffffff00 0aff0001 0aff0002")
    assert NetworkLsa.decode(network.encode()) == network


def test_what_a_refresh_leaves_as_it_is() -> None:
    lsa = Lsa.decode(OPAQUE_LSA)
    refreshed = Lsa(*lsa.key, lsa.body, lsa.sequence + 1, age=7, options=lsa.options)
    assert refreshed.same_contents(lsa)
    assert not Lsa(*lsa.key, lsa.body + bytes(4), options=lsa.options).same_contents(lsa)
    assert not Lsa(*lsa.key, lsa.body, options=0).same_contents(lsa)
    flushed = Lsa(*lsa.key, lsa.body, lsa.sequence, age=3600, options=lsa.options)
    assert flushed.is_max_age
    assert not flushed.same_contents(lsa)
    assert not Lsa(*lsa.key, age=3599 | DO_NOT_AGE).is_max_age


def test_age_is_not_in_the_checksum_and_sequence_numbers_are_signed() -> None:
    older = Lsa.decode(b"\x00\x63" + ROUTER_LSA[2:])
    assert older.age == 99
    assert INITIAL_SEQUENCE.to_bytes(4, "big", signed=True) == bytes.fromhex("80000001")
    assert Lsa(1, A(0), A(0), sequence=-1).encode()[12:16] == b"\xff" * 4


@PATIENT
@given(st.binary(min_size=2, max_size=300), st.data())
def test_checksum_makes_both_sums_zero(data: bytes, draw: st.DataObject) -> None:
    """RFC 905 annex B.2: that is how a receiver verifies it. Neither octet of it is ever 0."""
    at = draw.draw(st.integers(0, len(data) - 2))
    checksum = fletcher_checksum(data, at).to_bytes(2, "big")
    c0 = c1 = 0
    for octet in data[:at] + checksum + data[at + 2 :]:
        c0 = (c0 + octet) % 255
        c1 = (c1 + c0) % 255
    assert (c0, c1) == (0, 0)
    assert 0 not in checksum


@PATIENT
@given(LSAS)
def test_round_trip(lsa: Lsa) -> None:
    assert Lsa.decode(lsa.encode()) == lsa


@PATIENT
@given(ROUTER_LSAS, NETWORK_LSAS)
def test_round_trip_of_bodies(router: RouterLsa, network: NetworkLsa) -> None:
    assert RouterLsa.decode(router.encode()) == router
    assert NetworkLsa.decode(network.encode()) == network


@PATIENT
@given(st.binary(max_size=80))
def test_any_octets(data: bytes) -> None:
    for decode in (Lsa.decode, lambda octets: Lsa.decode(octets, verify=False), RouterLsa.decode, NetworkLsa.decode):
        with suppress(PacketError):
            decode(data)


@PATIENT
@given(st.integers(2, len(ROUTER_LSA) - 1), st.integers(1, 254))
def test_a_changed_octet_is_found(place: int, change: int) -> None:
    octets = bytearray(ROUTER_LSA)
    octets[place] = (octets[place] + change) % 255  # modulo 255, 0 and 255 are the same to the checksum
    with pytest.raises(PacketError):
        Lsa.decode(bytes(octets))


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        (ROUTER_LSA[:19], "lsa.length", 18),
        (ROUTER_LSA[:-1], "lsa.length", 18),
        (ROUTER_LSA + b"\0", "lsa.length", 18),
        (ROUTER_LSA[:16] + b"\0\0" + ROUTER_LSA[18:], "lsa.checksum", 16),
        (b"", "lsa.age", 0),
    ],
)
def test_what_is_malformed(octets: bytes, field: str, offset: int) -> None:
    with pytest.raises(PacketError) as caught:
        Lsa.decode(octets)
    assert (caught.value.field, caught.value.offset) == (field, offset)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("0000 0001", "router_lsa.link_id"),
        ("0000 0000 00", "router_lsa.length"),
        ("0000 0001 c0000201 c0000202 02 01 0005", "router_lsa.tos"),
    ],
)
def test_what_is_a_malformed_router_lsa(body: str, field: str) -> None:
    with pytest.raises(PacketError, match=field):
        RouterLsa.decode(bytes.fromhex(body))


def test_a_network_lsa_of_broken_addresses() -> None:
    with pytest.raises(PacketError, match=r"network_lsa\.router"):
        NetworkLsa.decode(bytes(7))


@pytest.mark.parametrize(
    "make",
    [
        lambda: opaque_lsa_id(256, 0),
        lambda: opaque_lsa_id(0, 1 << 24),
        lambda: Lsa(256, A(0), A(0)),
        lambda: Lsa(1, A(0), A(0), sequence=1 << 31),
        lambda: Lsa(1, A(0), A(0), bytes(65536 - 20)),
        lambda: RouterLink(1, A(0), A(0), 65536),
    ],
)
def test_what_cannot_be_built(make: object) -> None:
    assert callable(make)
    with pytest.raises(PacketError):
        make()
