"""The forwarder's core as a BFR, BFIR and BFER: RFC 8279 and RFC 8296, on a lone router and in the RFC's networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from forwarder_sim import (
    HOST,
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
    Bier,
    BitString,
    Encapsulation,
    Ethernet,
    Ethertype,
    IPv4,
    IPv6,
    Protocol,
    Udp,
    encode_stack,
    label_stack,
    multicast_mac,
    split,
    udp_packet,
)
from testbed.packet.bitstring import LENGTHS

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
ME = port_mac("", "p1")
GOLDEN = bytes.fromhex(  # decoded by tshark 4.4 as what `golden_header` says
    "00064140 50312345 00040007 00000400 00000000 00000000 00000000 00000000 00000000 00000000 04000001"
)
ETHERTYPE = {"ethernet": Ethertype.BIER, "mpls": Ethertype.MPLS}
ENCAPSULATION = {"ethernet": Encapsulation.NON_MPLS, "mpls": Encapsulation.MPLS}
both = pytest.mark.parametrize("encap", ["ethernet", "mpls"])


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


@pytest.fixture
def router(sim: Sim) -> Router:
    return Router(sim, "")


def golden_header(**changes: Any) -> Bier:
    header = Bier(bift_id=100, ttl=64, entropy=0x12345, proto=4, bfir_id=7, bits=BitString.of({1, 27, 235}))
    return replace(header, **changes)


def datagram(ttl: int = 64, data: bytes = b"data", sport: int = 1, dport: int = 2) -> bytes:
    return udp_packet(A4, G4, sport, dport, data, ttl)


def bier(bits: set[int], encap: str = "ethernet", *, bsl: int = 64, inner: bytes = b"", **changes: Any) -> bytes:
    """A frame for p1 of the lone router."""
    header = Bier(bift_id=100, bits=BitString.of(bits, bsl), proto=4, bfir_id=7)
    return frame(ME, ETHERTYPE[encap], replace(header, **changes).encode(inner or datagram()))


def read(data: bytes, encap: str = "ethernet", bsl: int = 64) -> Bier:
    return Bier.decode(payload(data, ETHERTYPE[encap]), bsl, ENCAPSULATION[encap])[0]


def bits(*positions: int) -> str:
    return f"{sum(1 << p - 1 for p in positions):x}"


LOCAL = ["port host", "flow 1 * * port host"]  # what is delivered goes to the host, whatever it is


def three(encap: str = "ethernet", bsl: int = 64, **more: str) -> list[str]:
    """BIFT 100: bits 1 and 4 lead to neighbour 2, bit 2 to neighbour 3, bit 3 is the router's own."""
    return [
        *ports(3),
        *LOCAL,
        f"bift {encap} 100 sd 0 si 0 bsl {bsl} bfr-id 3 context 1{more.get('bift', '')}",
        f"path {encap} 100 0 0 fbm {bits(1, 4)} nexthop 2{more.get('as2', '')}",
        f"path {encap} 100 0 1 fbm {bits(2)} nexthop 3{more.get('as3', '')}",
        f"path {encap} 100 0 2 fbm {bits(3)} local",
    ]


