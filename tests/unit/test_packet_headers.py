"""Ethernet, MPLS, IP, UDP, ICMPv6 and the checksum under them: published octets first, then round trips.

And, for all headers at once, how much a field holds.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import (
    Bier,
    BitString,
    Ethernet,
    Ethertype,
    Gre,
    Icmpv6Echo,
    IPv4,
    IPv6,
    LabelStackEntry,
    PacketError,
    Srh,
    Udp,
    decode_stack,
    encode_stack,
    label_stack,
    multicast_mac,
    udp_packet,
)
from testbed.packet.checksum import internet_checksum, pseudo_header
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
U8, U16, U20 = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**20 - 1)
V4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
V6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
PAIRS = st.tuples(V4, V4) | st.tuples(V6, V6)
MACS = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
PAYLOADS = st.binary(max_size=64)

IPV4S = st.builds(
    IPv4,
    V4,
    V4,
    U8,
    ttl=U8,
    tos=U8,
    identification=U16,
    df=st.booleans(),
    mf=st.booleans(),
    fragment_offset=st.integers(0, 2**13 - 1),
    options=st.integers(0, 10).flatmap(lambda words: st.binary(min_size=words * 4, max_size=words * 4)),
)
IPV6S = st.builds(IPv6, V6, V6, U8, hop_limit=U8, traffic_class=U8, flow_label=U20)
ENTRIES = st.builds(LabelStackEntry, U20, st.integers(0, 7), st.integers(0, 1), U8)

A4, B4 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
A6, B6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")


class TestChecksum:
    def test_the_example_of_rfc_1071(self) -> None:
        assert internet_checksum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xDDF2 ^ 0xFFFF

    def test_odd_data_is_padded_at_the_end(self) -> None:
        assert internet_checksum(b"\x12\x34\x56") == internet_checksum(b"\x12\x34\x56\x00")

    @PATIENT
    @given(st.binary(max_size=200))
    def test_data_with_its_checksum_sums_to_zero(self, data: bytes) -> None:
        data += b"\0" * (len(data) % 2)
        assert internet_checksum(data + internet_checksum(data).to_bytes(2, "big")) == 0

    def test_pseudo_headers(self) -> None:
        assert pseudo_header(A4, B4, 17, 8) == bytes.fromhex("c0000201 c0000202 00 11 0008")
        assert pseudo_header(A6, B6, 58, 0x12345) == A6.packed + B6.packed + bytes.fromhex("00012345 000000 3a")
        with pytest.raises(PacketError, match=r"pseudo_header.dst: found 2001:db8::2, expected .* of 192.0.2.1"):
            pseudo_header(A4, B6, 17, 8)


class TestEthernet:
    def test_octets(self) -> None:
        frame = Ethernet("02:00:00:00:00:0b", "02:00:00:00:00:0a", Ethertype.BIER)
        assert frame.encode(b"x") == bytes.fromhex("02000000000b 02000000000a ab37") + b"x"
        assert Ethernet.decode(frame.encode(b"x")) == (frame, b"x")

    @pytest.mark.parametrize(
        ("group", "mac"),
        [
            ("224.0.0.13", "01:00:5e:00:00:0d"),
            ("239.129.2.3", "01:00:5e:01:02:03"),  # the highest 9 bits are lost
            ("232.1.2.3", "01:00:5e:01:02:03"),
            ("ff02::1:ff00:1", "33:33:ff:00:00:01"),
            ("ff3e::8000:1", "33:33:80:00:00:01"),
        ],
    )
    def test_addresses_of_groups(self, group: str, mac: str) -> None:
        assert multicast_mac(ip_address(group)) == mac

    def test_what_it_refuses(self) -> None:
        with pytest.raises(PacketError, match=r"ethernet.group: found 10.0.0.1"):
            multicast_mac(IPv4Address("10.0.0.1"))
        with pytest.raises(PacketError, match=r"ethernet.src: found 'AA:00:00:00:00:00'"):
            Ethernet("02:00:00:00:00:0b", "AA:00:00:00:00:00", 0x0800)
        with pytest.raises(PacketError, match=r"ethernet.ethertype at octet 12: found 0x0100"):
            Ethernet.decode(bytes(12) + b"\x01\x00")

    @PATIENT
    @given(st.builds(Ethernet, MACS, MACS, st.integers(0x600, 0xFFFF)), PAYLOADS)
    def test_round_trip(self, frame: Ethernet, payload: bytes) -> None:
        assert Ethernet.decode(frame.encode(payload)) == (frame, payload)


class TestGre:
    def test_octets(self) -> None:
        assert Gre(0x0800).encode(b"x") == bytes.fromhex("0000 0800") + b"x"
        assert Gre(0x6558, key=5, sequence=7).encode() == bytes.fromhex("3000 6558 00000005 00000007")
        assert Gre(0x0800, checksum=True).encode(b"E") == bytes.fromhex("8000 0800 32ff 0000 45")

    @PATIENT
    @given(
        st.builds(
            Gre,
            U16,
            checksum=st.booleans(),
            key=st.none() | st.integers(0, 2**32 - 1),
            sequence=st.none() | st.integers(0, 2**32 - 1),
            reserved=st.integers(0, 127),
            version=st.integers(0, 7),
        ),
        PAYLOADS,
    )
    def test_round_trip(self, header: Gre, payload: bytes) -> None:
        assert Gre.decode(header.encode(payload)) == (header, payload)

    def test_what_it_refuses(self) -> None:
        with pytest.raises(PacketError, match=r"gre.flags at octet 0: found 0x4000"):
            Gre.decode(bytes.fromhex("4000 0800"))
        with pytest.raises(PacketError, match=r"gre.checksum at octet 4: found 0x32fe, expected 0x32ff"):
            Gre.decode(bytes.fromhex("8000 0800 32fe 0000 45"))
        with pytest.raises(PacketError, match=r"gre.key at octet 4: found 0 octets"):
            Gre.decode(bytes.fromhex("2000 0800"))


class TestMpls:
    def test_octets(self) -> None:
        stack = label_stack([16004, 100], ttl=255, tc=1)
        assert encode_stack(stack, b"x") == bytes.fromhex("03e842ff 000643ff") + b"x"
        assert decode_stack(encode_stack(stack, b"x")) == (stack, b"x")

    def test_a_bier_header_ends_the_stack_in_front_of_it(self) -> None:
        header = Bier(bift_id=100, bits=BitString.of({1}), proto=4, bfir_id=1)
        octets = encode_stack(label_stack([16004, 24001], bottom=False), header.encode(b"x"))
        stack, _ = decode_stack(octets)
        assert [entry.label for entry in stack] == [16004, 24001, 100]
        assert [entry.s for entry in stack] == [0, 0, 1]
        assert Bier.decode(octets[8:], 256) == (header, b"x")

    def test_what_it_refuses(self) -> None:
        with pytest.raises(PacketError, match=r"mpls.s: found 1, expected 0 at depth 0 of 2"):
            encode_stack([LabelStackEntry(1, s=1), LabelStackEntry(2, s=1)])
        with pytest.raises(PacketError, match=r"mpls.label at octet 4: found 0 octets, expected 4"):
            decode_stack(LabelStackEntry(1).encode())
        with pytest.raises(PacketError, match=r"mpls.label: found 1048576"):
            label_stack([1 << 20])

    @PATIENT
    @given(st.lists(U20, min_size=1, max_size=8), st.integers(0, 7), U8, PAYLOADS)
    def test_round_trip(self, labels: list[int], tc: int, ttl: int, payload: bytes) -> None:
        stack = label_stack(labels, tc=tc, ttl=ttl)
        assert decode_stack(encode_stack(stack, payload)) == (stack, payload)

    @PATIENT
    @given(ENTRIES, PAYLOADS)
    def test_round_trip_of_one_entry(self, entry: LabelStackEntry, payload: bytes) -> None:
        assert LabelStackEntry.decode(entry.encode(payload)) == (entry, payload)


class TestIPv4:
    def test_published_octets(self) -> None:
        """The example of Wikipedia's "Internet checksum"."""
        octets = bytes.fromhex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7")
        header = IPv4(IPv4Address("192.168.0.1"), IPv4Address("192.168.0.199"), protocol=17, df=True)
        payload = bytes(0x73 - 20)
        assert header.encode(payload) == octets + payload
        assert IPv4.decode(octets + payload + b"padding") == (header, payload)

    @pytest.mark.parametrize(
        ("offset", "octet", "field", "where"),
        [
            (0, 0x65, "ipv4.version", 0),
            (0, 0x44, "ipv4.ihl", 0),
            (3, 19, "ipv4.total_length", 2),
            (3, 23, "ipv4.total_length", 2),
            (6, 0x80, "ipv4.flags", 6),
            (8, 63, "ipv4.checksum", 10),
            (11, 0, "ipv4.checksum", 10),
        ],
    )
    def test_what_is_refused(self, offset: int, octet: int, field: str, where: int) -> None:
        good = IPv4(A4, B4, 17).encode(b"xy")
        with pytest.raises(PacketError) as caught:
            IPv4.decode(good[:offset] + bytes((octet,)) + good[offset + 1 :])
        assert (caught.value.field, caught.value.offset) == (field, where)

    def test_what_cannot_be_built(self) -> None:
        with pytest.raises(PacketError, match=r"ipv4.options: found 3 octets"):
            IPv4(A4, B4, 17, options=b"abc")
        with pytest.raises(PacketError, match=r"ipv4.total_length: found 65536"):
            IPv4(A4, B4, 17).encode(bytes(65516))

    @PATIENT
    @given(IPV4S, PAYLOADS)
    def test_round_trip(self, header: IPv4, payload: bytes) -> None:
        assert IPv4.decode(header.encode(payload)) == (header, payload)


