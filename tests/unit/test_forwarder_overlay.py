"""The edges of the trees: which flow an IP multicast packet is of, where it goes, and what is done to it on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import pytest
from forwarder_sim import (
    HOST,
    OUTSIDE,
    Outcome,
    Router,
    Sim,
    frame,
    peer_mac,
    port_mac,
    ports,
    running,
)

from testbed.packet import (
    Bier,
    BitString,
    Ethernet,
    Ethertype,
    IPv4,
    IPv6,
    Protocol,
    Udp,
    multicast_mac,
    udp_packet,
)
from testbed.packet.checksum import internet_checksum, pseudo_header

A4, B4, G4, H4 = map(IPv4Address, ("192.0.2.1", "192.0.2.2", "232.1.2.3", "239.200.7.9"))
A6, B6, G6, H6 = map(IPv6Address, ("2001:db8::1", "2001:db8::2", "ff3e::8000:1", "ff0e:1:2:3:4:5:6:7"))
TCP = 6


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


@pytest.fixture
def router(sim: Sim) -> Router:
    return Router(sim, "")


Address = IPv4Address | IPv6Address


def multicast(inner: bytes, group: Address) -> bytes:
    ethertype = Ethertype.IPV4 if group.version == 4 else Ethertype.IPV6
    return frame(multicast_mac(group), ethertype, inner)


def packet(src: Address, group: Address, ttl: int = 64, data: bytes = b"data") -> bytes:
    return multicast(udp_packet(src, group, 1, 2, data, ttl), group)


class TestLookup:
    @pytest.mark.parametrize(("src", "other", "group", "second"), [(A4, B4, G4, H4), (A6, B6, G6, H6)])
    def test_most_specific_first(
        self, router: Router, src: Address, other: Address, group: Address, second: Address
    ) -> None:
        """(S,G) before (*,G) before (*,*); each says all there is to say."""
        sg, g, any_ = (f"flow 1 {src} {group} port a", f"flow 1 * {group} port b", "flow 1 * * port c")
        names = ["port in context 1", "port a", "port b", "port c"]
        for rows, wanted in (
            ((sg, g, any_), "abc"),
            ((g, any_), "bbc"),
            ((sg, any_), "acc"),
            ((any_,), "ccc"),
            ((sg, g), "ab-"),
            ((sg,), "a--"),
        ):
            router.load(*names, *rows)
            cases = [(src, group), (other, group), (src, second)]
            for (source, to), port in zip(cases, wanted, strict=True):
                outcome = router.judge("in", packet(source, to))
                assert outcome.ports == ([] if port == "-" else [port])
                assert outcome.drops == ({"no-flow": 1} if port == "-" else {})

    def test_an_empty_flow_hides_the_wider_one(self, router: Router) -> None:
        router.load("port in context 1", "port a", f"flow 1 {A4} {G4}", "flow 1 * * port a")
        assert router.judge("in", packet(A4, G4)) == Outcome([])
        assert router.judge("in", packet(B4, G4)).ports == ["a"]

    def test_families_do_not_mix(self, router: Router) -> None:
        """The octets of 232.1.2.3 as the beginning of an IPv6 group, say."""
        twin = IPv6Address(G4.packed + bytes(12))
        router.load("port in context 1", "port a", "port b", f"flow 1 * {G4} port a", f"flow 1 * {G6} port b")
        assert router.judge("in", packet(A4, G4)).ports == ["a"]
        assert router.judge("in", packet(A6, G6)).ports == ["b"]
        assert router.judge("in", frame(multicast_mac(G6), 0x86DD, udp_packet(A6, twin, 1, 2))).drops == {
            "ip-not-multicast": 1
        }

    def test_contexts_do_not_mix(self, router: Router) -> None:
        router.load("port i1 context 1", "port i2 context 2", "port i3 context 3", "port i4", "port a", "port b",
                    f"flow 1 * {G4} port a", f"flow 2 * {G4} port b")  # fmt: skip
        assert router.judge("i1", packet(A4, G4)).ports == ["a"]
        assert router.judge("i2", packet(A4, G4)).ports == ["b"]
        assert router.judge("i3", packet(A4, G4)).drops == {"no-flow": 1}
        assert router.judge("i4", packet(A4, G4)) == Outcome([])

    def test_every_action(self, router: Router) -> None:
        router.load(
            *ports(2),
            *("port in context 1", "port a", "port b"),
            "bift ethernet 100 bsl 64 bfr-id 1",
            "path ethernet 100 0 0 fbm 2 nexthop 1",
            "segment 7 head",
            "branch 7 0 labels 200 nexthop 2",
            "flow 1 * * port b segment 7 port a bier ethernet 100 2",
        )
        outcome = router.judge("in", packet(A4, G4))
        assert sorted(outcome.ports) == ["a", "b", "p1", "p2"]
        (flow, _) = router.state()["flows"]
        assert flow["in"]["packets"] == 1
        assert [action["sent"]["packets"] for action in flow["actions"]] == [1, 1, 1, 1]

    def test_of_many(self, router: Router) -> None:
        """Each of some thousand flows is found, and none other."""
        groups = [IPv4Address(f"232.{k}.{k * 7 % 256}.{k * 13 % 256}") for k in range(250)]
        rows = [f"flow 1 {source} {group} port {'ab'[k % 2]}"
                for k, group in enumerate(groups) for source in (A4, B4)]  # fmt: skip
        router.load("port in context 1", "port a", "port b", *sorted(rows, key=hash))
        for k, group in enumerate(groups):
            assert router.receive("in", packet(A4, group))[0][0] == "ab"[k % 2]
            assert router.receive("in", packet(IPv4Address("192.0.2.3"), group)) == []


class TestOut:
    @pytest.mark.parametrize(
        "group",
        [
            "224.0.1.0",
            "232.1.2.3",
            "239.129.2.3",
            "239.255.255.255",
            "232.128.0.1",
            "ff3e::8000:1",
            "ff05::1:3",
            "ff0e:1:2:3:4:5:fe06:ff07",
        ],
    )
    def test_the_groups_mac(self, router: Router, group: str) -> None:
        """RFC 1112 section 6.4, RFC 2464 section 7; from the port's own address."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        to = IPv6Address(group) if ":" in group else IPv4Address(group)
        src = A6 if to.version == 6 else A4
        header, inner = Ethernet.decode(router.judge("in", packet(src, to)).on("host"))
        assert header == Ethernet(multicast_mac(to), OUTSIDE, 0x0800 if to.version == 4 else 0x86DD)
        assert inner == udp_packet(src, to, 1, 2, b"data", 63)

    def test_never_back(self, router: Router) -> None:
        router.load("port in context 1", "port a", "flow 1 * * port a port in")
        assert router.judge("in", packet(A4, G4)) == Outcome(router.receive("in", packet(A4, G4)))
        assert router.judge("in", packet(A4, G4)).ports == ["a"]

    def test_never_back_by_way_of_its_own_bit(self, router: Router) -> None:
        """Whoever sent it has it: a BFIR that is a BFER for the same port does not echo it there."""
        router.load(
            "port in context 1",
            "port a",
            "flow 1 * * bier ethernet 100 1",
            "flow 2 * * port in port a",
            "bift ethernet 100 bsl 64 bfr-id 1 context 2",
            "path ethernet 100 0 0 fbm 1 local",
        )
        assert router.judge("in", packet(A4, G4)).ports == ["a"]

    def test_out_of_a_tree_to_any_port(self, router: Router) -> None:
        """What comes by the transport may leave where the transport came in: a host on that link has not seen it."""
        router.load("port p1 transport", "flow 2 * * port p1", "bift ethernet 100 bsl 64 context 2",
                    "path ethernet 100 0 0 fbm 1 local")  # fmt: skip
        data = Bier(bift_id=100, bits=BitString.of({1}, 64), proto=4, bfir_id=9).encode(udp_packet(A4, G4, 1, 2))
        assert router.judge("p1", frame(port_mac("", "p1"), Ethertype.BIER, data)).ports == ["p1"]

    def test_the_links_mtu(self, router: Router) -> None:
        """Of the IP packet; nothing is fragmented."""
        router.load("port in context 1", "port a", "port b", "flow 1 * * port a port b")
        router.interface("a", OUTSIDE, 1500)
        for size, out in ((1500, ["a", "b"]), (1501, ["b"])):
            outcome = router.judge("in", packet(A4, G4, data=bytes(size - 28)))
            assert outcome.ports == out
            assert outcome.drops == ({} if "a" in out else {"mtu": 1})

    @pytest.mark.parametrize(
        ("encap", "overhead"),
        [("bier ethernet 100 2", 12 + 8), ("bier mpls 100 2", 12 + 8), ("segment 1", 8), ("segment 2", 40 + 24)],
    )
    def test_the_transports_mtu(self, router: Router, encap: str, overhead: int) -> None:
        """All that is behind the Ethernet header counts, labels too."""
        router.load(
            *ports(1),
            "port in context 1",
            f"flow 1 * * {encap}",
            *("bift ethernet 100 bsl 64 bfr-id 1", "path ethernet 100 0 0 fbm 2 nexthop 1"),
            *("bift mpls 100 bsl 64 bfr-id 1", "path mpls 100 0 0 fbm 2 nexthop 1"),
            *("segment 1 head", "branch 1 0 labels 200,201 nexthop 1"),
            *("segment 2 head", "branch 2 0 sid 2001:db8::2 srh 2001:db8::3 nexthop 1"),
        )
        router.interface("p1", port_mac("", "p1"), 1500)
        fits = router.judge("in", packet(A4, G4, data=bytes(1500 - overhead - 28)))
        assert len(fits.on("p1")) == 14 + 1500
        assert router.judge("in", packet(A4, G4, data=bytes(1501 - overhead - 28))).drops == {"mtu": 1}

    def test_a_neighbour_that_is_not_known_yet(self, router: Router) -> None:
        router.load(
            *("port p1 transport", "nexthop 1 port p1 via 192.0.2.7", "port in context 1", "flow 1 * * segment 1"),
            *("segment 1 head", "branch 1 0 labels 200 nexthop 1"),
        )
        assert router.judge("in", packet(A4, G4)).drops == {"no-neighbour": 1}
        router.neighbour(1, peer_mac(1))
        assert Ethernet.decode(router.judge("in", packet(A4, G4)).on("p1"))[0].dst == peer_mac(1)
        assert router.change("update", ["nexthop 1 port p1 via 192.0.2.7"]) == []
        assert router.judge("in", packet(A4, G4)).ports == ["p1"], "the same neighbour stays known"
        assert router.change("update", ["nexthop 1 port p1 via 192.0.2.8"]) == []
        assert router.judge("in", packet(A4, G4)).drops == {"no-neighbour": 1}, "another one does not"
        router.neighbour(1, peer_mac(2))
        router.neighbour(1, "none")
        assert router.judge("in", packet(A4, G4)).drops == {"no-neighbour": 1}

    def test_a_port_that_is_down_or_absent(self, router: Router) -> None:
        router.load("port in context 1", "port a", "port b", "flow 1 * * port a port b")
        router.interface("a", OUTSIDE, state="down")
        outcome = router.judge("in", packet(A4, G4))
        assert outcome.ports == ["b"]
        assert outcome.drops == {"port-down": 1}
        router.interface("a", OUTSIDE)
        assert router.judge("in", packet(A4, G4)).ports == ["a", "b"]
        assert router.change("update", ["port c", "flow 1 * * port c"]) == []
        assert router.judge("in", packet(A4, G4)).drops == {"port-down": 1}

    def test_counters_are_of_what_was_sent(self, sim: Sim) -> None:
        router = Router(sim, "counting").load("port in context 1", "port a", "port b", "flow 1 * * port a port b")
        router.interface("a", OUTSIDE, state="down")
        router.judge("in", packet(A4, G4))
        found = {port["name"]: (port["rx"], port["tx"]) for port in router.state()["ports"]}
        none = {"packets": 0, "bytes": 0}
        some = {"packets": 1, "bytes": 14 + 32}
        assert found == {"in": (some, none), "a": (none, none), "b": (none, some)}


