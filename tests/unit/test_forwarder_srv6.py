"""The forwarder's core as an SRv6 router with Replication segments: RFC 9524 section 2.2 and appendix A.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from forwarder_sim import (
    OUTSIDE,
    Hop,
    Outcome,
    Router,
    Sent,
    Sim,
    carry,
    delivered,
    frame,
    links,
    nexthop,
    payload,
    peer_mac,
    port_mac,
    ports,
    running,
)

from testbed.packet import (
    Ethernet,
    Ethertype,
    Icmpv6Echo,
    IPv4,
    IPv6,
    PacketError,
    Protocol,
    Srh,
    SrhTlv,
    h_encaps,
    multicast_mac,
    udp_packet,
)

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8:ffff::1"), IPv6Address("ff3e::8000:1")
HEAD, OTHER = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::9")
ME = port_mac("", "p1")
HOP_BY_HOP, FRAGMENT, DESTINATION, NO_NEXT = 0, 44, 60, 59


def sid(node: int, function: str) -> IPv6Address:
    """RFC 9524 A.2: 2001:db8:cccc:<node>:<function>::"""
    return IPv6Address(f"2001:db8:cccc:{node}:{function}::")


MY_SID, CONTEXT_SID = sid(1, "F1"), sid(1, "D2")
DOWN2, DOWN3 = sid(2, "F2"), sid(3, "F3")


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


@pytest.fixture
def router(sim: Sim) -> Router:
    return Router(sim, "")


def datagram(ttl: int = 64) -> bytes:
    return udp_packet(A4, G4, 1, 2, b"data", ttl)


def outer(
    inner: bytes | None = None, next_header: int = Protocol.IPV4, dst: IPv6Address = MY_SID, hop_limit: int = 64
) -> bytes:
    """An IPv6 packet to the router's Replication-SID."""
    return IPv6(HEAD, dst, next_header, hop_limit).encode(datagram() if inner is None else inner)


def arrive(packet: bytes) -> bytes:
    return frame(ME, Ethertype.IPV6, packet)


def with_srh(srh: Srh, inner: bytes | None = None, hop_limit: int = 64) -> bytes:
    return arrive(outer(srh.encode(datagram() if inner is None else inner), Protocol.ROUTING, hop_limit=hop_limit))


LOCAL = [
    "port host",
    "port other",
    "flow 1 * * port host",
    "flow 2 * * port other",
    f"sid {MY_SID} replicate 7",
    f"sid {CONTEXT_SID} context 2",
]
BRANCHES = [f"branch 7 0 sid {DOWN2} nexthop 2", f"branch 7 1 sid {DOWN3} nexthop 3"]


def node(role: str, *more: str) -> list[str]:
    rows = ["node source 2001:db8::1 ttl 50", *ports(3), *LOCAL, f"segment 7 {role}"]
    return [*rows, *(() if role.startswith("leaf") else BRANCHES), *more]