class TestHeader:
    @both
    def test_golden(self, router: Router, encap: str) -> None:
        fbm = bits(1, 27, 235)
        router.load(*ports(2), f"bift {encap} 100 bsl 256", f"path {encap} 100 0 0 fbm {fbm} nexthop 2")
        outcome = router.judge("p1", frame(ME, ETHERTYPE[encap], golden_header(ttl=65).encode(b"payload")))
        assert outcome.sent == [
            ("p2", frame(peer_mac(2), ETHERTYPE[encap], GOLDEN + b"payload", src=port_mac("", "p2")))
        ]
        assert not outcome.drops

    @pytest.mark.parametrize("field", [{"oam": 3}, {"rsv": 3}, {"dscp": 63}, {"entropy": 0xFFFFF}, {"bfir_id": 65535}])
    @both
    def test_what_a_transit_bfr_has_no_business_with(self, router: Router, encap: str, field: dict[str, Any]) -> None:
        router.load(*three(encap))
        (sent,) = router.receive("p1", bier({2}, encap, **field))
        header, inner = Bier.decode(payload(sent[1], ETHERTYPE[encap]), 64, ENCAPSULATION[encap])
        assert header == replace(read(bier({2}, encap, **field), encap), ttl=63)
        assert inner == datagram()

    def test_without_mpls_ignored_fields_are_ignored(self, router: Router) -> None:
        """RFC 8296 2.2.1.2 and 2.2.2: TC, S and Nibble; TC 000 and S 1 are sent."""
        router.load(*three())
        for nibble in range(16):
            outcome = router.judge("p1", bier({2, 3}, tc=5, s=0, nibble=nibble))
            assert outcome.ports == ["p3", "host"], nibble
            header = read(outcome.on("p3"))
            assert (header.tc, header.s) == (0, 1)

    def test_with_mpls_the_nibble_counts(self, router: Router) -> None:
        """RFC 8296 2.1.2: 0101, or it is discarded."""
        router.load(*three("mpls"))
        for nibble in set(range(16)) - {5}:
            outcome = router.judge("p1", bier({2, 3}, "mpls", nibble=nibble))
            assert outcome.sent == []
            assert outcome.drops == {"bier-nibble": 1}

    def test_with_mpls_the_traffic_class_stays(self, router: Router) -> None:
        router.load(*three("mpls"))
        assert read(router.judge("p1", bier({2}, "mpls", tc=6)).on("p3"), "mpls").tc == 6

    def test_with_mpls_it_is_the_bottom_of_the_stack(self, router: Router) -> None:
        router.load(*three("mpls"))
        outcome = router.judge("p1", bier({2, 3}, "mpls", s=0))
        assert (outcome.sent, outcome.drops) == ([], {"label-bottom": 1})

    @both
    def test_version(self, router: Router, encap: str) -> None:
        router.load(*three(encap))
        for version in range(1, 16):
            outcome = router.judge("p1", bier({2, 3}, encap, ver=version))
            assert (outcome.sent, outcome.drops) == ([], {"bier-version": 1})

    def test_the_two_encapsulations_are_two_spaces(self, router: Router) -> None:
        """RFC 8296 2.2.3: BIFT-ids of the one do not conflict with labels of the other."""
        router.load(
            *ports(3),
            "bift ethernet 100 bsl 64",
            "path ethernet 100 0 0 fbm 2 nexthop 2",
            "bift mpls 100 bsl 64",
            "path mpls 100 0 0 fbm 2 nexthop 3",
        )
        assert router.judge("p1", bier({2})).ports == ["p2"]
        assert router.judge("p1", bier({2}, "mpls")).ports == ["p3"]

    @pytest.mark.parametrize("bift_id", [0, 1, 15, 16, 0xFFFFF])
    def test_any_bift_id_without_mpls(self, router: Router, bift_id: int) -> None:
        router.load(*ports(2), f"bift ethernet {bift_id} bsl 64", f"path ethernet {bift_id} 0 0 fbm 2 nexthop 2")
        assert read(router.judge("p1", bier({2}, bift_id=bift_id)).on("p2")).bift_id == bift_id

    @pytest.mark.parametrize("bift_id", [99, 101, 0, 0xFFFFF])
    def test_unknown_bift(self, router: Router, bift_id: int) -> None:
        router.load(*three())
        outcome = router.judge("p1", bier({2, 3}, bift_id=bift_id))
        assert (outcome.sent, outcome.drops) == ([], {"bift-unknown": 1})
        outcome = router.judge("p1", bier({2, 3}, "mpls", bift_id=bift_id))
        assert (outcome.sent, outcome.drops) == ([], {"label-unknown": 1})

    @both
    def test_the_neighbours_id(self, router: Router, encap: str) -> None:
        """RFC 8279 6.5: the BIFT-id becomes what that neighbour advertised; RFC 8296 2.1.1.1: a label swap."""
        router.load(*three(encap, as2=" as 1048575", as3=" as 16"))
        outcome = router.judge("p1", bier({1, 2, 4}, encap))
        assert read(outcome.on("p2"), encap).bift_id == 1048575
        assert read(outcome.on("p3"), encap).bift_id == 16

    @both
    def test_only_frames_for_this_station(self, router: Router, encap: str) -> None:
        """RFC 8296 2.1.3 and 2.2.3: the frame is unicast, on a LAN too."""
        router.load(*three(encap))
        data = bier({2, 3}, encap)
        for other in ("02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff", multicast_mac(G4)):
            header, rest = Ethernet.decode(data)
            outcome = router.judge("p1", replace(header, dst=other).encode(rest))
            assert (outcome.sent, outcome.drops) == ([], {"other-host": 1})

    @both
    def test_only_from_the_transport(self, router: Router, encap: str) -> None:
        router.load(*[row.replace("port p1 transport", "port p1") for row in three(encap)])
        outcome = router.judge("p1", bier({2, 3}, encap))
        assert (outcome.sent, outcome.drops) == ([], {"not-transport": 1})


