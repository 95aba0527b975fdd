"""The forwarder's core at both ends of a tunnel: RFC 8279 section 6.9, by GRE (RFC 2784) over IPv4."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from forwarder_sim import Router, Sim, frame, payload, peer_mac, port_mac, ports, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import (
    Bier,
    BitString,
    Encapsulation,
    Ethernet,
    Ethertype,
    Gre,
    IPv4,
    Protocol,
    encode_stack,
    label_stack,
    multicast_mac,
    udp_packet,
)
from testbed.packet.checksum import internet_checksum

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
HERE, THERE = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")
OVERHEAD = 24
BIER_HEADER = 12 + 8  # with a BitString of 64 bits
ME = port_mac("", "p1")
INNER = udp_packet(A4, G4, 1, 2, b"data")
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


def rows(encap: str = "ethernet", bsl: int = 64, node: str = f"tunnel {HERE}", bift: str = "") -> list[str]:
    """Bit 1 leads through a tunnel that begins at neighbour 2, bit 2 to neighbour 3, bit 3 is the router's own."""
    return [
        f"node {node}",
        *ports(3),
        "port in context 7",
        "port host",
        f"nexthop 20 port p2 mac {peer_mac(2)} tunnel {THERE}",
        "flow 1 * * port host",
        f"flow 7 * * bier {encap} 100 7",
        f"bift {encap} 100 sd 0 si 0 bsl {bsl} bfr-id 3 context 1{bift}",
        f"path {encap} 100 0 0 fbm 1 nexthop 20 as 777",
        f"path {encap} 100 0 1 fbm 2 nexthop 3",
        f"path {encap} 100 0 2 fbm 4 local",
    ]


def bier(bits: set[int], bsl: int = 64, inner: bytes = INNER, **fields: Any) -> bytes:
    header = Bier(bift_id=100, bits=BitString.of(bits, bsl), proto=4, bfir_id=7)
    return replace(header, **fields).encode(inner)


def opened(data: bytes, encap: str, bsl: int = 64) -> tuple[IPv4, Gre, Bier, bytes]:
    """What a tunnel's packet is, by the codecs."""
    outer, rest = IPv4.decode(payload(data, Ethertype.IPV4))
    gre, rest = Gre.decode(rest)
    return outer, gre, *Bier.decode(rest, bsl, ENCAPSULATION[encap])


def tunnelled(
    packet: bytes, carries: int = Ethertype.BIER, *, gre: dict[str, Any] | None = None, **fields: Any
) -> bytes:
    """A frame for p1 with a packet in a tunnel that ends here."""
    outer = replace(IPv4(THERE, HERE, Protocol.GRE, df=True), **fields)
    return frame(ME, Ethertype.IPV4, outer.encode(Gre(carries, **gre or {}).encode(packet)))


