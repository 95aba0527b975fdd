"""The forwarder's core as an SR-MPLS router with Replication segments: RFC 9524 section 2.1 and appendix A.1."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_sim import (
    Hop,
    Router,
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
    IPv4,
    IPv6,
    LabelStackEntry,
    Protocol,
    Udp,
    decode_stack,
    encode_stack,
    multicast_mac,
    udp_packet,
)

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
ME = port_mac("", "p1")


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


@pytest.fixture
def router(sim: Sim) -> Router:
    return Router(sim, "")


def datagram(ttl: int = 64) -> bytes:
    return udp_packet(A4, G4, 1, 2, b"data", ttl)


def labelled(*entries: int | LabelStackEntry, ttl: int = 64, tc: int = 0, inner: bytes | None = None) -> bytes:
    """A frame for p1 of the lone router. Labels are entries with `ttl` and `tc`, the last one the bottom."""
    stack = [
        each if isinstance(each, LabelStackEntry) else LabelStackEntry(each, tc, int(k + 1 == len(entries)), ttl)
        for k, each in enumerate(entries)
    ]
    return frame(ME, Ethertype.MPLS, encode_stack(stack, datagram() if inner is None else inner))


def stack(data: bytes) -> list[tuple[int, int]]:
    """Labels and TTLs of a frame, top first."""
    return [(entry.label, entry.ttl) for entry in decode_stack(payload(data, Ethertype.MPLS))[0]]


def labels(data: bytes) -> list[int]:
    return [label for label, _ in stack(data)]


LOCAL = ["port host", "flow 1 * * port host"]


class TestLabels:
    """CONTINUE and NEXT (RFC 8402 section 3.1), with the pipe model's TTLs (RFC 3443 section 3.2)."""

    def test_continue(self, router: Router) -> None:
        router.load(*ports(2), "label 16 swap 1048575 nexthop 2")
        outcome = router.judge("p1", labelled(16, 99, ttl=9, tc=5))
        below = encode_stack([LabelStackEntry(99, 5, 1, 9)], datagram())
        wanted = LabelStackEntry(1048575, 5, 0, 8).encode(below)
        assert outcome.sent == [("p2", frame(peer_mac(2), Ethertype.MPLS, wanted, src=port_mac("", "p2")))]
        assert decode_stack(payload(router.receive("p1", labelled(16))[0][1], Ethertype.MPLS)) == (
            (LabelStackEntry(1048575, 0, 1, 63),),
            datagram(),
        )

    def test_next_towards_a_neighbour(self, router: Router) -> None:
        """Penultimate hop popping or an adjacency segment: what is below goes on as it is."""
        router.load(*ports(2), "label 16 pop nexthop 2")
        outcome = router.judge("p1", labelled(16, LabelStackEntry(99, 3, 1, 5)))
        assert payload(outcome.on("p2"), Ethertype.MPLS) == LabelStackEntry(99, 3, 1, 5).encode(datagram())

    @pytest.mark.parametrize(
        ("inner", "ethertype"),
        [(udp_packet(A4, G4, 1, 2), Ethertype.IPV4), (udp_packet(A6, G6, 1, 2), Ethertype.IPV6)],
        ids=["IPv4", "IPv6"],
    )
    def test_next_of_the_last_label(self, router: Router, inner: bytes, ethertype: Ethertype) -> None:
        router.load(*ports(2), "label 16 pop nexthop 2")
        assert payload(router.judge("p1", labelled(16, inner=inner)).on("p2"), ethertype) == inner

    @pytest.mark.parametrize("inner", [b"", b"\x50\x00\x00\x00", b"\x00" * 60])
    def test_next_of_the_last_label_of_what_is_no_ip(self, router: Router, inner: bytes) -> None:
        router.load(*ports(2), "label 16 pop nexthop 2")
        outcome = router.judge("p1", labelled(16, inner=inner))
        assert (outcome.sent, outcome.drops) == ([], {"label-bottom": 1})

    def test_next_here(self, router: Router) -> None:
        """The own node SID without penultimate hop popping, then any other label of this router."""
        router.load(*ports(2), *LOCAL, "label 16 pop", "label 17 pop context 1", "label 18 swap 19 nexthop 2")
        assert labels(router.judge("p1", labelled(16, 18)).on("p2")) == [19]
        assert labels(router.judge("p1", labelled(16, 16, 16, 18, 30)).on("p2")) == [19, 30]
        assert payload(router.judge("p1", labelled(16, 17)).on("host"), Ethertype.IPV4) == datagram(63)
        assert router.judge("p1", labelled(16)).drops == {"no-flow": 1}

    @pytest.mark.parametrize("ttl", [0, 1])
    @pytest.mark.parametrize("operation", ["swap 99 nexthop 2", "pop nexthop 2"])
    def test_no_hop_left(self, router: Router, operation: str, ttl: int) -> None:
        router.load(*ports(2), f"label 16 {operation}")
        outcome = router.judge("p1", labelled(16, LabelStackEntry(99, 0, 1, 64), ttl=ttl))
        assert (outcome.sent, outcome.drops) == ([], {"label-ttl": 1})

    def test_the_last_hop(self, router: Router) -> None:
        """A TTL of 1 is enough to arrive; 0 is not."""
        router.load(*ports(1), *LOCAL, "label 17 pop context 1")
        assert router.judge("p1", labelled(17, ttl=1)).ports == ["host"]
        assert router.judge("p1", labelled(17, ttl=0)).drops == {"label-ttl": 1}

    @pytest.mark.parametrize("label", [0, 1, 2, 3, 7, 13, 14, 15, 17, 1048575])
    def test_unknown(self, router: Router, label: int) -> None:
        router.load(*ports(2), "label 16 pop")
        assert router.judge("p1", labelled(label)).drops == {"label-unknown": 1}
        assert router.judge("p1", labelled(16, label)).drops == {"label-unknown": 1}

    def test_only_from_the_transport(self, router: Router) -> None:
        """RFC 9524 section 4: no labels from external interfaces."""
        router.load("port p1", *ports(2)[1:], "label 16 swap 17 nexthop 2")
        assert router.judge("p1", labelled(16)).drops == {"not-transport": 1}