class TestRoles:
    def test_transit(self, router: Router) -> None:
        """Replicate(): the outer header is used again, with another destination and one hop less."""
        router.load(*node("transit"))
        outcome = router.judge("p1", arrive(outer()))
        assert not outcome.drops
        assert outcome.ports == ["p2", "p3"]
        for k, down in ((2, DOWN2), (3, DOWN3)):
            wanted = outer(dst=down, hop_limit=63)
            assert outcome.on(f"p{k}") == frame(peer_mac(k), Ethertype.IPV6, wanted, src=port_mac("", f"p{k}"))

    def test_leaf(self, router: Router) -> None:
        router.load(*node("leaf context 1"))
        outcome = router.judge("p1", arrive(outer()))
        assert outcome.ports == ["host"]
        assert payload(outcome.on("host"), Ethertype.IPV4) == datagram(63)
        assert not outcome.drops

    def test_bud(self, router: Router) -> None:
        router.load(*node("bud context 1"))
        assert router.judge("p1", arrive(outer())).ports == ["p2", "p3", "host"]
        (segment,) = router.state()["segments"]
        assert segment["in"] == {"packets": 1, "bytes": len(outer())}
        assert segment["delivered"] == {"packets": 1, "bytes": len(datagram())}
        assert [each["sent"] for each in segment["branches"]] == [{"packets": 1, "bytes": len(outer())}] * 2

    def test_ipv6_inside(self, router: Router) -> None:
        router.load(*node("leaf context 1"))
        inner = udp_packet(A6, G6, 1, 2, b"data", 7)
        outcome = router.judge("p1", arrive(outer(inner, Protocol.IPV6)))
        assert payload(outcome.on("host"), Ethertype.IPV6) == udp_packet(A6, G6, 1, 2, b"data", 6)

    def test_traffic_class_and_flow_label_stay(self, router: Router) -> None:
        router.load(*node("transit"))
        packet = IPv6(HEAD, MY_SID, Protocol.IPV4, 64, 0xB9, 0xFEDCB).encode(datagram())
        sent = IPv6.decode(payload(router.judge("p1", arrive(packet)).on("p2"), Ethertype.IPV6))[0]
        assert sent == IPv6(HEAD, DOWN2, Protocol.IPV4, 63, 0xB9, 0xFEDCB)

    def test_transit_without_branches(self, router: Router) -> None:
        router.load(*ports(1), *LOCAL, "segment 7 transit")
        assert router.judge("p1", arrive(outer())).drops == {"no-branch": 1}

    def test_what_is_no_sid_of_ours_is_the_kernels(self, router: Router) -> None:
        router.load(*node("bud context 1"))
        outcome = router.judge("p1", arrive(outer(dst=DOWN2)))
        assert outcome == Outcome([])

    def test_external_interfaces_do_not_reach_sids(self, router: Router) -> None:
        """RFC 9524 section 4."""
        router.load(*[row.replace("port p1 transport", "port p1") for row in node("bud context 1")])
        assert router.judge("p1", arrive(outer())).sent == []

    def test_frames_for_other_stations(self, router: Router) -> None:
        router.load(*node("bud context 1"))
        for other in ("02:00:00:00:00:99", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"):
            assert router.judge("p1", frame(other, Ethertype.IPV6, outer())).sent == []

    def test_padding_is_cut_off(self, router: Router) -> None:
        router.load(*node("transit"))
        sent = router.judge("p1", arrive(outer(b"", NO_NEXT) + bytes(20))).on("p2")
        assert payload(sent, Ethertype.IPV6) == outer(b"", NO_NEXT, DOWN2, 63)

    def test_a_context_sid_is_no_destination(self, router: Router) -> None:
        router.load(*node("bud context 1"))
        assert router.judge("p1", arrive(outer(dst=CONTEXT_SID))).drops == {"upper-layer": 1}

    def test_sids_stay_on_their_plane(self, router: Router) -> None:
        """Who arrives by a SID leaves by SIDs: no label under an IPv6 header."""
        rows = [*ports(2), "segment 7 transit", f"sid {MY_SID} replicate 7", "branch 7 0 labels 200 nexthop 2"]
        assert router.change("replace", rows)
        rows = [*ports(2), "segment 7 transit", "label 100 replicate 7", f"branch 7 0 sid {DOWN2} nexthop 2"]
        assert router.change("replace", rows)

    def test_one_head_two_planes(self, router: Router) -> None:
        rows = ["port in context 5", "flow 5 * * segment 8", "segment 8 head"]
        rows += ["branch 8 0 labels 200 nexthop 2", f"branch 8 1 sid {DOWN3} nexthop 3"]
        router.load("node source 2001:db8::1", *ports(3), *rows)
        outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, datagram()))
        assert Ethernet.decode(outcome.on("p2"))[0].ethertype == Ethertype.MPLS
        assert Ethernet.decode(outcome.on("p3"))[0].ethertype == Ethertype.IPV6


class TestHopLimit:
    """Section 2.2.1 S02 to S13, in that order."""

    @pytest.mark.parametrize("role", ["transit", "bud context 1", "leaf context 1"])
    @pytest.mark.parametrize("hop_limit", [0, 1])
    def test_one_or_less(self, router: Router, role: str, hop_limit: int) -> None:
        """S02: on a leaf too, unlike BIER."""
        router.load(*node(role))
        outcome = router.judge("p1", arrive(outer(hop_limit=hop_limit)))
        assert (outcome.sent, outcome.drops) == ([], {"hop-limit": 1})

    def test_it_comes_before_the_threshold(self, router: Router) -> None:
        router.load(*node("bud context 1 threshold 200"))
        for hop_limit, reason in ((0, "hop-limit"), (1, "hop-limit"), (2, "hop-limit-threshold")):
            assert router.judge("p1", arrive(outer(hop_limit=hop_limit))).drops == {reason: 1}

    @pytest.mark.parametrize("role", ["transit", "bud context 1", "leaf context 1"])
    def test_threshold(self, router: Router, role: str) -> None:
        """S09: less than the threshold, so that the threshold itself passes."""
        router.load(*node(f"{role} threshold 30"))
        assert router.judge("p1", arrive(outer(hop_limit=29))).drops == {"hop-limit-threshold": 1}
        for hop_limit in (30, 31, 255):
            assert not router.judge("p1", arrive(outer(hop_limit=hop_limit))).drops

    def test_two_is_enough_to_replicate(self, router: Router) -> None:
        router.load(*node("bud context 1"))
        outcome = router.judge("p1", arrive(outer(hop_limit=2)))
        assert IPv6.decode(payload(outcome.on("p2"), Ethertype.IPV6))[0].hop_limit == 1
        assert "host" in outcome.ports