class TestCounters:
    def test_an_update_keeps_them(self, router: Router) -> None:
        """A row given again keeps its counters, each action of a flow too; a new action starts at nothing."""
        rows = [*ports(1), "bift ethernet 100 bsl 64 bfr-id 1", "path ethernet 100 0 0 fbm 6 nexthop 1"]
        router.load(*rows, "port in context 1", "port a", "flow 1 * * port a bier ethernet 100 2")
        for _ in range(3):
            router.receive("in", packet(A4, G4))
        again = [*rows[2:], "flow 1 * * port a bier ethernet 100 6 port in"]
        assert router.change("update", again) == []
        state = router.state()
        flow = next(each for each in state["flows"] if each["family"] == 4)
        assert flow["in"]["packets"] == 3
        sent = {each.get("port", "bier"): each["sent"]["packets"] for each in flow["actions"]}
        assert sent == {"a": 3, "bier": 3, "in": 0}
        assert state["bifts"][0]["paths"][0]["sent"]["packets"] == 3

    def test_a_replace_clears_all_but_the_ports(self, router: Router) -> None:
        rows = ["port in context 1", "port a", "flow 1 * * port a"]
        router.load(*rows)
        router.receive("in", packet(A4, G4))
        before = {port["name"]: port["tx"]["packets"] for port in router.state()["ports"]}
        assert before["a"]
        assert router.change("replace", rows) == []
        state = router.state()
        assert {port["name"]: port["tx"]["packets"] for port in state["ports"]} == before
        assert all(not flow["in"]["packets"] for flow in state["flows"])
        assert router.receive("in", packet(A4, G4))[0][0] == "a", "what is known of the interfaces stays too"