class TestReplication:
    """RFC 9524 section 2.1."""

    ROWS = ("label 100 replicate 7", "branch 7 0 labels 200 nexthop 2", "branch 7 1 labels 300,301,302 nexthop 3")

    def test_transit(self, router: Router) -> None:
        """POP, then PUSH of the downstream Replication-SID and the segments before it, to each."""
        router.load("node ttl 99", *ports(3), *self.ROWS, "segment 7 transit")
        outcome = router.judge("p1", labelled(100, ttl=9, tc=6))
        assert outcome.ports == ["p2", "p3"]
        for port, wanted in (
            ("p2", [LabelStackEntry(200, 6, 1, 8)]),
            ("p3", [LabelStackEntry(300, 6, 0, 99), LabelStackEntry(301, 6, 0, 99), LabelStackEntry(302, 6, 1, 8)]),
        ):
            found, inner = decode_stack(payload(outcome.on(port), Ethertype.MPLS))
            assert list(found) == wanted
            assert inner == datagram()

    def test_bud(self, router: Router) -> None:
        router.load(*ports(3), *LOCAL, *self.ROWS, "segment 7 bud context 1")
        outcome = router.judge("p1", labelled(100))
        assert outcome.ports == ["p2", "p3", "host"]
        assert payload(outcome.on("host"), Ethertype.IPV4) == datagram(63)
        (segment,) = router.state()["segments"]
        assert segment["in"]["packets"] == segment["delivered"]["packets"] == 1
        assert [branch["sent"]["packets"] for branch in segment["branches"]] == [1, 1]

    def test_leaf(self, router: Router) -> None:
        router.load(*ports(1), *LOCAL, "label 100 replicate 7", "segment 7 leaf context 1")
        outcome = router.judge("p1", labelled(100))
        assert outcome.ports == ["host"]
        assert not outcome.drops

    def test_a_leaf_has_no_branches(self, router: Router) -> None:
        assert router.change("replace", [*ports(3), *self.ROWS, "segment 7 leaf"])

    def test_a_segment_without_branches(self, router: Router) -> None:
        router.load(*ports(1), "label 100 replicate 7", "segment 7 transit")
        assert router.judge("p1", labelled(100)).drops == {"no-branch": 1}

    @pytest.mark.parametrize(
        ("ttl", "out", "drops"),
        [(0, [], {"label-ttl": 1}), (1, ["host"], {"label-ttl": 1}), (2, ["p2", "p3", "host"], {})],
    )
    def test_the_ttl_of_a_bud(self, router: Router, ttl: int, out: list[str], drops: dict[str, int]) -> None:
        """As with BIER, 1 is enough for who is reached."""
        router.load(*ports(3), *LOCAL, *self.ROWS, "segment 7 bud context 1")
        outcome = router.judge("p1", labelled(100, ttl=ttl))
        assert outcome.ports == out
        assert outcome.drops == drops

    def test_behind_the_own_node_sid(self, router: Router) -> None:
        """2.1, first bullet: SIDs before the Replication-SID guide the packet here."""
        router.load(*ports(3), *self.ROWS, "segment 7 transit", "label 16 pop")
        assert router.judge("p1", labelled(16, 100)).ports == ["p2", "p3"]

    def test_a_downstream_node_down_does_not_hold_up_the_others(self, router: Router) -> None:
        router.load(*ports(3), *self.ROWS, "segment 7 transit")
        router.interface("p2", port_mac("", "p2"), state="down")
        outcome = router.judge("p1", labelled(100))
        assert outcome.ports == ["p3"]
        assert outcome.drops == {"port-down": 1}

    def test_more_branches_than_the_core_holds_copies(self, router: Router) -> None:
        rows = [f"branch 7 {k} labels {1000 + k} nexthop 2" for k in range(50)]
        router.load(*ports(2), "label 100 replicate 7", "segment 7 transit", *rows)
        outcome = router.judge("p1", labelled(100))
        assert [labels(data) for _, data in outcome.sent] == [[1000 + k] for k in range(50)]