class TestBitStringLength:
    @pytest.mark.parametrize("bsl", LENGTHS)
    @both
    def test_each(self, router: Router, encap: str, bsl: int) -> None:
        low, high = set(range(1, bsl // 2)), set(range(bsl // 2, bsl))
        router.load(
            *ports(3),
            *LOCAL,
            f"bift {encap} 100 bsl {bsl} context 1",
            f"path {encap} 100 0 0 fbm {bits(*low)} nexthop 2",
            f"path {encap} 100 0 1 fbm {bits(*high)} nexthop 3",
            f"path {encap} 100 0 2 fbm {bits(bsl)} local",
        )
        some = {1, 2, bsl // 2 - 1, bsl // 2, bsl // 2 + 7, bsl - 1, bsl}
        outcome = router.judge("p1", bier(some, encap, bsl=bsl))
        assert outcome.ports == ["p2", "p3", "host"]
        for port, half in (("p2", low), ("p3", high)):
            data = payload(outcome.on(port), ETHERTYPE[encap])
            header, inner = Bier.decode(data, bsl, ENCAPSULATION[encap])
            assert set(header.bits) == some & half
            assert inner == datagram()
        assert not outcome.drops
        outcome = router.judge("p1", bier(set(range(1, bsl + 1)), encap, bsl=bsl))
        assert set(read(outcome.on("p3"), encap, bsl).bits) == high

    @pytest.mark.parametrize("code", [0, *range(1, 3), *range(4, 16)])
    @both
    def test_it_is_the_bifts_and_a_field_that_differs_is_discarded(self, router: Router, encap: str, code: int) -> None:
        router.load(*ports(2), f"bift {encap} 100 bsl 256", f"path {encap} 100 0 0 fbm {'f' * 64} nexthop 2")
        data = bytearray(bier({1, 200}, encap, bsl=256))
        data[14 + 5] = code << 4 | data[14 + 5] & 0xF
        outcome = router.judge("p1", bytes(data))
        assert (outcome.sent, outcome.drops) == ([], {"bier-bsl": 1})

    def test_a_short_packet_is_measured_by_the_bift(self, router: Router) -> None:
        """What would be whole if the field were believed ends inside the BitString that the BIFT-id stands for."""
        router.load(*ports(2), "bift ethernet 100 bsl 256", f"path ethernet 100 0 0 fbm {'f' * 64} nexthop 2")
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, Bier.decode(bier({2})[14:], 64)[0].encode(b"1234567")))
        assert (outcome.sent, outcome.drops) == ([], {"short": 1})

    def test_two_at_once(self, router: Router) -> None:
        """RFC 8279 section 3: every BFR can use two Disposition BitStringLengths at a time."""
        router.load(*three(), "bift ethernet 200 sd 0 si 0 bsl 512", "path ethernet 200 0 0 fbm 2 nexthop 3")
        assert router.judge("p1", bier({2})).ports == ["p3"]
        assert router.judge("p1", bier({2}, bift_id=200, bsl=512)).ports == ["p3"]


class TestSets:
    """Set Identifiers and sub-domains are what the BIFT-id says; the same bit means another BFER in each."""

    def test_they_do_not_mix(self, router: Router) -> None:
        kinds = [(0, 0), (0, 1), (0, 15), (0, 255), (255, 0), (255, 1)]
        rows = [*ports(len(kinds) + 1)]
        for k, (sd, si) in enumerate(kinds):
            rows += [f"bift ethernet {k} sd {sd} si {si} bsl 64", f"path ethernet {k} 0 0 fbm 8 nexthop {k + 2}"]
        router.load(*rows)
        for k in range(len(kinds)):
            assert router.judge("p1", bier({4}, bift_id=k)).ports == [f"p{k + 2}"]

    def test_the_views_name_bfr_ids(self, router: Router) -> None:
        router.load(*ports(2), "bift ethernet 5 sd 2 si 1 bsl 256", f"path ethernet 5 0 0 fbm {bits(241)} nexthop 2")
        assert any(line.endswith(" 497") for line in router.show("bift"))


class TestTtl:
    """RFC 8296 2.1.1.2."""

    @both
    def test_forwarded_copies_have_one_less(self, router: Router, encap: str) -> None:
        router.load(*three(encap))
        for ttl in (255, 64, 3, 2):
            outcome = router.judge("p1", bier({1, 2, 3}, encap, ttl=ttl))
            assert outcome.ports == ["p2", "p3", "host"]
            assert {read(outcome.on(port), encap).ttl for port in ("p2", "p3")} == {ttl - 1}
            assert not outcome.drops

    @pytest.mark.parametrize(
        ("ttl", "positions", "ports_out", "drops"),
        [
            (0, {3}, [], {"bier-ttl": 1}),
            (0, {1, 2}, [], {"bier-ttl": 1}),
            (0, {1, 2, 3}, [], {"bier-ttl": 1}),
            (1, {3}, ["host"], {}),
            (1, {1, 2}, [], {"bier-ttl": 1}),
            (1, {1, 2, 3}, ["host"], {"bier-ttl": 1}),
        ],
    )
    @both
    def test_its_end(
        self, router: Router, encap: str, ttl: int, positions: set[int], ports_out: list[str], drops: dict[str, int]
    ) -> None:
        router.load(*three(encap))
        outcome = router.judge("p1", bier(positions, encap, ttl=ttl))
        assert outcome.ports == ports_out
        assert outcome.drops == drops

    def test_the_payload_does_not_inherit_it(self, router: Router) -> None:
        """RFC 8279 6.1. The inner TTL loses one where it leaves the tree."""
        router.load(*three())
        inner = payload(router.judge("p1", bier({3}, ttl=1, inner=datagram(33))).on("host"), Ethertype.IPV4)
        assert IPv4.decode(inner)[0].ttl == 32


class TestBits:
    def test_none(self, router: Router) -> None:
        router.load(*three())
        outcome = router.judge("p1", bier(set()))
        assert (outcome.sent, outcome.drops) == ([], {"bier-empty": 1})

    def test_all(self, router: Router) -> None:
        """Those that are in use get their copy, every other one is counted."""
        router.load(*three())
        outcome = router.judge("p1", bier(set(range(1, 65))))
        assert outcome.ports == ["p2", "p3", "host"]
        assert outcome.drops == {"bier-no-path": 60}

    def test_the_null_next_hop(self, router: Router) -> None:
        """RFC 8279 6.1, 6.5: unused and unreachable BFERs; the copy is discarded, one for all of them."""
        unused = ((1 << 64) - 1) ^ 0b1111
        router.load(*three(), f"path ethernet 100 0 9 fbm {unused:x} drop")
        outcome = router.judge("p1", bier(set(range(1, 65))))
        assert outcome.ports == ["p2", "p3", "host"]
        assert outcome.drops == {"bier-path-drop": 1}

    def test_the_own_bit_is_clear_in_all_copies(self, router: Router) -> None:
        router.load(*three())
        outcome = router.judge("p1", bier({1, 2, 3, 4}))
        assert not any(3 in read(data).bits for port, data in outcome.sent if port != "host")

    @pytest.mark.parametrize("way", ["0 9", "1 0"])
    def test_the_own_bit_leads_nowhere_else(self, router: Router, way: str) -> None:
        """RFC 8279 6.1: a MUST, so a table in which the own bit is a neighbour's too is refused."""
        mistakes = router.change("replace", [*three(), f"path ethernet 100 {way} fbm {bits(3, 5)} nexthop 2"])
        assert any("own bit" in each for each in mistakes), mistakes

    def test_the_own_bit_is_the_own_bit_in_every_way(self, router: Router) -> None:
        """RFC 8296 2.1.1.2: whoever the bit identifies processes the packet as a BFER, whatever the entropy."""
        mistakes = router.change("replace", [*three(), f"path ethernet 100 1 0 fbm {bits(1, 2, 4)} nexthop 2"])
        assert any("own bit" in each for each in mistakes), mistakes
        router.load(*three(), "path ethernet 100 1 0 fbm 1 nexthop 2", f"path ethernet 100 1 1 fbm {bits(3)} local")
        assert {tuple(router.receive("p1", bier({3}, entropy=k))) for k in range(64)} == {
            tuple(router.receive("p1", bier({3})))
        }

    @pytest.mark.parametrize("proto", [0, 1, 2, 3, 5, 7, 63])
    def test_unknown_proto_at_a_bfer(self, router: Router, proto: int) -> None:
        """RFC 8296 2.1.2: the BFER discards; a BFR passes it on."""
        router.load(*three())
        outcome = router.judge("p1", bier({2, 3}, proto=proto))
        assert outcome.ports == ["p3"]
        assert outcome.drops == {"bier-proto": 1}
        assert read(outcome.on("p3")).proto == proto

    @pytest.mark.parametrize(
        ("proto", "inner"),
        [(4, udp_packet(A6, G6, 1, 2)), (6, udp_packet(A4, G4, 1, 2)), (4, b""), (6, b"")],
        ids=["6 in 4", "4 in 6", "nothing in 4", "nothing in 6"],
    )
    def test_the_payload_is_what_proto_says(self, router: Router, proto: int, inner: bytes) -> None:
        router.load(*three())
        data = Bier(bift_id=100, bits=BitString.of({3}, 64), proto=proto, bfir_id=7).encode(inner)
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, data))
        assert (outcome.sent, outcome.drops) == ([], {"ip-header": 1})

    def test_ipv6(self, router: Router) -> None:
        router.load(*three())
        inner = udp_packet(A6, G6, 1, 2, b"data", 9)
        data = router.judge("p1", bier({3}, proto=6, inner=inner)).on("host")
        assert Ethernet.decode(data)[0].dst == multicast_mac(G6)
        assert payload(data, Ethertype.IPV6) == udp_packet(A6, G6, 1, 2, b"data", 8)

    def test_no_context_no_delivery(self, router: Router) -> None:
        router.load(*[row.replace(" context 1", "") for row in three()])
        outcome = router.judge("p1", bier({2, 3}))
        assert outcome.ports == ["p3"]
        assert outcome.drops == {"no-flow": 1}

    def test_counters(self, router: Router) -> None:
        router.load(*three())
        for _ in range(3):
            router.receive("p1", bier({1, 2, 3, 4}))
        (bift,) = router.state()["bifts"]
        assert bift["delivered"] == {"packets": 3, "bytes": 3 * len(datagram())}
        size = 12 + 8 + len(datagram())
        assert [path["sent"] for path in bift["paths"]] == [
            {"packets": 3, "bytes": 3 * size},
            {"packets": 3, "bytes": 3 * size},
            {"packets": 0, "bytes": 0},
        ]