class TestTtl:
    @pytest.mark.parametrize("group", [G4, G6])
    def test_one_less(self, router: Router, group: Address) -> None:
        src = A4 if group.version == 4 else A6
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for ttl in (0, 1):
            assert router.judge("in", packet(src, group, ttl)).drops == {"ip-ttl": 1}
        for ttl in (2, 3, 128, 255):
            sent = router.judge("in", packet(src, group, ttl)).on("host")
            assert sent[14:] == udp_packet(src, group, 1, 2, b"data", ttl - 1)

    def test_the_header_checksum(self, router: Router) -> None:
        """As if computed anew, whatever it was: of its two zeros 0x0000 is the right one (RFC 1624 section 3)."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        header = IPv4(A4, G4, Protocol.UDP, options=b"\x94\x04\x00\x00")  # router alert
        udp = Udp(1, 2).encode(b"data", A4, G4)
        edges = {
            value + step & 0xFFFF for value in (0, 0x00FF, 0x0100, 0xFEFF, 0xFF00, 0xFFFF) for step in range(-3, 4)
        }
        found = set()
        for wanted in (edges | set(range(0, 0x10000, 997))) - {0xFFFF}:
            plain = internet_checksum(header.encode(udp)[:24])
            assert plain == 0
            now = int.from_bytes(header.encode(udp)[10:12], "big")
            each = replace(header, identification=(now - wanted) % 0xFFFF)
            data = each.encode(udp)
            found.add(int.from_bytes(data[10:12], "big"))
            sent = router.receive("in", multicast(data, G4))[0][1]
            assert sent[14:] == replace(each, ttl=63).encode(udp), f"{wanted:#06x}"
        assert 0xFEFF in found

    def test_the_rest_of_the_header_stays(self, router: Router) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        header = IPv4(A4, G4, 200, tos=0xB9, identification=7, df=True, options=bytes(range(1, 41)))
        assert router.judge("in", multicast(header.encode(b"x"), G4)).on("host")[14:] == replace(header, ttl=63).encode(
            b"x"
        )
        header6 = IPv6(A6, G6, 200, 9, 0xB9, 0xFFFFF)
        assert router.judge("in", multicast(header6.encode(b"x"), G6)).on("host")[14:] == replace(
            header6, hop_limit=8
        ).encode(b"x")

    def test_each_copy_has_its_own(self, router: Router) -> None:
        """A port, a BIER tree with the own bit in it, and what that delivers: nobody sees another's TTL."""
        router.load(
            *ports(1),
            *("port in context 1", "port a", "port b"),
            "flow 1 * * port a bier ethernet 100 3",
            "flow 2 * * port b",
            "bift ethernet 100 bsl 64 bfr-id 1 context 2",
            "path ethernet 100 0 0 fbm 1 local",
            "path ethernet 100 0 1 fbm 2 nexthop 1",
        )
        outcome = router.judge("in", packet(A4, G4))
        assert IPv4.decode(outcome.on("a")[14:])[0].ttl == 63
        assert IPv4.decode(outcome.on("p1")[14 + 20 :])[0].ttl == 63
        assert IPv4.decode(outcome.on("b")[14:])[0].ttl == 63