class TestContext:
    """2.1, fourth bullet: SIDs after the Replication-SID are for leaves and buds."""

    ROWS = (
        "port a",
        "port b",
        "flow 1 * * port a",
        "flow 2 * * port b",
        "label 100 replicate 7",
        "label 500 pop context 2",
    )

    def test_leaf(self, router: Router) -> None:
        router.load(*ports(1), *self.ROWS, "segment 7 leaf context 1")
        assert router.judge("p1", labelled(100)).ports == ["a"]
        outcome = router.judge("p1", labelled(100, 500))
        assert outcome.ports == ["b"]
        assert payload(outcome.on("b"), Ethertype.IPV4) == datagram(63)

    def test_bud_and_transit_pass_it_on(self, router: Router) -> None:
        for role, out in (("bud context 1", ["p2", "b"]), ("transit", ["p2"])):
            router.load(*ports(2), *self.ROWS, f"segment 7 {role}", "branch 7 0 labels 200,201 nexthop 2")
            outcome = router.judge("p1", labelled(100, LabelStackEntry(500, 2, 1, 33)))
            assert outcome.ports == out
            found, inner = decode_stack(payload(outcome.on("p2"), Ethertype.MPLS))
            assert [(entry.label, entry.s) for entry in found] == [(200, 0), (201, 0), (500, 1)]
            assert found[2] == LabelStackEntry(500, 2, 1, 33)
            assert inner == datagram()

    def test_unknown_to_a_leaf(self, router: Router) -> None:
        router.load(*ports(1), *self.ROWS, "segment 7 leaf context 1")
        outcome = router.judge("p1", labelled(100, 501))
        assert (outcome.sent, outcome.drops) == ([], {"label-unknown": 1})

    def test_no_amplification(self, router: Router) -> None:
        """RFC 9524 section 4: nobody gains from a stack of Replication-SIDs."""
        rows = ["segment 7 bud context 1", "branch 7 0 labels 200 nexthop 2", "bift mpls 600 bsl 64"]
        router.load(*ports(2), *self.ROWS, *rows, "path mpls 600 0 0 fbm 1 nexthop 2")
        for below in (100, 600):
            outcome = router.judge("p1", labelled(100, below, inner=bytes(60)))
            assert outcome.ports == ["p2"]
            assert outcome.drops == {"segments-left": 1}