class TestSrh:
    def test_transit_passes_it_on_unmodified(self, router: Router) -> None:
        """The destination is the local state's and not the SRH's; the SRH stays as it is, TLVs and all."""
        router.load(*node("transit"))
        for left in (0, 1, 2, 3):
            srh = Srh(4, (OTHER, DOWN3, MY_SID), left, flags=0x55, tag=0xAAAA, tlvs=(SrhTlv(129, b"mutable"),))
            sent = router.judge("p1", with_srh(srh)).on("p2")
            assert payload(sent, Ethertype.IPV6) == outer(srh.encode(datagram()), Protocol.ROUTING, DOWN2, 63)

    def test_leaf_with_none_left(self, router: Router) -> None:
        router.load(*node("leaf context 1"))
        for tlvs in ((), (SrhTlv(5, bytes(38)),), (SrhTlv(200, b"x"),)):
            outcome = router.judge("p1", with_srh(Srh(4, (MY_SID, OTHER), 0, tlvs=tlvs)))
            assert payload(outcome.on("host"), Ethertype.IPV4) == datagram(63)

    @pytest.mark.parametrize("left", [1, 2, 3])
    @pytest.mark.parametrize("role", ["leaf context 1", "bud context 1"])
    def test_segments_left(self, router: Router, role: str, left: int) -> None:
        """S21: discarded, as none of them says a context; a bud has replicated before."""
        router.load(*node(role))
        outcome = router.judge("p1", with_srh(Srh(4, (OTHER, DOWN3), min(left, 3) if left < 3 else 2)))
        assert outcome.ports == ([] if role.startswith("leaf") else ["p2", "p3"])
        assert outcome.drops == {"segments-left": 1}

    @pytest.mark.parametrize("segments", [(CONTEXT_SID,), (CONTEXT_SID, MY_SID), (CONTEXT_SID, MY_SID, OTHER)])
    def test_context_from_the_segment_list(self, router: Router, segments: tuple[IPv6Address, ...]) -> None:
        """S20: the next segment is the context; with one more behind it, it is discarded."""
        router.load(*node("bud context 1"))
        outcome = router.judge("p1", with_srh(Srh(4, segments, 1)))
        assert outcome.ports == ["p2", "p3", "other"]
        assert Srh.decode(IPv6.decode(outcome.on("p2")[14:])[1])[0].segments_left == 1

    def test_a_context_that_is_not_the_last(self, router: Router) -> None:
        router.load(*node("leaf context 1"))
        assert router.judge("p1", with_srh(Srh(4, (OTHER, CONTEXT_SID), 2))).drops == {"segments-left": 1}
        assert router.judge("p1", with_srh(Srh(4, (CONTEXT_SID, CONTEXT_SID), 2))).drops == {"segments-left": 1}
        assert router.judge("p1", with_srh(Srh(4, (CONTEXT_SID, OTHER), 2))).drops == {"segments-left": 1}

    def test_a_replication_sid_is_no_context(self, router: Router) -> None:
        """RFC 9524 section 4: a stack of Replication segments does not amplify."""
        router.load(*node("bud context 1"))
        outcome = router.judge("p1", with_srh(Srh(4, (MY_SID,), 1)))
        assert outcome.ports == ["p2", "p3"]
        assert outcome.drops == {"segments-left": 1}

    def test_context_from_the_sid_itself(self, router: Router) -> None:
        """S28."""
        router.load(*node("leaf context 2"))
        assert router.judge("p1", arrive(outer())).ports == ["other"]

    def test_a_second_srh_does_not_hide_the_first(self, router: Router) -> None:
        """S19 to S21 look at what is left; RFC 8200 section 4.1 has nodes accept headers any number of times."""
        router.load(*node("leaf context 1"))
        for first, second in ((1, 0), (0, 1), (2, 0)):
            packet = Srh(Protocol.ROUTING, (OTHER, OTHER), first).encode(Srh(4, (OTHER,), second).encode(datagram()))
            outcome = router.judge("p1", arrive(outer(packet, Protocol.ROUTING)))
            assert (outcome.sent, outcome.drops) == ([], {"segments-left": 1}), (first, second)
        packet = Srh(Protocol.ROUTING, (OTHER,), 0).encode(Srh(4, (OTHER,), 0).encode(datagram()))
        assert router.judge("p1", arrive(outer(packet, Protocol.ROUTING))).ports == ["host"]
        packet = Srh(Protocol.ROUTING, (CONTEXT_SID,), 1).encode(Srh(4, (CONTEXT_SID,), 1).encode(datagram()))
        assert router.judge("p1", arrive(outer(packet, Protocol.ROUTING))).sent == []

    def test_another_routing_type(self, router: Router) -> None:
        """RFC 8200 section 4.4: ignored if no segment is left, else the packet is discarded."""
        router.load(*node("leaf context 1"))
        for kind in (0, 2, 3, 253):
            header = bytes((4, 0, kind, 0)) + bytes(4)
            assert router.judge("p1", arrive(outer(header + datagram(), Protocol.ROUTING))).ports == ["host"]
            header = bytes((4, 0, kind, 1)) + bytes(4)
            assert router.judge("p1", arrive(outer(header + datagram(), Protocol.ROUTING))).drops == {"srh": 1}

    def test_nothing_left_is_nothing_to_check(self, router: Router) -> None:
        """RFC 8754 section 4.3.1.1, S02: Last Entry is only looked at where segments are left."""
        router.load(*node("leaf context 1"))
        header = bytes((4, 0, 4, 0, 0, 0, 0, 0))
        assert router.judge("p1", arrive(outer(header + datagram(), Protocol.ROUTING))).ports == ["host"]


CONFUSED = [(41, datagram()), (4, udp_packet(A6, G6, 1, 2)), (4, b""), (41, b"")]