class TestChecksumLeftToHardware:
    """Linux leaves the transport checksum of a local sender to the device; the tree has none that does it."""

    def half(self, src: Address, group: Address, proto: int, header: bytes, at: int, data: bytes) -> bytes:
        """With the sum over the pseudo header where the checksum belongs, as the kernel leaves it."""
        segment = bytearray(header + data)
        pseudo = pseudo_header(src, group, proto, len(segment))
        segment[at : at + 2] = (internet_checksum(pseudo) ^ 0xFFFF).to_bytes(2, "big")
        if src.version == 4:
            assert isinstance(src, IPv4Address)
            assert isinstance(group, IPv4Address)
            return IPv4(src, group, proto).encode(bytes(segment))
        assert isinstance(src, IPv6Address)
        assert isinstance(group, IPv6Address)
        return IPv6(src, group, proto).encode(bytes(segment))

    @pytest.mark.parametrize(("src", "group"), [(A4, G4), (A6, G6)])
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 1471, 1472])
    def test_udp(self, router: Router, src: Address, group: Address, size: int) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        data = bytes(7 * k % 256 for k in range(size))
        header = (1).to_bytes(2, "big") + (2).to_bytes(2, "big") + (8 + size).to_bytes(2, "big") + bytes(2)
        inner = self.half(src, group, Protocol.UDP, header, 6, data)
        sent = router.judge("in", multicast(inner, group), partial=True).on("host")
        assert sent[14:] == udp_packet(src, group, 1, 2, data, 63)
        untouched = router.judge("in", multicast(inner, group)).on("host")
        assert untouched[14 + (20 if src.version == 4 else 40) :] == inner[20 if src.version == 4 else 40 :]

    @pytest.mark.parametrize(("src", "group"), [(A4, G4), (A6, G6)])
    def test_tcp(self, router: Router, src: Address, group: Address) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        header = bytes.fromhex("0001000200000001000000025018ffff00000000")
        inner = self.half(src, group, TCP, header, 16, b"odd")
        sent = router.judge("in", multicast(inner, group), partial=True).on("host")
        segment = sent[14 + (20 if src.version == 4 else 40) :]
        assert internet_checksum(pseudo_header(src, group, TCP, len(segment)) + segment) == 0

    def test_a_sum_of_zero_is_sent_as_ones(self, router: Router) -> None:
        """RFC 768: a zero checksum means that there is none."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for sport in range(0x10000):
            if Udp(sport, 2).encode(b"", A4, G4)[6:] == b"\xff\xff":
                break
        header = sport.to_bytes(2, "big") + (2).to_bytes(2, "big") + (8).to_bytes(2, "big") + bytes(2)
        inner = self.half(A4, G4, Protocol.UDP, header, 6, b"")
        assert router.judge("in", multicast(inner, G4), partial=True).on("host")[-2:] == b"\xff\xff"

    def test_into_every_tree(self, router: Router) -> None:
        """Once for all copies, before the first."""
        router.load(
            *ports(2),
            *("port in context 1", "port a", "port b", "flow 1 * * port a bier ethernet 100 3 segment 7"),
            *("flow 2 * * port b", "segment 7 head", "branch 7 0 labels 200 nexthop 2"),
            "bift ethernet 100 bsl 64 bfr-id 1 context 2",
            *("path ethernet 100 0 0 fbm 1 local", "path ethernet 100 0 1 fbm 2 nexthop 1"),
        )
        inner = self.half(A4, G4, Protocol.UDP, bytes.fromhex("00010002000c0000"), 6, b"data")
        outcome = router.judge("in", multicast(inner, G4), partial=True)
        assert sorted(outcome.ports) == ["a", "b", "p1", "p2"]
        assert {data[-32:] for _, data in outcome.sent} == {udp_packet(A4, G4, 1, 2, b"data", 63)}

    def test_not_out_of_a_tree(self, router: Router) -> None:
        """The flag is about the packet that the frame brought itself; what was wrong inside of it stays wrong."""
        router.load("port p1 transport", "port b", "flow 2 * * port b", "bift ethernet 100 bsl 64 context 2",
                    "path ethernet 100 0 0 fbm 1 local")  # fmt: skip
        inner = self.half(A4, G4, Protocol.UDP, bytes.fromhex("00010002000c0000"), 6, b"data")
        data = Bier(bift_id=100, bits=BitString.of({1}, 64), proto=4, bfir_id=9).encode(inner)
        outcome = router.judge("p1", frame(port_mac("", "p1"), Ethertype.BIER, data), partial=True)
        assert outcome.on("b")[34:] == inner[20:]

    @pytest.mark.parametrize("proto", [1, 17, 6, 132])
    @pytest.mark.parametrize("size", [0, 1, 5, 7, 8, 17])
    def test_what_cannot_be_completed_stays(self, router: Router, proto: int, size: int) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        inner = IPv4(A4, G4, proto).encode(bytes(size))
        sent = router.judge("in", multicast(inner, G4), partial=True).on("host")
        if (proto, size) not in ((17, 8), (17, 17)):
            assert sent[34:] == inner[20:]

    def test_fragments_stay(self, router: Router) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for header in (IPv4(A4, G4, 17, mf=True), IPv4(A4, G4, 17, fragment_offset=5)):
            sent = router.judge("in", multicast(header.encode(bytes(16)), G4), partial=True).on("host")
            assert sent[34:] == bytes(16)


class TestWhatMayNotLeaveItsLink:
    """Ignored without a word: routing protocols live there."""

    @pytest.mark.parametrize(
        "group",
        [
            "224.0.0.0",
            "224.0.0.1",
            "224.0.0.5",
            "224.0.0.13",
            "224.0.0.255",
            "ff02::1",
            "ff02::d",
            "ff01::1",
            "ff12::1",
            "ff00::1",
            "ff31::1",
            "ff32::1",
        ],
    )
    def test_groups(self, router: Router, group: str) -> None:
        """RFC 5771 section 4, RFC 4291 section 2.7."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        to = IPv6Address(group) if ":" in group else IPv4Address(group)
        assert router.judge("in", packet(A6 if to.version == 6 else A4, to)) == Outcome([])

    @pytest.mark.parametrize(
        "source",
        ["::", "::1", "fe80::1", "febf:ffff::1", "0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.0.1", "169.254.255.255"],
    )
    def test_sources(self, router: Router, source: str) -> None:
        """RFC 4291 2.5.2, 2.5.3 and 2.5.6, RFC 3927 section 7, RFC 1812 section 5.3.7."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        src = IPv6Address(source) if ":" in source else IPv4Address(source)
        assert router.judge("in", packet(src, G6 if src.version == 6 else G4)) == Outcome([])

    @pytest.mark.parametrize(
        "source", ["fec0::1", "fe7f::1", "::1:0:0:1", "::2", "1::1", "169.253.0.1", "126.1.1.1", "1.0.0.0"]
    )
    def test_their_neighbours_may(self, router: Router, source: str) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        src = IPv6Address(source) if ":" in source else IPv4Address(source)
        assert router.judge("in", packet(src, G6 if src.version == 6 else G4)).ports == ["host"]

    def test_the_next_wider_scopes_may(self, router: Router) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for group in (IPv4Address("224.0.1.0"), IPv6Address("ff03::1"), IPv6Address("ff05::2"), IPv6Address("ff0f::1")):
            assert router.judge("in", packet(A6 if group.version == 6 else A4, group)).ports == ["host"]


class TestWhatIsNoMulticast:
    @pytest.mark.parametrize("group", ["223.255.255.255", "240.0.0.0", "255.255.255.255", "fe00::1", "fdff::1"])
    def test_addresses(self, router: Router, group: str) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        to = IPv6Address(group) if ":" in group else IPv4Address(group)
        inner = udp_packet(A6 if to.version == 6 else A4, to, 1, 2)
        ethertype = Ethertype.IPV6 if to.version == 6 else Ethertype.IPV4
        assert router.judge("in", frame("01:00:5e:00:00:01", ethertype, inner)).drops == {"ip-not-multicast": 1}

    def test_frames_to_one_station(self, router: Router) -> None:
        """The kernel's business."""
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for mac in (OUTSIDE, HOST):
            assert router.judge("in", frame(mac, Ethertype.IPV4, udp_packet(A4, G4, 1, 2))) == Outcome([])

    def test_the_ethertype_is_the_packets(self, router: Router) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        for mac, ethertype, inner in (
            (multicast_mac(G4), Ethertype.IPV6, udp_packet(A4, G4, 1, 2)),
            (multicast_mac(G6), Ethertype.IPV4, udp_packet(A6, G6, 1, 2)),
        ):
            outcome = router.judge("in", frame(mac, ethertype, inner))
            assert (outcome.sent, outcome.drops) == ([], {"ip-header": 1})

    @pytest.mark.parametrize("ethertype", [0x0806, 0x88CC, 0x8100, 0x8848, 0x0600])
    def test_other_types(self, router: Router, ethertype: int) -> None:
        router.load("port in context 1", "port host", "flow 1 * * port host")
        assert router.judge("in", frame(multicast_mac(G4), ethertype, udp_packet(A4, G4, 1, 2))) == Outcome([])