class TestHead:
    def test_push(self, router: Router) -> None:
        """A packet that is steered in gets the Replication-SID, and before it the segments of the branch."""
        header = IPv4(A4, G4, Protocol.UDP, tos=0b10111000)
        router.load(
            "node ttl 77",
            *ports(2),
            "port in context 1",
            "flow 1 * * segment 7",
            "segment 7 head",
            "branch 7 0 labels 200 nexthop 1",
            "branch 7 1 labels 300,301 nexthop 2",
        )
        inner = header.encode(Udp(1, 2).encode(b"", A4, G4))
        outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, inner))
        assert outcome.ports == ["p1", "p2"]
        assert stack(outcome.on("p1")) == [(200, 77)]
        assert stack(outcome.on("p2")) == [(300, 77), (301, 77)]
        for _, data in outcome.sent:
            found, rest = decode_stack(payload(data, Ethertype.MPLS))
            assert {entry.tc for entry in found} == {0b101}
            assert IPv4.decode(rest)[0].ttl == 63
            assert rest[20:] == inner[20:]

    def test_ipv6(self, router: Router) -> None:
        header = IPv6(A6, G6, Protocol.UDP, traffic_class=0b01100000)
        inner = header.encode(Udp(1, 2).encode(b"", A6, G6))
        rows = ["flow 1 * * segment 7", "segment 7 head", "branch 7 0 labels 200 nexthop 1"]
        router.load(*ports(1), "port in context 1", *rows)
        found, rest = decode_stack(router.judge("in", frame(multicast_mac(G6), Ethertype.IPV6, inner)).on("p1")[14:])
        assert found == (LabelStackEntry(200, 0b011, 1, 64),)
        assert IPv6.decode(rest) == (
            IPv6(A6, G6, Protocol.UDP, 63, 0b01100000),
            Udp(1, 2).encode(b"", A6, G6),
        )

    @pytest.mark.parametrize("depth", range(1, 9))
    def test_any_depth_up_to_eight(self, router: Router, depth: int) -> None:
        wanted = list(range(200, 200 + depth))
        branch = f"branch 7 0 labels {','.join(map(str, wanted))} nexthop 1"
        rows = ["flow 1 * * segment 7", "segment 7 bud context 2", "label 100 replicate 7", branch]
        router.load(*ports(1), "port in context 1", *rows)
        for port, data in (("in", frame(multicast_mac(G4), Ethertype.IPV4, datagram())), ("p1", labelled(100))):
            entries, inner = decode_stack(router.judge(port, data).on("p1")[14:])
            assert [entry.label for entry in entries] == wanted
            assert inner[20:] == datagram()[20:]

    def test_nine_are_refused(self, router: Router) -> None:
        rows = [*ports(1), "segment 7 head", f"branch 7 0 labels {','.join(['200'] * 9)} nexthop 1"]
        assert router.change("replace", rows)

    def test_ingress_replication(self, router: Router) -> None:
        """RFC 9524 section 1.2: one segment whose downstream nodes are all of the leaves."""
        rows = [f"branch 7 {k} labels {16000 + k},{17000 + k} nexthop {1 + k % 2}" for k in range(20)]
        router.load(*ports(2), "port in context 1", "flow 1 * * segment 7", "segment 7 head", *rows)
        outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, datagram()))
        assert [labels(data) for _, data in outcome.sent] == [[16000 + k, 17000 + k] for k in range(20)]

    def test_the_domains_mtu(self, router: Router) -> None:
        rows = ["flow 1 * * segment 7", "segment 7 head mtu 100", "branch 7 0 labels 200 nexthop 1"]
        router.load(*ports(1), "port in context 1", *rows)
        for size, good in ((100, True), (101, False)):
            inner = udp_packet(A4, G4, 1, 2, bytes(size - 28))
            outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, inner))
            assert bool(outcome.sent) == good
            assert outcome.drops == ({} if good else {"ingress-mtu": 1})

    def test_a_binding_segment(self, router: Router) -> None:
        """RFC 9524 section 2: the head's own Replication-SID as the active segment steers as well."""
        rows = ["label 100 replicate 7", "segment 7 head", "branch 7 0 labels 200 nexthop 2"]
        router.load(*ports(2), *rows)
        assert stack(router.judge("p1", labelled(100, ttl=9)).on("p2")) == [(200, 8)]