# -- RFC 8279 6.3 to 6.7: the networks of figures 1 and 6 --------------------------------------------------------------

FIGURE_1 = {"A": "B", "B": "ACE", "C": "BDF", "D": "C", "E": "B", "F": "C"}
IDS = {"D": 1, "F": 2, "E": 3, "A": 4}
# Rows 1 to 4: F-BM and BFR-NBR. A, B and C are the RFC's figure 5.
BIFTS = {
    "A": ("0111 B", "0111 B", "0111 B", "1000 A"),
    "B": ("0011 C", "0011 C", "0100 E", "1000 A"),
    "C": ("0001 D", "0010 F", "1100 B", "1100 B"),
    "D": ("0001 D", "1110 C", "1110 C", "1110 C"),
    "E": ("1011 B", "1011 B", "0100 E", "1011 B"),
    "F": ("1101 C", "0010 F", "1101 C", "1101 C"),
}
FIGURE_6 = {**FIGURE_1, "E": "BF", "F": "CE"}
BIFTS_6 = {**BIFTS, "B": ("0011 C", "0011 C, 0110 E", "0110 E", "1000 A")}  # ECMP at B alone, as figure 6 has it
BIFTS_6["E"] = ("1001 B", "0010 F", "0100 E", "1001 B")  # so that what B sends to E for F takes the new link
BIFT_ID = {"ethernet": dict.fromkeys(FIGURE_1, 77), "mpls": {name: 1000 + ord(name) for name in FIGURE_1}}