class TestNesting:
    """What a tree delivers may enter another tree at the same router, a few times at most."""

    def chain(self, router: Router, contexts: list[int]) -> None:
        """The own bit of BIFT k delivers in context k + 1, whose flow enters BIFT k + 1."""
        rows = ["port in context 1", "port host"]
        for here, there in pairwise(contexts):
            rows += [
                f"bift ethernet {here} bsl 64 bfr-id 1 context {there}",
                f"path ethernet {here} 0 0 fbm 1 local",
                f"flow {here} * * port host bier ethernet {here} 1",
            ]
        router.load(*rows)

    def test_in_a_line(self, router: Router) -> None:
        self.chain(router, [1, 2, 3])
        outcome = router.judge("in", packet(A4, G4))
        assert outcome.ports == ["host", "host"]
        assert outcome.drops == {"no-flow": 1}

    def test_in_a_circle(self, router: Router) -> None:
        for contexts in ([1, 1], [1, 2, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9]):
            self.chain(router, contexts)
            outcome = router.judge("in", packet(A4, G4))
            assert len(outcome.sent) == 4
            assert outcome.drops == {"nested": 1}

    def test_it_does_not_explode(self, router: Router) -> None:
        """A few actions that lead back: bounded by their number to the power of the depth."""
        rows = ["port in context 1"]
        for k in range(5):
            rows += [f"bift ethernet {k} bsl 64 bfr-id 1 context 1", f"path ethernet {k} 0 0 fbm 1 local"]
        router.load(*rows, "flow 1 * * " + " ".join(f"bier ethernet {k} 1" for k in range(5)))
        outcome = router.judge("in", packet(A4, G4))
        assert (outcome.sent, outcome.drops) == ([], {"nested": 5**4})