class TestLoose:
    """A branch without a next hop goes where the router's own label for its first segment goes."""

    def branch(self, router: Router, labels: str, *rows: str) -> None:
        router.load(*ports(3), "label 100 replicate 7", "segment 7 transit", f"branch 7 0 labels {labels}", *rows)

    def test_it_follows_the_igp(self, router: Router) -> None:
        self.branch(router, "16006,17006", "label 16006 swap 26006 nexthop 2")
        assert stack(router.judge("p1", labelled(100, ttl=9)).on("p2")) == [(26006, 64), (17006, 8)]
        assert router.change("update", ["label 16006 swap 36006 nexthop 3"]) == []
        assert stack(router.judge("p1", labelled(100, ttl=9)).on("p3")) == [(36006, 64), (17006, 8)]

    def test_the_penultimate_hop_does_not_push_it(self, router: Router) -> None:
        self.branch(router, "16006,17006", "label 16006 pop nexthop 3")
        assert stack(router.judge("p1", labelled(100, ttl=9)).on("p3")) == [(17006, 8)]

    @pytest.mark.parametrize(
        "rows",
        [
            (),
            ("label 16006 pop",),
            ("label 16006 pop context 3",),
            ("label 16006 replicate 8", "segment 8 leaf context 1"),
            ("label 16007 swap 1000 nexthop 2",),
            ("bift mpls 16006 bsl 64",),
        ],
    )
    def test_nowhere(self, router: Router, rows: tuple[str, ...]) -> None:
        self.branch(router, "16006,17006", *rows)
        outcome = router.judge("p1", labelled(100))
        assert (outcome.sent, outcome.drops) == ([], {"loose": 1})

    def test_the_replication_sid_is_not_popped(self, router: Router) -> None:
        self.branch(router, "16006", "label 16006 pop nexthop 2")
        assert router.judge("p1", labelled(100)).drops == {"loose": 1}

    def test_pinned(self, router: Router) -> None:
        """With a next hop the own labels do not matter, and the branch dies with its link."""
        router.load(
            *ports(3),
            "label 100 replicate 7",
            "segment 7 transit",
            "branch 7 0 labels 16006,17006 nexthop 2",
            "label 16006 swap 26006 nexthop 3",
        )
        assert labels(router.judge("p1", labelled(100)).on("p2")) == [16006, 17006]
        router.interface("p2", port_mac("", "p2"), state="down")
        assert router.judge("p1", labelled(100)).drops == {"port-down": 1}


# -- RFC 9524 appendix A.1 ---------------------------------------------------------------------------------------------

TOPOLOGY = {
    "R1": ["R2"],
    "R2": ["R1", "R3", "R4", "R5"],
    "R3": ["R2", "R6"],
    "R4": ["R2", "R7"],
    "R5": ["R2", "R7"],
    "R6": ["R3", "R7"],
    "R7": ["R4", "R5", "R6"],
}


def node_sid(node: int, at: str) -> int:
    """N-SID of a node as another one's label: every node has a label block of its own."""
    return 16000 + 100 * int(at[1:]) + node


def replication_sid(node: int) -> int:
    return 17000 + node


ADJACENCY_47 = 24047


@pytest.fixture
def appendix(sim: Sim) -> dict[str, Router]:
    def path(at: str, node: int, via: str, last: bool) -> str:
        operation = "pop" if last else f"swap {node_sid(node, via)}"
        return f"label {node_sid(node, at)} {operation} nexthop {nexthop(via)}"

    def leaf(node: int) -> list[str]:
        return ["port host", f"label {replication_sid(node)} replicate 1", "segment 1 leaf context 9", *deliver]

    deliver = ["flow 9 * * port host"]
    rows = {
        "R1": [
            "port host context 1",
            "flow 1 * * segment 1",
            "segment 1 head",
            f"branch 1 0 labels {replication_sid(2)} nexthop {nexthop('R2')}",
            f"branch 1 1 labels {node_sid(6, 'R1')},{replication_sid(6)}",
            f"branch 1 2 labels {node_sid(4, 'R1')},{ADJACENCY_47},{replication_sid(7)}",
            path("R1", 4, "R2", False),
            path("R1", 6, "R2", False),
        ],
        "R2": [*leaf(2), path("R2", 4, "R4", True), path("R2", 6, "R3", False)],
        "R3": [path("R3", 6, "R6", True)],
        "R4": [f"label {ADJACENCY_47} pop nexthop {nexthop('R7')}"],
        "R5": [],
        "R6": leaf(6),
        "R7": leaf(7),
    }
    return {
        name: Router(sim, name).load(*links(name, neighbours), *rows[name]) for name, neighbours in TOPOLOGY.items()
    }


def walk(routers: dict[str, Router]) -> list[Hop]:
    data = frame(multicast_mac(G4), Ethertype.IPV4, datagram())
    return carry({name: each.receive for name, each in routers.items()}, "R1", "host", data)


