"""Whatever octets come, decoders answer or raise PacketError; what has nothing to ignore comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import (
    Bier,
    BitString,
    Encapsulation,
    Ethernet,
    Gre,
    Icmpv6Echo,
    IPv4,
    IPv6,
    LabelStackEntry,
    PacketError,
    Srh,
    SrhTlv,
    Udp,
    decode_stack,
    encode_stack,
    h_encaps,
    label_stack,
    udp_packet,
)
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation, decode_prefixes
from testbed.packet.ospf_sr import AdjSid, PrefixSid, SrLink, SrPrefix, decode_sr_links, decode_sr_prefixes

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
A4, B4 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
A6, B6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
BIER = Bier(bift_id=100, bits=BitString.of({1, 27}, 64), proto=4, bfir_id=7).encode(b"payload")
LSA = ExtendedPrefix(
    IPv4Network(A4), (BierSubTlv(0, 7, encapsulations=(MplsEncapsulation(5000), MplsEncapsulation(6000, 512))),)
).encode()
SR_LSA = SrPrefix(IPv4Network(A4), (PrefixSid(7), PrefixSid(16007, True)), (IPv6Network("fc00:0:7::/48"),)).encode()

DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "bier": (lambda data: Bier.decode(data, 64), BIER),
    "bier without mpls": (lambda data: Bier.decode(data, 64, Encapsulation.NON_MPLS), BIER),
    "bier offline": (Bier.dissect, BIER),
    "bitstring": (BitString.from_bytes, bytes(8)),
    "ethernet": (Ethernet.decode, Ethernet("02:00:00:00:00:01", "02:00:00:00:00:02", 0x0800).encode()),
    "gre": (Gre.decode, Gre(0xAB37, checksum=True, key=1, sequence=2).encode(b"payload")),
    "mpls entry": (LabelStackEntry.decode, LabelStackEntry(3).encode()),
    "mpls stack": (decode_stack, encode_stack(label_stack([16, 17, 18]), b"payload")),
    "ipv4": (IPv4.decode, udp_packet(A4, B4, 1, 2, b"payload")),
    "ipv6": (IPv6.decode, udp_packet(A6, B6, 1, 2, b"payload")),
    "udp": (lambda data: Udp.decode(data, A4, B4, verify=False), Udp(1, 2).encode(b"payload", A4, B4)),
    "udp verified": (lambda data: Udp.decode(data, A6, B6), Udp(1, 2).encode(b"payload", A6, B6)),
    "icmpv6": (lambda data: Icmpv6Echo.decode(data, A6, B6), Icmpv6Echo(1, 2).encode(b"payload", A6, B6)),
    "srh": (Srh.decode, Srh(41, (A6, B6), 2, tlvs=(SrhTlv(6, b"abc"), SrhTlv(5, bytes(38)))).encode(b"payload")),
    "ospf": (decode_prefixes, LSA),
    "ospf sr prefix": (decode_sr_prefixes, SR_LSA),
    "ospf sr link": (decode_sr_links, SrLink(A4, B4, (AdjSid(15001), AdjSid(1, False))).encode()),
    "encapsulated": (lambda data: h_encaps(data, A6, [B6]), udp_packet(A4, B4, 1, 2, b"payload")),
}
# Headers without bits to be ignored: what was decoded is encoded to the same octets.
EXACT: dict[str, Callable[[bytes], tuple[Bier | Ethernet | LabelStackEntry | IPv4 | IPv6, bytes]]] = {
    "bier offline": lambda data: Bier.dissect(data, Encapsulation.NON_MPLS),
    "ethernet": Ethernet.decode,
    "mpls entry": LabelStackEntry.decode,
    "ipv4": IPv4.decode,
    "ipv6": IPv6.decode,
}
EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3)


@pytest.mark.parametrize("name", DECODERS)
class TestAnyOctets:
    def test_the_valid_ones_are_valid(self, name: str) -> None:
        decode, valid = DECODERS[name]
        decode(valid)

    @PATIENT
    @given(data=st.binary(max_size=100))
    def test_at_random(self, name: str, data: bytes) -> None:
        with suppress(PacketError):
            DECODERS[name][0](data)

    @PATIENT
    @given(edits=EDITS, size=st.integers(0, 200))
    def test_beside_what_is_valid(self, name: str, edits: list[tuple[int, int]], size: int) -> None:
        decode, valid = DECODERS[name]
        data = bytearray(valid)
        for at, octet in edits:
            data[at % len(data)] = octet
        with suppress(PacketError):
            decode(bytes(data[:size]))

    def test_cut_anywhere(self, name: str) -> None:
        decode, valid = DECODERS[name]
        for size in range(len(valid)):
            with suppress(PacketError):
                decode(valid[:size])


@pytest.mark.parametrize("name", EXACT)
@PATIENT
@given(edits=EDITS)
def test_nothing_is_lost(name: str, edits: list[tuple[int, int]]) -> None:
    data = bytearray(DECODERS[name][1])
    for at, octet in edits:
        data[at % len(data)] = octet
    with suppress(PacketError):
        header, payload = EXACT[name](bytes(data))
        assert data.startswith(header.encode(payload))