class TestUpperLayer:
    """The processing at a leaf, S01 to S14 of the second list."""

    @pytest.mark.parametrize("proto", [17, 6, 143, 50, FRAGMENT, NO_NEXT, 255, 135])
    def test_what_is_not_allowed(self, router: Router, proto: int) -> None:
        router.load(*node("bud context 1"))
        outcome = router.judge("p1", arrive(outer(next_header=proto)))
        assert outcome.ports == ["p2", "p3"]
        assert outcome.drops == {"upper-layer": 1}

    @pytest.mark.parametrize(("proto", "inner"), CONFUSED, ids=["4 in 41", "6 in 4", "-", "--"])
    def test_the_packet_is_what_the_header_says(self, router: Router, proto: int, inner: bytes) -> None:
        router.load(*node("leaf context 1"))
        outcome = router.judge("p1", arrive(outer(inner, proto)))
        assert (outcome.sent, outcome.drops) == ([], {"ip-header": 1})

    def test_no_context(self, router: Router) -> None:
        router.load(*node("leaf"))
        assert router.judge("p1", arrive(outer())).drops == {"no-flow": 1}

    @pytest.mark.parametrize("kind", [HOP_BY_HOP, DESTINATION])
    @pytest.mark.parametrize(
        ("options", "good"),
        [
            (b"\x01\x04" + bytes(4), True),  # PadN
            (bytes(6), True),  # Pad1 six times
            (b"\x05\x02\x00\x00\x00\x00", True),  # router alert: may be skipped
            (b"\x3e\x04" + bytes(4), True),  # unknown, 00: skip
            (b"\x40\x04" + bytes(4), False),  # 01: discard
            (b"\x80\x04" + bytes(4), False),  # 10: discard and complain
            (b"\xc2\x04" + bytes(4), False),  # 11, jumbo payload
            (b"\x01\x05" + bytes(4), False),  # longer than the header
            (b"\x00\x00\x00\x00\x00\x01", False),  # no length
        ],
    )
    def test_options(self, router: Router, kind: int, options: bytes, good: bool) -> None:
        """RFC 8200 section 4.2."""
        router.load(*node("leaf context 1"))
        outcome = router.judge("p1", arrive(outer(bytes((4, 0)) + options + datagram(), kind)))
        assert outcome.ports == (["host"] if good else [])
        assert outcome.drops == ({} if good else {"ipv6-option": 1})