class TestIPv6:
    def test_octets(self) -> None:
        header = IPv6(A6, B6, next_header=59, hop_limit=7, traffic_class=0xB8, flow_label=0x12345)
        octets = bytes.fromhex("6b812345 0003 3b 07") + A6.packed + B6.packed + b"xyz"
        assert header.encode(b"xyz") == octets
        assert IPv6.decode(octets + b"padding") == (header, b"xyz")

    def test_what_is_refused(self) -> None:
        with pytest.raises(PacketError, match=r"ipv6.version at octet 0: found 4"):
            IPv6.decode(b"\x45" + bytes(39))
        with pytest.raises(PacketError, match=r"ipv6.payload at octet 40: found 1 octets, expected 2"):
            IPv6.decode(IPv6(A6, B6, 59).encode(b"xy")[:-1])
        with pytest.raises(PacketError, match=r"ipv6.src: found fe80::1%eth0"):
            IPv6(IPv6Address("fe80::1%eth0"), B6, 59)

    @PATIENT
    @given(IPV6S, PAYLOADS)
    def test_round_trip(self, header: IPv6, payload: bytes) -> None:
        assert IPv6.decode(header.encode(payload)) == (header, payload)


class TestUdp:
    @PATIENT
    @given(st.builds(Udp, U16, U16), PAYLOADS, PAIRS)
    def test_round_trip(self, header: Udp, payload: bytes, pair: tuple[IPv4Address, IPv4Address]) -> None:
        assert Udp.decode(header.encode(payload, *pair), *pair) == (header, payload)

    @PATIENT
    @given(PAIRS, PAYLOADS)
    def test_a_whole_packet(self, pair: tuple[IPv4Address, IPv4Address], payload: bytes) -> None:
        packet = udp_packet(*pair, 5000, 6000, payload, ttl=9)
        if pair[0].version == 4:
            v4, datagram = IPv4.decode(packet)
            assert v4 == IPv4(*pair, 17, ttl=9)
        else:
            v6, datagram = IPv6.decode(packet)
            assert (v6.src, v6.dst, v6.next_header, v6.hop_limit) == (*pair, 17, 9)
        assert Udp.decode(datagram, *pair) == (Udp(5000, 6000), payload)

    def test_a_checksum_of_zero_is_sent_as_its_complement(self) -> None:
        plain = Udp(0, 0).encode(b"\0\0", A6, B6)
        zero = Udp(0, 0).encode(plain[6:8], A6, B6)  # data that makes the sum 0xFFFF, the checksum 0
        assert zero[6:8] == b"\xff\xff"
        assert Udp.decode(zero, A6, B6) == (Udp(0, 0), plain[6:8])

    def test_no_checksum_is_allowed_over_ipv4_only(self) -> None:
        bare = bytes.fromhex("1388 1770 0009 0000") + b"x"
        assert Udp.decode(bare, A4, B4) == (Udp(5000, 6000), b"x")
        with pytest.raises(PacketError, match=r"udp.checksum at octet 6: found 0x0000"):
            Udp.decode(bare, A6, B6)

    def test_what_is_refused(self) -> None:
        good = Udp(5000, 6000).encode(b"x", A4, B4)
        with pytest.raises(PacketError, match=r"udp.length at octet 4: found 9, expected 10"):
            Udp.decode(good + b"y", A4, B4)
        with pytest.raises(PacketError, match=r"udp.checksum"):
            Udp.decode(good[:-1] + b"y", A4, B4)
        assert Udp.decode(good[:-1] + b"y", A4, B4, verify=False) == (Udp(5000, 6000), b"y")
        with pytest.raises(PacketError, match=r"udp.checksum"):
            Udp.decode(good, A4, IPv4Address("192.0.2.3"))
        with pytest.raises(PacketError, match=r"pseudo_header.dst"):
            udp_packet(A4, B6, 1, 2)