class TestInto:
    @both
    def test_what_is_sent(self, router: Router, encap: str) -> None:
        """The copy for the tunnel has TTL, BIFT-id and bits as for any neighbour; the outer header has its own TTL."""
        router.load(*rows(encap))
        outcome = router.judge("p1", frame(ME, ETHERTYPE[encap], bier({1, 2, 3}, ttl=9, entropy=0xABCDE)))
        assert outcome.ports == ["p2", "p3", "host"]
        assert not outcome.drops
        data = outcome.on("p2")
        assert Ethernet.decode(data)[0] == Ethernet(peer_mac(2), port_mac("", "p2"), Ethertype.IPV4)
        outer, gre, header, inner = opened(data, encap)
        assert outer == IPv4(HERE, THERE, Protocol.GRE, ttl=64, df=True)
        assert gre == Gre(ETHERTYPE[encap])
        direct = Bier.decode(payload(outcome.on("p3"), ETHERTYPE[encap]), 64, ENCAPSULATION[encap])[0]
        assert header == replace(direct, bift_id=777, bits=BitString.of({1}, 64))
        assert (header.ttl, header.entropy, inner) == (8, 0xABCDE, INNER)

    @both
    def test_ttls_are_each_headers_own(self, router: Router, encap: str) -> None:
        router.load(*rows(encap, node=f"tunnel {HERE} ttl 5"))
        for ttl in (2, 64, 255):
            outer, _, header, _ = opened(
                router.judge("p1", frame(ME, ETHERTYPE[encap], bier({1}, ttl=ttl))).on("p2"), encap
            )
            assert (outer.ttl, header.ttl) == (5, ttl - 1)
        outcome = router.judge("p1", frame(ME, ETHERTYPE[encap], bier({1}, ttl=1)))
        assert (outcome.sent, outcome.drops) == ([], {"bier-ttl": 1})

    def test_the_class_is_the_packets(self, router: Router) -> None:
        """The DSCP without MPLS, the traffic class with it; ECN is not copied (RFC 6040 section 4.3)."""
        router.load(*rows())
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, bier({1}, dscp=46)))
        assert opened(outcome.on("p2"), "ethernet")[0].tos == 46 << 2
        router.load(*rows("mpls"))
        outcome = router.judge("p1", frame(ME, Ethertype.MPLS, bier({1}, tc=5)))
        assert opened(outcome.on("p2"), "mpls")[0].tos == 5 << 5

    @both
    @pytest.mark.parametrize("bsl", [64, 4096])
    def test_from_the_bfir(self, router: Router, encap: str, bsl: int) -> None:
        router.load(*rows(encap, bsl))
        outcome = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, INNER))
        assert outcome.ports == ["p2", "p3", "host"]
        outer, _, header, inner = opened(outcome.on("p2"), encap, bsl)
        assert (outer.dst, header.bfir_id, header.ttl) == (THERE, 3, 64)
        assert IPv4.decode(inner)[0].ttl == 63

    def test_the_longest_head_there_is(self, router: Router) -> None:
        """4096 bits and an inner IPv6 header in a tunnel."""
        router.load(*rows(bsl=4096))
        packet = udp_packet(A6, G6, 1, 2, b"data")
        outcome = router.judge("in", frame(multicast_mac(G6), Ethertype.IPV6, packet))
        assert len(outcome.on("p2")) == 14 + OVERHEAD + 12 + 512 + len(packet)
        assert opened(outcome.on("p2"), "ethernet", 4096)[3][40:] == packet[40:]

    @both
    def test_mtu(self, router: Router, encap: str) -> None:
        """What does not fit with the outer header is dropped and counted; the other neighbours get theirs."""
        size = 12 + 8 + len(INNER)
        router.load(*rows(encap), mtu=size + OVERHEAD)
        data = frame(ME, ETHERTYPE[encap], bier({1, 2}))
        assert router.judge("p1", data).ports == ["p2", "p3"]
        router.load(*rows(encap), mtu=size + OVERHEAD - 1)
        outcome = router.judge("p1", data)
        assert (outcome.ports, outcome.drops) == (["p3"], {"mtu": 1})

    def test_longer_than_ip_can_say(self, router: Router) -> None:
        router.load(*rows(), mtu=100_000)
        inner = IPv4(A4, G4, 17).encode(bytes(65535 - 20))
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, bier({1, 2}, inner=inner)))
        assert (outcome.ports, outcome.drops) == (["p3"], {"mtu": 1})

    def test_counted_with_the_outer_header(self, router: Router) -> None:
        router.load(*rows())
        router.receive("p1", frame(ME, Ethertype.BIER, bier({1, 2})))
        tunnel, direct, _ = router.state()["bifts"][0]["paths"]
        assert tunnel["sent"]["bytes"] == direct["sent"]["bytes"] + OVERHEAD

    def test_a_neighbour_that_is_not_found(self, router: Router) -> None:
        """The one where the tunnel begins."""
        hop = f"nexthop 21 port p2 via 192.0.2.9 tunnel {THERE}"
        router.load(*rows(), hop, "path ethernet 100 0 3 fbm 8 nexthop 21")
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, bier({4})))
        assert (outcome.sent, outcome.drops) == ([], {"no-neighbour": 1})
        router.neighbour(21, peer_mac(9))
        outcome = router.judge("p1", frame(ME, Ethertype.BIER, bier({4})))
        assert Ethernet.decode(outcome.on("p2"))[0].dst == peer_mac(9)

    def test_the_view(self, router: Router) -> None:
        router.load(*rows())
        assert any(f"p2 via {peer_mac(2)}, tunnel to {THERE} as 777" in line for line in router.show("bift"))