class TestHead:
    """Where the core encapsulates: H.Encaps.Red, RFC 8986 section 5.2."""

    def head(self, router: Router, branch: str) -> None:
        rows = ["port in context 5", "flow 5 * * segment 8", "segment 8 head", f"branch 8 0 {branch} nexthop 2"]
        router.load("node source 2001:db8::1 ttl 50", *ports(2), *rows)

    def steer(self, router: Router, inner: bytes, group: IPv4Address | IPv6Address) -> bytes:
        ethertype = Ethertype.IPV4 if group.version == 4 else Ethertype.IPV6
        return payload(router.judge("in", frame(multicast_mac(group), ethertype, inner)).on("p2"), Ethertype.IPV6)

    @pytest.mark.parametrize("group", [G4, G6])
    @pytest.mark.parametrize("depth", range(9))
    def test_one_encapsulation(self, router: Router, group: IPv4Address | IPv6Address, depth: int) -> None:
        path = [sid(k, "C1") for k in range(1, depth + 1)]
        self.head(router, f"sid {DOWN2}" + (f" srh {','.join(map(str, path))}" if path else ""))
        inner = udp_packet(A4 if group.version == 4 else A6, group, 1, 2, b"data")
        sent = self.steer(router, inner, group)
        label = IPv6.decode(sent)[0].flow_label
        assert sent == h_encaps(inner, HEAD, [*path, DOWN2], reduced=True, hop_limit=50, flow_label=label)

    @pytest.mark.parametrize("group", [G4, G6])
    @pytest.mark.parametrize("depth", range(1, 9))
    def test_two_encapsulations(self, router: Router, group: IPv4Address | IPv6Address, depth: int) -> None:
        """The copy for the Replication-SID, then H.Encaps.Red around it, which takes none of its hops again."""
        path = [sid(k, "C1") for k in range(1, depth + 1)]
        self.head(router, f"sid {DOWN2} encaps {','.join(map(str, path))}")
        inner = udp_packet(A4 if group.version == 4 else A6, group, 1, 2, b"data")
        sent = self.steer(router, inner, group)
        label = IPv6.decode(sent)[0].flow_label
        copy = h_encaps(inner, HEAD, [DOWN2], reduced=True, hop_limit=51, flow_label=label)
        assert sent == h_encaps(copy, HEAD, path, reduced=True, hop_limit=50, flow_label=label)

    def test_nine_are_refused(self, router: Router) -> None:
        path = ",".join(str(sid(k, "C1")) for k in range(1, 10))
        for steer in ("encaps", "srh"):
            rows = [*ports(2), "segment 8 head", f"branch 8 0 sid {DOWN2} {steer} {path} nexthop 2"]
            assert router.change("replace", rows)

    def test_traffic_class_and_flow_label(self, router: Router) -> None:
        """RFC 8986 S03, by RFC 6437: one flow, one label."""
        self.head(router, f"sid {DOWN2} encaps {sid(4, 'C7')}")
        labels = set()
        for sport in range(20):
            found = set()
            for size in (0, 100):
                inner = replace(IPv6(A6, G6, 17, traffic_class=0xB9)).encode(
                    udp_packet(A6, G6, sport, 2, bytes(size))[40:]
                )
                around, rest = IPv6.decode(self.steer(router, inner, G6))
                inside, _ = IPv6.decode(rest)
                assert (around.traffic_class, inside.traffic_class) == (0xB9, 0xB9)
                assert around.flow_label == inside.flow_label
                found.add(around.flow_label)
            assert len(found) == 1
            labels |= found
        assert len(labels) > 15

    @pytest.mark.parametrize("depth", range(1, 9))
    def test_a_transit_encapsulates_its_copies(self, router: Router, depth: int) -> None:
        """S06 to S10 of Replicate()."""
        path = [sid(k, "C1") for k in range(1, depth + 1)]
        more = f"branch 7 2 sid {OTHER} encaps {','.join(map(str, path))} nexthop 2"
        router.load(*node("transit", more))
        packet = IPv6(HEAD, MY_SID, Protocol.IPV4, 64, 0xB9, 0xFEDCB).encode(datagram())
        sent = router.judge("p1", arrive(packet)).sent[-1][1]
        copy = IPv6(HEAD, OTHER, Protocol.IPV4, 64, 0xB9, 0xFEDCB).encode(datagram())  # h_encaps takes one hop
        wanted = h_encaps(copy, HEAD, path, reduced=True, hop_limit=50, traffic_class=0xB9, flow_label=0xFEDCB)
        assert payload(sent, Ethertype.IPV6) == wanted

    def test_one_encapsulation_is_the_heads_privilege(self, router: Router) -> None:
        rows = [*ports(2), "segment 7 transit", f"branch 7 0 sid {DOWN2} srh {OTHER} nexthop 2"]
        assert router.change("replace", rows)

    def test_a_head_that_is_reached_by_its_sid(self, router: Router) -> None:
        """It cannot put segments into an encapsulation that it did not make: its own goes around."""
        rows = [f"sid {MY_SID} replicate 8", "segment 8 head", f"branch 8 0 sid {DOWN2} srh {OTHER} nexthop 2"]
        router.load("node source 2001:db8::1 ttl 50", *ports(2), *rows)
        sent = payload(router.judge("p1", arrive(outer())).on("p2"), Ethertype.IPV6)
        copy = outer(dst=DOWN2)
        assert sent == h_encaps(copy, HEAD, [OTHER], reduced=True, hop_limit=50)

    def test_the_inner_hop_limit_ends_here(self, router: Router) -> None:
        self.head(router, f"sid {DOWN2}")
        for hop_limit in (0, 1):
            inner = udp_packet(A6, G6, 1, 2, b"", hop_limit)
            assert router.judge("in", frame(multicast_mac(G6), Ethertype.IPV6, inner)).drops == {"ip-ttl": 1}

    def test_what_an_outer_header_cannot_say(self, router: Router) -> None:
        """A packet whose length does not fit beneath another header is dropped, not sent with another length."""
        self.head(router, f"sid {DOWN2} encaps {sid(4, 'C7')}")
        router.interface("p2", port_mac("", "p2"), 70_000)
        for size, good in ((65_495, True), (65_496, False), (65_535, False)):
            inner = udp_packet(A4, G4, 1, 2, bytes(size - 28))
            outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, inner))
            assert outcome.ports == (["p2"] if good else [])
            assert outcome.drops == ({} if good else {"stack": 1})