class TestIcmpv6Echo:
    @PATIENT
    @given(st.builds(Icmpv6Echo, U16, U16, st.booleans()), PAYLOADS, V6, V6)
    def test_round_trip(self, echo: Icmpv6Echo, payload: bytes, src: IPv6Address, dst: IPv6Address) -> None:
        assert Icmpv6Echo.decode(echo.encode(payload, src, dst), src, dst) == (echo, payload)

    def test_octets(self) -> None:
        octets = Icmpv6Echo(0x1234, 1).encode(b"", A6, B6)
        assert octets.hex() == "8000" + octets[2:4].hex() + "12340001"
        assert internet_checksum(pseudo_header(A6, B6, 58, 8) + octets) == 0
        assert Icmpv6Echo(0x1234, 1, reply=True).encode(b"", B6, A6)[0] == 129

    def test_what_is_refused(self) -> None:
        good = Icmpv6Echo(1, 1).encode(b"", A6, B6)
        with pytest.raises(PacketError, match=r"icmpv6.type at octet 0: found 3"):
            Icmpv6Echo.decode(b"\x03" + good[1:], A6, B6)
        with pytest.raises(PacketError, match=r"icmpv6.checksum at octet 2"):
            Icmpv6Echo.decode(good, A6, A6)


@pytest.mark.parametrize(
    ("header", "field", "bits"),
    [
        *((IPv4(A4, B4, 17), field, 8) for field in ("protocol", "ttl", "tos")),
        (IPv4(A4, B4, 17), "identification", 16),
        (IPv4(A4, B4, 17), "fragment_offset", 13),
        *((IPv6(A6, B6, 17), field, 8) for field in ("next_header", "hop_limit", "traffic_class")),
        (IPv6(A6, B6, 17), "flow_label", 20),
        *((Udp(1, 2), field, 16) for field in ("sport", "dport")),
        *((Icmpv6Echo(1, 2), field, 16) for field in ("identifier", "sequence")),
        *((LabelStackEntry(1), field, bits) for field, bits in (("label", 20), ("tc", 3), ("s", 1), ("ttl", 8))),
        (Ethernet("02:00:00:00:00:0b", "02:00:00:00:00:0a", 0x0800), "ethertype", 16),
        *((Srh(59, (A6,), 0), field, bits) for field, bits in (("next_header", 8), ("flags", 8), ("tag", 16))),
        *((BierSubTlv(0, 1), field, 8) for field in ("sub_domain", "mt_id", "bar", "ipa")),
        (BierSubTlv(0, 1), "bfr_id", 16),
        (MplsEncapsulation(1), "label", 20),
        (MplsEncapsulation(1), "max_si", 8),
        *((ExtendedPrefix(IPv4Network(A4)), field, 8) for field in ("route_type", "flags")),
    ],
)
def test_a_field_holds_its_bits_and_no_more(header: Any, field: str, bits: int) -> None:
    assert getattr(replace(header, **{field: (1 << bits) - 1}), field) == (1 << bits) - 1
    for value in (1 << bits, -1):
        with pytest.raises(PacketError, match=rf"\.{field}: found {value}, expected"):
            replace(header, **{field: value})


def test_headers_are_values() -> None:
    header = IPv4(A4, B4, 17)
    assert replace(header, ttl=63) != header
    assert hash(replace(header, ttl=64)) == hash(header)