def network(
    sim: Sim, encap: str, adjacent: Mapping[str, str] = FIGURE_1, bifts: Mapping[str, tuple[str, ...]] = BIFTS
) -> dict[str, Router]:
    """A to F, each with a host; whoever sends to group 232.1.2.<BitString> does so at port "in"."""
    routers = {}
    for name, rows in bifts.items():
        own = BIFT_ID[encap][name]
        bfr_id = f" bfr-id {IDS[name]}" if name in IDS else ""
        lines = [
            *links(name, adjacent[name]),
            "port in context 1",
            "port host",
            "flow 2 * * port host",
            f"bift {encap} {own} sd 0 si 0 bsl 64{bfr_id} context 2",
        ]
        entries = sorted({entry for row in rows for entry in row.split(", ")})
        for k, (fbm, neighbour) in enumerate(map(str.split, entries)):
            to = f"nexthop {nexthop(neighbour)} as {BIFT_ID[encap][neighbour]}" if neighbour != name else "local"
            lines.append(f"path {encap} {own} 0 {k} fbm {int(fbm, 2):x} {to}")
        if name in IDS:
            lines += [f"flow 1 * 232.1.2.{bits} bier {encap} {own} {bits:x}" for bits in range(1, 16)]
        routers[name] = Router(sim, name).load(*lines)
    return routers


def send(routers: dict[str, Router], positions: int, ingress: str = "A", sport: int = 1) -> list[Hop]:
    """From outside to the BFERs of a BitString."""
    group = IPv4Address(f"232.1.2.{positions}")
    data = frame(multicast_mac(group), Ethertype.IPV4, udp_packet(A4, group, sport, 2, b"data"))
    receive = {name: router.receive for name, router in routers.items()}
    return carry(receive, ingress, "in", data)


@pytest.fixture
def walk(sim: Sim, encap: str) -> dict[str, Router]:
    return network(sim, encap)


def steps(hops: list[Hop], encap: str) -> list[tuple[str, str, str, int, int]]:
    """From, to, BitString, BIFT-id and TTL of each hop; a step outside has no header."""
    found = []
    for hop in hops:
        if hop.to:
            header = read(hop.frame, encap)
            assert Ethernet.decode(hop.frame)[0] == Ethernet(
                port_mac(hop.to, "to-" + hop.router), port_mac(hop.router, "to-" + hop.to), ETHERTYPE[encap]
            )
            found.append((hop.router, hop.to, f"{header.bits.value:04b}", header.bift_id, header.ttl))
        else:
            found.append((hop.router, "host", "", 0, 0))
    return found