class TestHeaders:
    @pytest.fixture
    def router(self, sim: Sim) -> Router:
        return Router(sim, "").load("port in context 1", "port host", "flow 1 * * port host")

    def test_a_wrong_checksum(self, router: Router) -> None:
        good = udp_packet(A4, G4, 1, 2)
        for at in range(20):
            for bit in range(8):
                bad = bytearray(good)
                bad[at] ^= 1 << bit
                assert router.receive("in", multicast(bytes(bad), G4)) == []

    def test_lengths(self, router: Router) -> None:
        def lying(octets: int, words: int = 5) -> bytes:
            data = bytearray(udp_packet(A4, G4, 1, 2, bytes(100)))
            data[0] = 0x40 | words
            data[2:4] = octets.to_bytes(2, "big")
            data[10:12] = bytes(2)
            data[10:12] = internet_checksum(bytes(data[: 4 * words])).to_bytes(2, "big")
            return bytes(data)

        for octets, words in ((129, 5), (65535, 5), (19, 5), (0, 5), (128, 4), (128, 0), (40, 15)):
            assert router.judge("in", multicast(lying(octets, words), G4)).drops == {"ip-header": 1}, (octets, words)
        for octets in (20, 21, 127, 128):
            assert len(router.judge("in", multicast(lying(octets), G4)).on("host")) == 14 + octets

    def test_ipv6_lengths(self, router: Router) -> None:
        for octets in (0, 1, 107, 108, 109, 65535):
            data = bytearray(udp_packet(A6, G6, 1, 2, bytes(100)))
            data[4:6] = octets.to_bytes(2, "big")
            outcome = router.judge("in", multicast(bytes(data), G6))
            if octets <= 108:
                assert len(outcome.on("host")) == 14 + 40 + octets
            else:
                assert outcome.drops == {"ip-header": 1}

    def test_padding_is_cut_off(self, router: Router) -> None:
        inner = udp_packet(A4, G4, 1, 2)
        assert router.judge("in", multicast(inner + bytes(18), G4)).on("host")[14:] == udp_packet(A4, G4, 1, 2, ttl=63)