class TestAppendix:
    def test_walk(self, appendix: dict[str, Router]) -> None:
        """Every frame of A.1, its stack and the TTLs in it.

        The RFC has the copy for R7 arrive at R4 with <A-SID47, R-SID1>: every other line of it says R-SID7.
        """
        hops = walk(appendix)
        found = [(hop.router, hop.to, stack(hop.frame)) for hop in hops if hop.to]
        r2, r6, r7 = map(replication_sid, (2, 6, 7))
        assert sorted(found) == sorted(
            [
                ("R1", "R2", [(r2, 64)]),
                ("R1", "R2", [(node_sid(6, "R2"), 64), (r6, 64)]),
                ("R2", "R3", [(node_sid(6, "R3"), 63), (r6, 64)]),
                ("R3", "R6", [(r6, 64)]),
                ("R1", "R2", [(node_sid(4, "R2"), 64), (ADJACENCY_47, 64), (r7, 64)]),
                ("R2", "R4", [(ADJACENCY_47, 64), (r7, 64)]),
                ("R4", "R7", [(r7, 64)]),
            ]
        )
        assert delivered(hops) == {"R2": 1, "R6": 1, "R7": 1}
        for hop in hops:
            if hop.to:
                assert decode_stack(hop.frame[14:])[1] == datagram(63)
                wanted = Ethernet(
                    port_mac(hop.to, f"to-{hop.router}"), port_mac(hop.router, f"to-{hop.to}"), Ethertype.MPLS
                )
                assert Ethernet.decode(hop.frame)[0] == wanted
            else:
                assert payload(hop.frame, Ethertype.IPV4) == datagram(62)

    def test_the_loose_branches_follow_a_new_path(self, appendix: dict[str, Router]) -> None:
        """R2-R3 fails: R2 and R5 lead to R6 another way. The tree's rows are the same."""
        update = appendix["R2"].change("update", [f"label {node_sid(6, 'R2')} swap {node_sid(6, 'R5')} nexthop 5"])
        update += appendix["R5"].change("update", [f"label {node_sid(6, 'R5')} swap {node_sid(6, 'R7')} nexthop 7"])
        update += appendix["R7"].change("update", [f"label {node_sid(6, 'R7')} pop nexthop 6"])
        assert update == []
        hops = walk(appendix)
        assert delivered(hops) == {"R2": 1, "R6": 1, "R7": 1}
        assert [hop.router for hop in hops if hop.to == "R6"] == ["R7"]

    def test_the_pinned_branch_dies_with_its_link(self, appendix: dict[str, Router]) -> None:
        appendix["R4"].interface("to-R7", port_mac("R4", "to-R7"), state="down")
        assert delivered(walk(appendix)) == {"R2": 1, "R6": 1}


class TestLoops:
    def test_a_loop_ends_by_ttl(self, sim: Sim) -> None:
        """RFC 9524 section 4: segments that lead into each other storm until the TTL is gone, and no longer."""
        routers = {}
        for name, other in (("R1", "R2"), ("R2", "R1")):
            rows = [
                *links(name, [other]),
                "port host context 1",
                "flow 1 * * segment 1",
                "flow 2 * * port host",
                "label 100 replicate 1",
                "segment 1 bud context 2",
                f"branch 1 0 labels 100 nexthop {nexthop(other)}",
            ]
            routers[name] = Router(sim, name).load("node ttl 20", *rows)
        hops = walk(routers)
        assert [stack(hop.frame)[0][1] for hop in hops if hop.to] == list(range(20, 0, -1))

    def test_each_replication_takes_one(self, sim: Sim) -> None:
        """A chain of buds: what a node further down receives has one less."""
        chain = [f"R{k}" for k in range(1, 7)]
        routers = {}
        for before, name, after in zip([None, *chain], chain, [*chain[1:], None], strict=False):
            rows = [*links(name, filter(None, (before, after))), "port host context 1", "flow 1 * * segment 1"]
            role = "head" if not before else "leaf context 2" if not after else "bud context 2"
            rows += [f"segment 1 {role}", "flow 2 * * port host", "label 100 replicate 1"]
            if after:
                rows.append(f"branch 1 0 labels 100 nexthop {nexthop(after)}")
            routers[name] = Router(sim, name).load(*rows)
        hops = walk(routers)
        assert [stack(hop.frame) for hop in hops if hop.to] == [[(100, 64 - k)] for k in range(5)]
        assert delivered(hops) == dict.fromkeys(chain[1:], 1)