@both
class TestFigure1:
    def test_first_walk(self, walk: dict[str, Router], encap: str) -> None:
        """6.6.1: A to D."""
        of = BIFT_ID[encap]
        assert steps(send(walk, 0b0001), encap) == [
            ("A", "B", "0001", of["B"], 64),
            ("B", "C", "0001", of["C"], 63),
            ("C", "D", "0001", of["D"], 62),
            ("D", "host", "", 0, 0),
        ]

    def test_second_walk(self, walk: dict[str, Router], encap: str) -> None:
        """6.6.2: A to D and E. One copy to B, which sends two."""
        of = BIFT_ID[encap]
        hops = send(walk, 0b0101)
        assert steps(hops, encap) == [
            ("A", "B", "0101", of["B"], 64),
            ("B", "C", "0001", of["C"], 63),
            ("B", "E", "0100", of["E"], 63),
            ("C", "D", "0001", of["D"], 62),
            ("E", "host", "", 0, 0),
            ("D", "host", "", 0, 0),
        ]
        assert delivered(hops) == {"D": 1, "E": 1}

    def test_every_octet(self, walk: dict[str, Router], encap: str) -> None:
        """The header of each hop of 6.6.2, made by hand but for the entropy, which is the BFIR's to choose."""
        hops = send(walk, 0b0101)
        group = IPv4Address("232.1.2.5")
        inner = udp_packet(A4, group, 1, 2, b"data", 63)
        first = payload(hops[0].frame, ETHERTYPE[encap])
        entropy = first[4:8].hex()[3:]
        for hop, ttl, last in zip(hops, (64, 63, 63, 62), (5, 1, 4, 1), strict=False):
            octets = f"{BIFT_ID[encap][hop.to]:05x}1{ttl:02x} 501{entropy} 00040004 00000000{last:08x}"
            assert payload(hop.frame, ETHERTYPE[encap]) == bytes.fromhex(octets) + inner
        assert payload(hops[-1].frame, Ethertype.IPV4) == udp_packet(A4, group, 1, 2, b"data", 62)

    @pytest.mark.parametrize("ingress", IDS)
    def test_every_bitstring_from_everywhere(self, walk: dict[str, Router], encap: str, ingress: str) -> None:
        for value in range(1, 16):
            hops = send(walk, value, ingress)
            wanted = {name for name, bfr_id in IDS.items() if value >> bfr_id - 1 & 1}
            assert delivered(hops) == dict.fromkeys(wanted, 1)
            used = Counter((hop.router, hop.to) for hop in hops if hop.to)
            assert not used or max(used.values()) == 1  # RFC 8279 6.5: to each BFR-NBR only once


@both
class TestFigure6:
    @pytest.fixture
    def walk(self, sim: Sim, encap: str) -> dict[str, Router]:
        return network(sim, encap, FIGURE_6, BIFTS_6)

    def at_b(self, walk: dict[str, Router], encap: str, value: int, entropy: int) -> list[tuple[str, str]]:
        """What B does with a packet from A: to whom, with which BitString."""
        header = Bier(bift_id=BIFT_ID[encap]["B"], bits=BitString(value, 64), proto=4, bfir_id=4, entropy=entropy)
        data = frame(port_mac("B", "to-A"), ETHERTYPE[encap], header.encode(datagram()))
        sent = walk["B"].receive("to-A", data)
        return [(port, f"{read(each, encap).bits.value:04b}") for port, each in sent]

    def test_d_and_f_always_through_c(self, walk: dict[str, Router], encap: str) -> None:
        assert {tuple(self.at_b(walk, encap, 0b0011, entropy)) for entropy in range(64)} == {(("to-C", "0011"),)}

    def test_f_through_either(self, walk: dict[str, Router], encap: str) -> None:
        found = [self.at_b(walk, encap, 0b0010, entropy) for entropy in range(64)]
        assert {tuple(each) for each in found} == {(("to-C", "0010"),), (("to-E", "0010"),)}
        assert found == [self.at_b(walk, encap, 0b0010, entropy) for entropy in range(64)]
        through_c = sum(each[0][0] == "to-C" for each in found)
        assert 16 < through_c < 48  # both carry something like half

    def test_the_mask_is_that_of_the_choice(self, walk: dict[str, Router], encap: str) -> None:
        """E and F: through E in one copy, or F through C and then E for itself. Never F in both."""
        found = {tuple(self.at_b(walk, encap, 0b0110, entropy)) for entropy in range(64)}
        assert found == {(("to-E", "0110"),), (("to-C", "0010"), ("to-E", "0100"))}

    def test_d_e_and_f(self, walk: dict[str, Router], encap: str) -> None:
        found = {tuple(self.at_b(walk, encap, 0b0111, entropy)) for entropy in range(64)}
        assert found == {(("to-C", "0011"), ("to-E", "0100"))}

    def test_every_bitstring(self, walk: dict[str, Router], encap: str) -> None:
        for value in range(1, 16):
            for sport in range(1, 9):
                wanted = {name for name, bfr_id in IDS.items() if value >> bfr_id - 1 & 1}
                assert delivered(send(walk, value, sport=sport)) == dict.fromkeys(wanted, 1)


class TestDeterministicEcmp:
    """RFC 8279 6.7.2: as many BIFTs as ways, and a hash of the entropy chooses one."""

    @pytest.fixture
    def router(self, sim: Sim) -> Router:
        """The RFC's destinations: X by two paths, Y by four, in four tables. X is bit 1, Y bit 2."""
        rows = [*ports(7), "bift ethernet 100 bsl 64"]
        for way, (x, y) in enumerate([(2, 4), (2, 5), (3, 6), (3, 7)]):
            rows += [f"path ethernet 100 {way} 0 fbm 1 nexthop {x}", f"path ethernet 100 {way} 1 fbm 2 nexthop {y}"]
        return Router(sim, "").load(*rows)

    def test_by_entropy_and_nothing_else(self, router: Router) -> None:
        for entropy in range(100):
            (x,) = router.judge("p1", bier({1}, entropy=entropy)).ports
            (y,) = router.judge("p1", bier({2}, entropy=entropy, bfir_id=9, ttl=7)).ports
            assert router.judge("p1", bier({1, 2}, entropy=entropy, inner=datagram(9, b"else"))).ports == [x, y]
            assert (x, y) in {("p2", "p4"), ("p2", "p5"), ("p3", "p6"), ("p3", "p7")}

    def test_every_way_has_its_part(self, router: Router) -> None:
        found = Counter(router.judge("p1", bier({2}, entropy=entropy)).ports[0] for entropy in range(0, 200_000, 1000))
        assert set(found) == {"p4", "p5", "p6", "p7"}
        assert min(found.values()) > 25

    def test_alternatives_inside_a_way(self, sim: Sim) -> None:
        """The choice of the way does not decide the choice among a bit's alternatives in it."""
        rows = [*ports(5), "bift ethernet 100 bsl 64"]
        for way in (0, 1):
            rows += [f"path ethernet 100 {way} {k} fbm 1 nexthop {2 + 2 * way + k}" for k in (0, 1)]
        router = Router(sim, "").load(*rows)
        found = Counter(router.judge("p1", bier({1}, entropy=entropy)).ports[0] for entropy in range(200))
        assert set(found) == {"p2", "p3", "p4", "p5"}
        assert min(found.values()) > 25