class TestEcho:
    """RFC 9524 section 2.2.2."""

    def request(self, dst: IPv6Address = MY_SID, data: bytes = b"ping") -> bytes:
        return Icmpv6Echo(7, 9).encode(data, HEAD, dst)

    def leaf(self, router: Router, *more: str) -> None:
        router.load(*[row.replace("node ", "node fib 3 ") for row in node("leaf context 1", *more)])

    @pytest.mark.parametrize("data", [b"", b"p", b"ping", bytes(range(256)) * 4, b"\xff" * 501])
    def test_reply(self, router: Router, data: bytes) -> None:
        self.leaf(router)
        packet = payload(router.judge("p1", arrive(outer(self.request(data=data), 58))).on("p3"), Ethertype.IPV6)
        header, rest = IPv6.decode(packet)
        assert header == IPv6(MY_SID, HEAD, Protocol.ICMPV6, 50)
        assert Icmpv6Echo.decode(rest, MY_SID, HEAD) == (Icmpv6Echo(7, 9, reply=True), data)

    def test_behind_an_srh(self, router: Router) -> None:
        """In an SRH as the last segment."""
        self.leaf(router)
        srh = Srh(58, (MY_SID, OTHER), 0)
        assert router.judge("p1", with_srh(srh, self.request())).ports == ["p3"]

    def test_summed_up_for_another_leaf(self, router: Router) -> None:
        """Dropped due to an incorrect checksum."""
        self.leaf(router)
        for other in (DOWN2, DOWN3):
            assert router.judge("p1", arrive(outer(self.request(other), 58))).drops == {"checksum": 1}

    def test_a_flipped_bit(self, router: Router) -> None:
        self.leaf(router)
        good = outer(self.request(), 58)
        for at in range(40, len(good)):
            bad = bytearray(good)
            bad[at] ^= 1
            assert router.judge("p1", arrive(bytes(bad))).sent == []

    def test_a_transit_does_not_answer(self, router: Router) -> None:
        router.load(*[row.replace("node ", "node fib 3 ") for row in node("transit")])
        outcome = router.judge("p1", arrive(outer(self.request(), 58)))
        assert outcome.ports == ["p2", "p3"]
        assert {IPv6.decode(data[14:])[0].dst for _, data in outcome.sent} == {DOWN2, DOWN3}

    def test_without_a_way_back(self, router: Router) -> None:
        router.load(*node("leaf context 1"))
        assert router.judge("p1", arrive(outer(self.request(), 58))).drops == {"no-neighbour": 1}

    @pytest.mark.parametrize("source", ["ff0e::1", "ff02::1", "::"])
    def test_nobody_to_answer(self, router: Router, source: str) -> None:
        """RFC 4291 2.5.2 and 2.7: no such source; an answer would go to a group."""
        self.leaf(router)
        src = IPv6Address(source)
        packet = IPv6(src, MY_SID, 58).encode(Icmpv6Echo(7, 9).encode(b"", src, MY_SID))
        assert router.judge("p1", arrive(packet)).sent == []

    def test_a_reply_is_not_answered(self, router: Router) -> None:
        self.leaf(router)
        reply = Icmpv6Echo(7, 9, reply=True).encode(b"", HEAD, MY_SID)
        assert router.judge("p1", arrive(outer(reply, 58))).drops == {"upper-layer": 1}


# -- RFC 9524 appendix A.2 ---------------------------------------------------------------------------------------------

TOPOLOGY = {
    1: [2],
    2: [1, 3, 4, 5],
    3: [2, 6],
    4: [2, 7],
    5: [2, 7],
    6: [3, 7],
    7: [4, 5, 6],
}
VIA = {  # the way to each node: shortest paths, R2 to R7 by R4
    1: dict.fromkeys((2, 3, 4, 5, 6, 7), 2),
    2: {1: 1, 3: 3, 4: 4, 5: 5, 6: 3, 7: 4},
    3: {1: 2, 2: 2, 4: 2, 5: 2, 6: 6, 7: 6},
    4: {1: 2, 2: 2, 3: 2, 5: 2, 6: 7, 7: 7},
    5: {1: 2, 2: 2, 3: 2, 4: 2, 6: 7, 7: 7},
    6: {1: 3, 2: 3, 3: 3, 4: 7, 5: 7, 7: 7},
    7: {1: 4, 2: 4, 3: 6, 4: 4, 5: 5, 6: 6},
}


@dataclass
class Kernel:
    """What the kernel of a node does: routes by locator and loopback, End and End.X with PSP and USD (RFC 8986)."""

    number: int
    taken: list[bytes] = field(default_factory=list)  # packets for its loopback

    def receive(self, port: str, data: bytes) -> Sent:
        header, packet = Ethernet.decode(data)
        if header.ethertype != Ethertype.IPV6 or int(header.dst.split(":")[0], 16) & 1:
            return []
        ip, rest = IPv6.decode(packet)
        if ip.dst == self.loopback(self.number):
            self.taken.append(packet)
            return []
        if ip.hop_limit <= 1:
            return []
        if ip.dst in IPv6Network(f"2001:db8:cccc:{self.number}::/64"):
            return self.endpoint(replace(ip, hop_limit=ip.hop_limit - 1), rest)
        for other, via in VIA[self.number].items():
            if ip.dst == self.loopback(other) or ip.dst in IPv6Network(f"2001:db8:cccc:{other}::/64"):
                return [self.to(via, replace(ip, hop_limit=ip.hop_limit - 1).encode(rest))]
        return []

    def endpoint(self, ip: IPv6, rest: bytes) -> Sent:
        """End.X towards <n> is function Cn; a Replication-SID is a blackhole to the kernel."""
        function = int(ip.dst) >> 48 & 0xFFFF
        if function >> 4 != 0xC:
            return []
        if ip.next_header == Protocol.ROUTING:
            srh, inner = Srh.decode(rest)
            if srh.segments_left > 1:
                srh = replace(srh, segments_left=srh.segments_left - 1)
                onward = replace(ip, dst=srh.segments[srh.segments_left]).encode(srh.encode(inner))
            elif srh.segments_left:  # PSP
                onward = replace(ip, dst=srh.segments[0], next_header=srh.next_header).encode(inner)
            else:
                onward = inner
        else:  # USD
            assert ip.next_header == Protocol.IPV6
            onward = rest
        return [self.to(function & 0xF, onward)]

    def to(self, node: int, packet: bytes) -> tuple[str, bytes]:
        port, back = f"to-R{node}", f"to-R{self.number}"
        src, dst = port_mac(f"R{self.number}", port), port_mac(f"R{node}", back)
        return port, Ethernet(dst, src, Ethertype.IPV6).encode(packet)

    @staticmethod
    def loopback(node: int) -> IPv6Address:
        return IPv6Address(f"2001:db8::{node}")


