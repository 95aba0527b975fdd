"""SRH and encapsulation against the packets written out in RFC 8986 section 5 and RFC 9524 appendix A.2."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import Icmpv6Echo, IPv4, IPv6, PacketError, Protocol, Srh, SrhTlv, Udp, h_encaps, udp_packet
from testbed.packet.srv6 import END_REPLICATE

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
A, B2, B1, B3 = (IPv6Address(f"2001:db8::{last}") for last in ("a", "b2", "b1", "b3"))
T = IPv6Address("2001:db8::1")
S1, S2, S3 = (IPv6Address(f"2001:db8:cccc:{k}:1::") for k in (1, 2, 3))
P1 = IPv6(A, B2, Protocol.UDP, hop_limit=10).encode(Udp(1, 2).encode(b"data", A, B2))
P2 = IPv6(A, B2, Protocol.ROUTING, hop_limit=10).encode(
    Srh(Protocol.UDP, (B3, B2, B1), segments_left=1).encode(Udp(1, 2).encode(b"data", A, B3))
)
# RFC 9524 appendix A.2: End.X at R4 towards R7, and the Replication-SIDs of R6, R7 and R4.
C7 = IPv6Address("2001:db8:cccc:4:C7::")
F6, F7, F4 = (IPv6Address(f"2001:db8:cccc:{k}:F{k}::") for k in (6, 7, 4))

ADDRESSES = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
TLVS = st.builds(SrhTlv, st.sampled_from([1, 2, 3, 5, 6, 128, 255]), st.binary(max_size=40))


@st.composite
def headers(draw: st.DrawFn) -> Srh:
    segments = tuple(draw(st.lists(ADDRESSES, min_size=1, max_size=6)))
    return Srh(
        next_header=draw(st.integers(0, 255)),
        segments=segments,
        segments_left=draw(st.integers(0, len(segments))),
        flags=draw(st.integers(0, 255)),
        tag=draw(st.integers(0, 65535)),
        tlvs=tuple(draw(st.lists(TLVS, max_size=4))),
    )


def one_hop_less(packet: bytes) -> bytes:
    return packet[:7] + bytes((packet[7] - 1,)) + packet[8:]


class TestSrh:
    def test_octets(self) -> None:
        srh = Srh(Protocol.IPV6, (S3, S2), segments_left=2, tag=0x0102)
        octets = bytes.fromhex("29 04 04 02 01 00 0102") + S3.packed + S2.packed
        assert srh.encode(b"x") == octets + b"x"
        assert Srh.decode(octets + b"x") == (srh, b"x")

    @pytest.mark.parametrize(
        ("size", "padding"),
        [(6, ""), (5, "00"), (4, "0400"), (3, "040100"), (2, "04020000"), (0, "040400000000"), (7, "04050000000000")],
    )
    def test_padding(self, size: int, padding: str) -> None:
        """One octet is Pad1's, more are PadN's (RFC 8754 section 2.1.1)."""
        octets = Srh(59, (S1,), 0, tlvs=(SrhTlv(6, b"v" * size),)).encode()
        assert octets[24:] == bytes((6, size)) + b"v" * size + bytes.fromhex(padding)
        assert octets[1] * 8 + 8 == len(octets)

    def test_an_hmac_starts_at_a_multiple_of_8(self) -> None:
        hmac = SrhTlv(5, bytes(range(38)))
        octets = Srh(59, (S1,), 0, tlvs=(SrhTlv(6, b"abc"), hmac)).encode()
        assert octets[24:34] == b"\x06\x03abc\x04\x01\x00\x05\x26"

    def test_foreign_padding_is_dropped(self) -> None:
        octets = bytes.fromhex("3b 04 04 00 00 00 0000") + S1.packed
        octets += bytes.fromhex("00 00 04 01 ff 07 02 aabb 04 05 1122334455")
        assert Srh.decode(octets) == (Srh(59, (S1,), 0, tlvs=(SrhTlv(7, b"\xaa\xbb"),)), b"")

    @pytest.mark.parametrize(
        ("head", "field", "offset"),
        [
            ("3b 02 03 00 00 00 0000", "srh.routing_type", 2),
            ("3b 02 04 00 01 00 0000", "srh.last_entry", 4),
            ("3b 00 04 00 00 00 0000", "srh.last_entry", 4),
            ("3b 02 04 02 00 00 0000", "srh.segments_left", 3),
            ("3b 04 04 00 00 00 0000", "srh.segments", 8),
            ("3b 02 04 00 00 00 00", "srh.tag", 6),
        ],
    )
    def test_what_is_refused(self, head: str, field: str, offset: int) -> None:
        body = S1.packed if len(bytes.fromhex(head)) == 8 else b""
        with pytest.raises(PacketError) as caught:
            Srh.decode(bytes.fromhex(head) + body)
        assert (caught.value.field, caught.value.offset) == (field, offset)

    def test_a_tlv_must_end_inside(self) -> None:
        octets = bytes.fromhex("3b 03 04 00 00 00 0000") + S1.packed + bytes.fromhex("07 07 000000000000") + b"beyond"
        with pytest.raises(PacketError, match=r"srh.tlv.value at octet 26: found 6 octets, expected 7"):
            Srh.decode(octets)

    def test_what_cannot_be_built(self) -> None:
        with pytest.raises(PacketError, match=r"srh.segments: found none"):
            Srh(59, (), 0)
        with pytest.raises(PacketError, match=r"srh.segments_left: found 2, expected 0 to 1"):
            Srh(59, (S1,), 2)
        with pytest.raises(PacketError, match=r"srh.hdr_ext_len: found 2056 octets"):
            Srh(59, (S1,) * 128, 0)
        with pytest.raises(PacketError, match=r"srh.tlv.type: found 4"):
            SrhTlv(4, b"")
        assert len(Srh(59, (S1,) * 127, 127).encode()) == 2040

    @PATIENT
    @given(headers(), st.binary(max_size=32))
    def test_round_trip(self, srh: Srh, payload: bytes) -> None:
        assert Srh.decode(srh.encode(payload)) == (srh, payload)


class TestHeadend:
    """RFC 8986: (T, S1) (S3, S2, S1; SL=2) (A, B2) and its kin, with one hop less inside."""

    @pytest.mark.parametrize("packet", [P1, P2], ids=["P1", "P2"])
    @pytest.mark.parametrize(("reduced", "listed"), [(False, (S3, S2, S1)), (True, (S3, S2))])
    def test_the_rfcs_packets(self, packet: bytes, reduced: bool, listed: tuple[IPv6Address, ...]) -> None:
        outer = h_encaps(packet, T, [S1, S2, S3], reduced=reduced, hop_limit=5, traffic_class=8, flow_label=9)
        header, rest = IPv6.decode(outer)
        assert header == IPv6(T, S1, Protocol.ROUTING, hop_limit=5, traffic_class=8, flow_label=9)
        srh, inner = Srh.decode(rest)
        assert srh == Srh(Protocol.IPV6, listed, segments_left=2)
        assert inner == one_hop_less(packet)

    def test_one_segment_reduced_needs_no_srh(self) -> None:
        header, inner = IPv6.decode(h_encaps(P1, T, [S1], reduced=True))
        assert header == IPv6(T, S1, Protocol.IPV6)
        assert inner == one_hop_less(P1)
        assert IPv6.decode(h_encaps(P1, T, [S1]))[0].next_header == Protocol.ROUTING

    def test_an_ipv4_packet_inside(self) -> None:
        v4 = IPv4(IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3"), Protocol.UDP, ttl=10, options=b"\x94\x04\0\0")
        header, inner = IPv6.decode(h_encaps(v4.encode(b"data"), T, [S1], reduced=True))
        assert header.next_header == Protocol.IPV4
        assert IPv4.decode(inner) == (replace(v4, ttl=9), b"data")

    def test_what_is_refused(self) -> None:
        with pytest.raises(PacketError, match=r"ipv6.hop_limit at octet 7: found 1"):
            h_encaps(IPv6(A, B2, 59, hop_limit=1).encode(), T, [S1])
        with pytest.raises(PacketError, match=r"ipv4.ttl at octet 8: found 1"):
            h_encaps(udp_packet(IPv4Address(1), IPv4Address(2), 1, 2, ttl=1), T, [S1])
        with pytest.raises(PacketError, match=r"ipv6.version"):
            h_encaps(b"", T, [S1])
        with pytest.raises(PacketError, match=r"srv6.path: found no segment"):
            h_encaps(P1, T, [])


class TestReplicationSegment:
    """RFC 9524 appendix A.2, by its packets: the state it prints for R1 swaps R7's Replication-SID and segment list."""

    def test_code_point(self) -> None:
        assert END_REPLICATE == 0x004B

    def test_the_copy_to_r6(self) -> None:
        header, _ = IPv6.decode(h_encaps(P1, T, [F6], reduced=True))
        assert (header.src, header.dst, header.next_header) == (T, F6, Protocol.IPV6)

    def test_the_copy_to_r7_in_two_encapsulations(self) -> None:
        """(R1, R4's C7) (R1, R7's F7) (A, B2); R4's USD then leaves the copy that R7 expects."""
        outer, rest = IPv6.decode(h_encaps(h_encaps(P1, T, [F7], reduced=True), T, [C7], reduced=True))
        assert (outer.src, outer.dst, outer.next_header) == (T, C7, Protocol.IPV6)
        inner, payload = IPv6.decode(rest)
        assert (inner.src, inner.dst, inner.next_header) == (T, F7, Protocol.IPV6)
        assert payload == one_hop_less(P1)

    def test_the_copy_to_r7_in_one_encapsulation(self) -> None:
        """(R1, C7) (F7; SL=1) (A, B2), octet by octet; R4's PSP leaves the same copy as above."""
        packet = h_encaps(P1, T, [C7, F7], reduced=True, hop_limit=64)
        head = bytes.fromhex(
            "60000000 004c 2b 40"  # 76 octets follow, the first being a routing header
            "20010db8000000000000000000000001"
            "20010db8cccc000400c7000000000000"
            "29 02 04 01 00 00 0000"  # IPv6 inside, 2 x 8 octets, SRH, SL 1, Last Entry 0
            "20010db8cccc000700f7000000000000"
        )
        assert len(P1) == 52
        assert packet == head + one_hop_less(P1)

    def test_ping_of_r7_through_r4(self) -> None:
        """A.2.1: the checksum is made for R7's SID, so that only R7 answers, through an SRH or R4's replication."""
        echo = Icmpv6Echo(7, 1)
        message = echo.encode(b"", T, F7)
        through = IPv6(T, C7, Protocol.ROUTING).encode(Srh(Protocol.ICMPV6, (F7,), 1).encode(message))
        at_r4, rest = IPv6.decode(through)
        srh, carried = Srh.decode(rest)
        assert (at_r4.dst, srh.segments[srh.segments_left - 1], srh.next_header) == (C7, F7, Protocol.ICMPV6)
        assert Icmpv6Echo.decode(carried, T, F7) == (echo, b"")
        for other in (F4, F6):
            with pytest.raises(PacketError, match=r"icmpv6.checksum"):
                Icmpv6Echo.decode(carried, T, other)