# -- the BFIR ----------------------------------------------------------------------------------------------------------


def ingress(encap: str = "ethernet", more: str = "") -> list[str]:
    """Group 232.1.2.3 and its like from p3 go to BFR-ids 27, 235 and 497 by p1 and p2: RFC 8279 section 3's example."""
    sets = split([27, 235, 497], 256)
    actions = " ".join(f"bier {encap} {100 + si} {each.value:x}" for si, each in sets.items())
    return [
        *ports(2),
        "port p3 context 1",
        f"flow 1 * * {actions}",
        f"bift {encap} 100 sd 0 si 0 bsl 256 bfr-id 7{more}",
        f"path {encap} 100 0 0 fbm {bits(27, 235)} nexthop 1 as 200",
        f"bift {encap} 101 sd 0 si 1 bsl 256 bfr-id 7{more}",
        f"path {encap} 101 0 0 fbm {bits(241)} nexthop 2 as 201",
    ]


def from_outside(inner: bytes, group: IPv4Address | IPv6Address = G4) -> bytes:
    return frame(multicast_mac(group), Ethertype.IPV4 if group.version == 4 else Ethertype.IPV6, inner)


class TestBfir:
    @both
    def test_one_packet_for_each_set(self, router: Router, encap: str) -> None:
        router.load("node ttl 200", *ingress(encap))
        outcome = router.judge("p3", from_outside(datagram()))
        assert outcome.ports == ["p1", "p2"]
        found = [Bier.decode(data[14:], 256, ENCAPSULATION[encap]) for _, data in outcome.sent]
        assert [inner for _, inner in found] == [datagram(63)] * 2
        entropy = found[0][0].entropy
        common = {"bfir_id": 7, "proto": 4, "ttl": 200, "entropy": entropy}
        assert [header for header, _ in found] == [
            Bier(bift_id=200, bits=BitString.of({27, 235}), **common),
            Bier(bift_id=201, bits=BitString.of({241}), **common),
        ]
        assert {Ethernet.decode(data)[0].ethertype for _, data in outcome.sent} == {ETHERTYPE[encap]}

    @both
    def test_ipv6(self, router: Router, encap: str) -> None:
        router.load(*ingress(encap))
        outcome = router.judge("p3", from_outside(udp_packet(A6, G6, 1, 2, b"data"), G6))
        header, inner = Bier.decode(outcome.on("p1")[14:], 256, ENCAPSULATION[encap])
        assert header.proto == 6
        assert inner == udp_packet(A6, G6, 1, 2, b"data", 63)

    def test_traffic_class(self, router: Router) -> None:
        """DSCP where there is no MPLS (2.2.2), TC where there is (2.1.1.2), each 0 in the other."""
        for family, header in ((4, IPv4(A4, G4, 17, tos=0b10111001)), (6, IPv6(A6, G6, 17, traffic_class=0b10111001))):
            group = G4 if family == 4 else G6
            inner = header.encode(Udp(1, 2).encode(b"", header.src, header.dst))
            router.load(*ingress())
            found = read(router.judge("p3", from_outside(inner, group)).on("p1"), "ethernet", 256)
            assert (found.dscp, found.tc) == (0b101110, 0)
            router.load(*ingress("mpls"))
            found = read(router.judge("p3", from_outside(inner, group)).on("p1"), "mpls", 256)
            assert (found.dscp, found.tc) == (0, 0b101)

    def test_entropy_is_a_flows(self, router: Router) -> None:
        router.load(*ingress())

        def entropy(inner: bytes, group: IPv4Address | IPv6Address = G4) -> int:
            return read(router.judge("p3", from_outside(inner, group)).on("p1"), bsl=256).entropy

        same = {entropy(datagram(ttl, data)) for ttl in (2, 64, 255) for data in (b"", b"x", bytes(1000))}
        assert len(same) == 1
        flows = [datagram(sport=sport, dport=dport) for sport in range(10, 20) for dport in range(10, 20)]
        assert len({entropy(each) for each in flows}) > 95
        flows6 = [udp_packet(A6, G6, sport, 2) for sport in range(100)]
        assert len({entropy(each, G6) for each in flows6}) > 95

    def test_fragments_stay_together(self, router: Router) -> None:
        """Later fragments have no ports, so the first one's are not looked at either."""
        router.load(*ingress())
        datagram = Udp(1, 2).encode(bytes(64), A4, G4)
        found = set()
        for more, offset in ((True, 0), (True, 3), (False, 6)):
            inner = IPv4(A4, G4, Protocol.UDP, identification=9, mf=more, fragment_offset=offset)
            data = inner.encode(datagram[8 * offset : 8 * offset + 24])
            found.add(read(router.judge("p3", from_outside(data)).on("p1"), bsl=256).entropy)
        assert len(found) == 1

    def test_its_own_bit(self, router: Router) -> None:
        """A BFIR that is a BFER delivers to itself; the TTL is decremented once, as it is one hop."""
        router.load(*three(), "port in context 5", f"flow 5 * * bier ethernet 100 {bits(2, 3)}")
        outcome = router.judge("in", from_outside(datagram()))
        assert outcome.ports == ["p3", "host"]
        assert set(read(outcome.on("p3")).bits) == {2}
        assert payload(outcome.on("host"), Ethertype.IPV4) == datagram(63)

    def test_only_to_itself(self, router: Router) -> None:
        router.load(*three(), "port in context 5", f"flow 5 * * bier ethernet 100 {bits(3)}")
        assert router.judge("in", from_outside(datagram())).ports == ["host"]

    def test_a_ttl_of_one_goes_to_the_neighbour_only(self, router: Router) -> None:
        """`node ttl` is what it sends with."""
        router.load("node ttl 1", *ingress())
        assert read(router.judge("p3", from_outside(datagram())).on("p1"), bsl=256).ttl == 1

    def test_the_inner_ttl_ends_here(self, router: Router) -> None:
        router.load(*ingress())
        for ttl in (0, 1):
            outcome = router.judge("p3", from_outside(datagram(ttl)))
            assert (outcome.sent, outcome.drops) == ([], {"ip-ttl": 1})

    def test_the_domains_mtu(self, router: Router) -> None:
        """RFC 8296 section 3: dropped before it is encapsulated; the MTU is that of the BIER packet."""
        header, room = 12 + 32, 100
        router.load(*ingress(more=f" mtu {header + room}"))
        fits = datagram(data=bytes(room - 28))
        assert router.judge("p3", from_outside(fits)).ports == ["p1", "p2"]
        outcome = router.judge("p3", from_outside(datagram(data=bytes(room - 27))))
        assert (outcome.sent, outcome.drops) == ([], {"ingress-mtu": 2})

    def test_without_a_bfr_id_it_is_no_bfir(self, router: Router) -> None:
        rows = [row.replace(" bfr-id 7", "") for row in ingress()]
        assert any("BFIR" in each for each in router.change("replace", rows))

    def test_an_unreachable_set_does_not_hold_up_the_others(self, router: Router) -> None:
        router.load(*[row.replace("nexthop 1 as 200", "drop") for row in ingress()])
        outcome = router.judge("p3", from_outside(datagram()))
        assert outcome.ports == ["p2"]
        assert outcome.drops == {"bier-path-drop": 1}