FIB = 99  # the next hop to the kernel's own routing


class Lab:
    """The seven nodes: a kernel each, and the core beside it where there is a Replication segment."""

    def __init__(self, sim: Sim, segments: dict[int, list[str]]) -> None:
        self.kernels = {number: Kernel(number) for number in TOPOLOGY}
        self.routers: dict[int, Router] = {}
        for number, rows in segments.items():
            neighbours = [f"R{other}" for other in TOPOLOGY[number]]
            self.routers[number] = Router(sim, f"R{number}").load(
                f"node source {Kernel.loopback(number)} fib {FIB}",
                "port kernel",
                f"nexthop {FIB} port kernel mac {OUTSIDE}",
                *links(f"R{number}", neighbours),
                *rows,
            )

    def receive(self, number: int) -> Callable[[str, bytes], Sent]:
        def both(port: str, data: bytes) -> Sent:
            sent = []
            if router := self.routers.get(number):
                sent += router.receive(port, data)
            sent = [copy for out, each in sent for copy in self.hand_over(number, out, each)]
            return sent + (self.kernels[number].receive(port, data) if port != "host" else [])

        return both

    def hand_over(self, number: int, port: str, data: bytes) -> Sent:
        """What the core sends to the kernel's routing, the kernel sends on."""
        return self.kernels[number].receive(port, data) if port == "kernel" else [(port, data)]

    def carry(self, number: int, port: str, data: bytes) -> list[Hop]:
        return carry({f"R{each}": self.receive(each) for each in TOPOLOGY}, f"R{number}", port, data)

    def originate(self, number: int, packet: bytes) -> list[Hop]:
        """A packet of the node's own, by its kernel's routing."""
        ((port, data),) = self.kernels[number].receive("kernel", frame(OUTSIDE, Ethertype.IPV6, packet))
        return self.carry(int(port[4:]), f"to-R{number}", data)


def leaf(number: int) -> list[str]:
    return [
        "port host",
        f"sid {sid(number, f'F{number}')} replicate 1",
        "segment 1 leaf context 9",
        "flow 9 * * port host",
    ]


def root(steer: str) -> list[str]:
    """The printed state has R7's two SIDs the wrong way round: the pseudocode and the walk have F7 as the R-SID."""
    return [
        "port host context 1",
        "flow 1 * * segment 1",
        "segment 1 head",
        f"branch 1 0 sid {sid(2, 'F2')} nexthop {nexthop('R2')}",
        f"branch 1 1 sid {sid(6, 'F6')} nexthop {FIB}",
        f"branch 1 2 sid {sid(7, 'F7')} {steer} {sid(4, 'C7')} nexthop {FIB}",
    ]


class TestAppendix:
    """A.2, hop by hop. The kernel takes one hop from what the core gives it to route."""

    def walk(self, sim: Sim, steer: str) -> list[Hop]:
        lab = Lab(sim, {1: root(steer), 2: leaf(2), 6: leaf(6), 7: leaf(7)})
        return lab.carry(1, "host", frame(multicast_mac(G4), Ethertype.IPV4, datagram()))

    @pytest.mark.parametrize("steer", ["encaps", "srh"])
    def test_walk(self, sim: Sim, steer: str) -> None:
        hops = self.walk(sim, steer)
        assert delivered(hops) == {"R2": 1, "R6": 1, "R7": 1}
        label = IPv6.decode(hops[0].frame[14:])[0].flow_label

        def to(dst: IPv6Address, hop_limit: int, inner: bytes = b"", next_header: int = Protocol.IPV4) -> bytes:
            return IPv6(HEAD, dst, next_header, hop_limit, 0, label).encode(inner or datagram(63))

        c7, f7 = sid(4, "C7"), sid(7, "F7")
        if steer == "encaps":
            seventh = [
                ("R1", "R2", to(c7, 63, to(f7, 64), Protocol.IPV6)),
                ("R2", "R4", to(c7, 62, to(f7, 64), Protocol.IPV6)),
                ("R4", "R7", to(f7, 64)),
            ]
        else:
            srh = Srh(Protocol.IPV4, (f7,), 1).encode(datagram(63))
            seventh = [
                ("R1", "R2", to(c7, 63, srh, Protocol.ROUTING)),
                ("R2", "R4", to(c7, 62, srh, Protocol.ROUTING)),
                ("R4", "R7", to(f7, 61)),
            ]
        wanted = [
            ("R1", "R2", to(sid(2, "F2"), 64)),
            ("R1", "R2", to(sid(6, "F6"), 63)),
            ("R2", "R3", to(sid(6, "F6"), 62)),
            ("R3", "R6", to(sid(6, "F6"), 61)),
            *seventh,
        ]
        found = [(hop.router, hop.to, payload(hop.frame, Ethertype.IPV6)) for hop in hops if hop.to]
        assert sorted(found) == sorted(wanted)
        for hop in hops:
            if not hop.to:
                assert payload(hop.frame, Ethertype.IPV4) == datagram(62)

    def test_loose_and_pinned(self, sim: Sim) -> None:
        """The branch to R2 is bound to its link, that to R6 follows the routing."""
        lab = Lab(sim, {1: root("srh"), 2: leaf(2), 6: leaf(6), 7: leaf(7)})
        lab.routers[1].interface("to-R2", port_mac("R1", "to-R2"), state="down")
        hops = lab.carry(1, "host", frame(multicast_mac(G4), Ethertype.IPV4, datagram()))
        assert delivered(hops) == {"R6": 1, "R7": 1}