class TestOutOf:
    @both
    def test_it_is_as_if_it_had_come_by_the_link(self, router: Router, encap: str) -> None:
        """Whatever the outer TTL; BIER's loses one for the hop from BFR to BFR."""
        router.load(*rows(encap))
        direct = router.judge("p1", frame(ME, ETHERTYPE[encap], bier({1, 2, 3}, ttl=9)))
        for ttl in (1, 200):
            outcome = router.judge("p1", tunnelled(bier({1, 2, 3}, ttl=9), ETHERTYPE[encap], ttl=ttl))
            assert outcome == direct

    @both
    def test_from_end_to_end(self, sim: Sim, router: Router, encap: str) -> None:
        """What one core puts in, another takes out."""
        router.load(*rows(encap))
        other = Router(sim, "other").load(
            f"node tunnel {THERE}",
            "port p1 transport",
            "port host",
            "flow 1 * * port host",
            f"bift {encap} 777 sd 0 si 0 bsl 64 bfr-id 1 context 1",
            f"path {encap} 777 0 0 fbm 1 local",
        )
        sent = router.judge("in", frame(multicast_mac(G4), Ethertype.IPV4, INNER)).on("p2")
        header, rest = Ethernet.decode(sent)
        outcome = other.judge("p1", replace(header, dst=port_mac("other", "p1")).encode(rest))
        assert outcome.ports == ["host"]
        assert IPv4.decode(payload(outcome.on("host"), Ethertype.IPV4))[0].ttl == 62

    def test_padding_is_none_of_it(self, router: Router) -> None:
        router.load(*rows())
        outcome = router.judge("p1", tunnelled(bier({2})) + bytes(40))
        assert Bier.decode(payload(outcome.on("p3"), Ethertype.BIER), 64)[1] == INNER

    @pytest.mark.parametrize(
        "options", [{"options": bytes(8)}, {"identification": 7, "df": False}, {"tos": 255}, {"src": A4}]
    )
    def test_what_it_does_not_matter(self, router: Router, options: dict[str, Any]) -> None:
        router.load(*rows())
        assert router.judge("p1", tunnelled(bier({2}), **options)).ports == ["p3"]

    @pytest.mark.parametrize("gre", [{"checksum": True}, {"reserved": 127}])
    def test_what_gre_allows(self, router: Router, gre: dict[str, Any]) -> None:
        """RFC 2784 sections 2.2 and 2.3."""
        router.load(*rows())
        assert router.judge("p1", tunnelled(bier({2}), gre=gre)).ports == ["p3"]

    @pytest.mark.parametrize(
        "gre",
        [{"key": 1}, {"sequence": 1}, *({"version": version} for version in range(1, 8))],
    )
    def test_what_gre_refuses(self, router: Router, gre: dict[str, Any]) -> None:
        router.load(*rows())
        outcome = router.judge("p1", tunnelled(bier({2, 3}), gre=gre))
        assert (outcome.sent, outcome.drops) == ([], {"gre": 1})

    @pytest.mark.parametrize("bit", [0x4000, 0x0800, 0x0400])
    def test_rfc_1701s_bits_are_refused(self, router: Router, bit: int) -> None:
        router.load(*rows())
        packet = IPv4(THERE, HERE, Protocol.GRE).encode(struct.pack("!HH", bit, Ethertype.BIER) + bier({2}))
        outcome = router.judge("p1", frame(ME, Ethertype.IPV4, packet))
        assert (outcome.sent, outcome.drops) == ([], {"gre": 1})

    def test_a_bad_gre_checksum(self, router: Router) -> None:
        router.load(*rows())
        for at in (-1, -len(bier({2})) - 3):  # in the payload, in the checksum itself
            data = bytearray(tunnelled(bier({2}), gre={"checksum": True}))
            data[at] ^= 0x10
            outcome = router.judge("p1", bytes(data))
            assert (outcome.sent, outcome.drops) == ([], {"checksum": 1})

    @pytest.mark.parametrize("protocol", [Ethertype.IPV4, Ethertype.IPV6, 0x6558, 0x8848, 0])
    def test_other_payloads(self, router: Router, protocol: int) -> None:
        router.load(*rows())
        outcome = router.judge("p1", tunnelled(INNER, protocol))
        assert outcome.sent == []
        assert outcome.drops == {"gre-protocol": 1}

    @pytest.mark.parametrize("fragment", [{"mf": True}, {"fragment_offset": 1}, {"mf": True, "fragment_offset": 100}])
    def test_fragments(self, router: Router, fragment: dict[str, Any]) -> None:
        router.load(*rows())
        outcome = router.judge("p1", tunnelled(bier({2, 3}), df=False, **fragment))
        assert (outcome.sent, outcome.drops) == ([], {"fragment": 1})

    @pytest.mark.parametrize(
        ("at", "octet"),
        [(0, 0x55), (0, 0x44), (2, 0xFF), (3, 0x10), (8, 0x41), (12, 0x7F)],
    )
    def test_a_malformed_outer_header(self, router: Router, at: int, octet: int) -> None:
        """Version, header length, total length (too long; shorter than the header), and what the checksum covers."""
        router.load(*rows())
        data = bytearray(tunnelled(bier({2, 3})))
        data[14 + at] = octet
        if at == 3:
            data[14 + 2] = 0
        if at < 4:  # the checksum is right, so that it is the field
            size = 4 * (data[14] & 0xF)
            data[24:26] = bytes(2)
            data[24:26] = internet_checksum(bytes(data[14 : 14 + size])).to_bytes(2, "big")
        outcome = router.judge("p1", bytes(data))
        assert (outcome.sent, outcome.drops) == ([], {"ip-header": 1})

    def test_cut_anywhere(self, router: Router) -> None:
        """The packet as the outer header says it ends anywhere."""
        router.load(*rows())
        for gre in ({}, {"checksum": True}):
            whole = Gre(Ethertype.BIER, **gre).encode(bier({2, 3}, inner=b""))
            for size in range(len(whole)):
                packet = IPv4(THERE, HERE, Protocol.GRE).encode(whole[:size])
                outcome = router.judge("p1", frame(ME, Ethertype.IPV4, packet))
                assert outcome.sent == []
                assert outcome.drops in ({"short": 1}, {"checksum": 1})

    @pytest.mark.parametrize(
        "fields",
        [{"dst": IPv4Address("198.51.100.3")}, {"dst": THERE}, {"protocol": Protocol.UDP}, {"protocol": Protocol.IPV4}],
    )
    def test_what_is_the_kernels_is_left_to_it(self, router: Router, fields: dict[str, Any]) -> None:
        router.load(*rows())
        outcome = router.judge("p1", tunnelled(bier({2, 3}), **fields))
        assert (outcome.sent, outcome.drops) == ([], {})

    def test_only_where_there_is_an_end(self, router: Router) -> None:
        router.load(*[row for row in rows(node="ttl 64") if "nexthop 20" not in row])
        outcome = router.judge("p1", tunnelled(bier({2, 3})))
        assert (outcome.sent, outcome.drops) == ([], {})

    def test_only_from_the_transport_and_for_this_station(self, router: Router) -> None:
        router.load(*rows())
        header, rest = Ethernet.decode(tunnelled(bier({2, 3})))
        for port, dst in (("p1", "02:00:00:00:00:99"), ("host", port_mac("", "host")), ("in", port_mac("", "in"))):
            outcome = router.judge(port, replace(header, dst=dst).encode(rest))
            assert (outcome.sent, outcome.drops) == ([], {})

    def test_a_label_that_is_no_bift(self, router: Router) -> None:
        router.load(*rows("mpls"))
        outcome = router.judge("p1", tunnelled(encode_stack(label_stack([55]), INNER), Ethertype.MPLS))
        assert (outcome.sent, outcome.drops) == ([], {"label-unknown": 1})

    def test_a_tunnel_in_a_tunnel(self, router: Router) -> None:
        """Is none: what is inside is an Ethertype that no tunnel carries."""
        router.load(*rows())
        nested = payload(tunnelled(bier({2, 3})), Ethertype.IPV4)
        outcome = router.judge("p1", tunnelled(nested, Ethertype.IPV4))
        assert (outcome.sent, outcome.drops) == ([], {"gre-protocol": 1})


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=300)
@given(
    data=st.binary(max_size=80),
    edits=st.lists(st.tuples(st.integers(14, 80), st.integers(0, 255)), max_size=3),
    mend=st.booleans(),
)
def test_any_octets(sim: Sim, data: bytes, edits: list[tuple[int, int]], mend: bool) -> None:
    """A tunnel's packet yields what the codecs find in it, or is dropped."""
    router = Router(sim, "any").load(*rows())
    packet = bytearray(tunnelled(bier({2}) + data))
    packet[:6] = bytes.fromhex(port_mac("any", "p1").replace(":", ""))
    for at, octet in edits:
        packet[at % len(packet)] = octet
    if mend and packet[14] == 0x45:
        packet[24:26] = bytes(2)
        packet[24:26] = internet_checksum(bytes(packet[14:34])).to_bytes(2, "big")
    outcome = router.judge("p1", bytes(packet))
    assert len(outcome.sent) + outcome.drops.total() <= 64 + 3
    for port, each in outcome.sent:
        if port == "p3":
            # By its length, for the codec refuses a BFIR-id of 0, which is no transit BFR's business (RFC 8296 2.1.2).
            inner = payload(each, Ethertype.BIER)[BIER_HEADER:]
            assert bytes(packet).find(inner) >= 0