class TestTunnels:
    def test_labels_above_the_header(self, router: Router) -> None:
        """RFC 8296 2.1.3 and RFC 8279 6.9: a tunnel's label on top, popped here; its TTL is not the BIER packet's."""
        router.load(*three("mpls"), "label 500 pop")
        inner = bier({2, 3}, "mpls")[14:]
        stack = encode_stack(label_stack([500], ttl=3, bottom=False), inner)
        outcome = router.judge("p1", frame(ME, Ethertype.MPLS, stack))
        assert outcome.ports == ["p3", "host"]
        assert read(outcome.on("p3"), "mpls").ttl == 63

    def test_a_transit_label_router(self, router: Router) -> None:
        """It neither reads nor changes what is below."""
        router.load(*three("mpls"), "label 500 swap 600 nexthop 2")
        inner = bier({2, 3}, "mpls")[14:]
        data = frame(ME, Ethertype.MPLS, encode_stack(label_stack([500], ttl=3, bottom=False), inner))
        sent = payload(router.judge("p1", data).on("p2"), Ethertype.MPLS)
        assert sent == encode_stack(label_stack([600], ttl=2, bottom=False), inner)

    def test_a_label_is_not_a_bifts_and_anothers(self, router: Router) -> None:
        assert router.change("replace", [*three("mpls"), "label 100 pop"])


def test_frames_are_read_from_any_host(router: Router) -> None:
    """Nothing hangs on the source address of a frame."""
    router.load(*three())
    data = Ethernet(ME, HOST, Ethertype.BIER).encode(bier({2})[14:])
    other = Ethernet(ME, ME, Ethertype.BIER).encode(bier({2})[14:])
    assert router.judge("p1", data).sent == router.judge("p1", other).sent