class TestPings:
    """A.2.1."""

    def lab(self, sim: Sim) -> Lab:
        """R4 is a transit replication node to R6 and R7."""
        transit = [
            f"sid {sid(4, 'F4')} replicate 1",
            "segment 1 transit",
            f"branch 1 0 sid {sid(6, 'F6')} nexthop {nexthop('R7')}",
            f"branch 1 1 sid {sid(7, 'F7')} nexthop {nexthop('R7')}",
        ]
        return Lab(sim, {4: transit, 6: leaf(6), 7: leaf(7)})

    def answers(self, lab: Lab) -> list[tuple[IPv6Address, Icmpv6Echo, bytes]]:
        found = []
        for packet in lab.kernels[1].taken:
            header, rest = IPv6.decode(packet)
            found.append((header.src, *Icmpv6Echo.decode(rest, header.src, header.dst)))
        return found

    def request(self, leaf: IPv6Address) -> bytes:
        return Icmpv6Echo(5, 6).encode(b"ping", HEAD, leaf)

    def test_a_leaf_directly(self, sim: Sim) -> None:
        lab = self.lab(sim)
        f6 = sid(6, "F6")
        lab.originate(1, IPv6(HEAD, f6, Protocol.ICMPV6).encode(self.request(f6)))
        assert self.answers(lab) == [(f6, Icmpv6Echo(5, 6, reply=True), b"ping")]

    def test_a_leaf_by_a_segment(self, sim: Sim) -> None:
        lab = self.lab(sim)
        c7, f7 = sid(4, "C7"), sid(7, "F7")
        inner = Srh(Protocol.ICMPV6, (f7,), 1).encode(self.request(f7))
        hops = lab.originate(1, IPv6(HEAD, c7, Protocol.ROUTING).encode(inner))
        assert payload(hops[1].frame, Ethertype.IPV6) == IPv6(HEAD, f7, 58, 61).encode(self.request(f7))
        assert self.answers(lab) == [(f7, Icmpv6Echo(5, 6, reply=True), b"ping")]

    @pytest.mark.parametrize("answering", [6, 7])
    def test_a_leaf_by_a_transit_replication_sid(self, sim: Sim, answering: int) -> None:
        """R4 replaces the destination; the other leaf receives it too and drops it, due to its checksum."""
        lab = self.lab(sim)
        leaf = sid(answering, f"F{answering}")
        before = {k: lab.routers[k].state()["drops"].get("checksum", 0) for k in (6, 7)}
        hops = lab.originate(1, IPv6(HEAD, sid(4, "F4"), Protocol.ICMPV6).encode(self.request(leaf)))
        assert {(hop.router, hop.to) for hop in hops} >= {("R2", "R4"), ("R4", "R7"), ("R7", "R6")}
        assert self.answers(lab) == [(leaf, Icmpv6Echo(5, 6, reply=True), b"ping")]
        after = {k: lab.routers[k].state()["drops"].get("checksum", 0) for k in (6, 7)}
        assert {k: after[k] - before[k] for k in (6, 7)} == {answering: 0, 13 - answering: 1}


class TestLoops:
    def test_a_loop_ends_by_hop_limit(self, sim: Sim) -> None:
        """RFC 9524 section 4. With a threshold, it ends sooner."""
        for threshold, last in ((0, 2), (10, 10)):
            routers = {}
            for name, other in (("R1", "R2"), ("R2", "R1")):
                rows = [f"sid {MY_SID} replicate 1", f"segment 1 bud context 2 threshold {threshold}"]
                rows += [f"branch 1 0 sid {MY_SID} nexthop {nexthop(other)}", "port host", "flow 2 * * port host"]
                routers[name] = Router(sim, name).load(*links(name, [other]), *rows)
            data = frame(port_mac("R1", "to-R2"), Ethertype.IPV6, outer(hop_limit=20))
            hops = carry({name: each.receive for name, each in routers.items()}, "R1", "to-R2", data)
            limits = [IPv6.decode(hop.frame[14:])[0].hop_limit for hop in hops if hop.to]
            assert limits == list(range(19, last - 2, -1))
            assert sum(delivered(hops).values()) == len(limits)


def test_the_reference_refuses_what_the_core_drops() -> None:
    """The independent encapsulation used above decrements as the core does."""
    with pytest.raises(PacketError):
        h_encaps(udp_packet(A4, G4, 1, 2, ttl=1), HEAD, [DOWN2])
    assert IPv4.decode(IPv6.decode(h_encaps(datagram(), HEAD, [DOWN2], reduced=True))[1])[0].ttl == 63
