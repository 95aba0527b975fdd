"""BIER over real links: the networks of RFC 8279 sections 6.3 to 6.7, with a forwarder in each router."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_lab import Address, Frames, Host, Network, Tap, forwarded, hear, inject, network, walk
from small_lab import wait_for

from testbed.packet import (
    Bier,
    BitString,
    Encapsulation,
    Ethertype,
    PacketError,
    Udp,
    split,
    udp_packet,
)

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ETHERTYPE = {"ethernet": Ethertype.BIER, "mpls": Ethertype.MPLS}
ENCAPSULATION = {"ethernet": Encapsulation.NON_MPLS, "mpls": Encapsulation.MPLS}
both = pytest.mark.parametrize("encap", ["ethernet", "mpls"])
families = pytest.mark.parametrize("family", [4, 6])

ADJACENT = {"A": "B", "B": "ACE", "C": "BDF", "D": "C", "E": "BF", "F": "CE"}  # figure 6; figure 1 is without E-F
IDS = {"D": 1, "F": 2, "E": 3, "A": 4}
ALL = 0b1111
# Rows 1 to 4: F-BM and BFR-NBR. A, B and C are figure 5.
FIGURE_1 = {
    "A": ("0111 B", "0111 B", "0111 B", "1000 A"),
    "B": ("0011 C", "0011 C", "0100 E", "1000 A"),
    "C": ("0001 D", "0010 F", "1100 B", "1100 B"),
    "D": ("0001 D", "1110 C", "1110 C", "1110 C"),
    "E": ("1011 B", "1011 B", "0100 E", "1011 B"),
    "F": ("1101 C", "0010 F", "1101 C", "1101 C"),
}
FIGURE_6 = {**FIGURE_1, "B": ("0011 C", "0011 C, 0110 E", "0110 E", "1000 A")}  # ECMP at B alone
FIGURE_6["E"] = ("1001 B", "0010 F", "0100 E", "1001 B")  # so that what B sends to E for F takes the new link
BIFT_ID = {"ethernet": dict.fromkeys(ADJACENT, 77), "mpls": {name: 1000 + ord(name) for name in ADJACENT}}


def group(family: int, number: int) -> Address:
    return IPv4Address(f"232.1.2.{number}") if family == 4 else IPv6Address(f"ff3e::8000:{number:x}")


def source(family: int, name: str) -> Address:
    """Of the host at a router."""
    return IPv4Address(f"192.0.2.{ord(name)}") if family == 4 else IPv6Address(f"2001:db8:ff::{ord(name):x}")


@pytest.fixture(scope="module")
def lab() -> Iterator[Network]:
    hosts = [f"{name}-h{name}" for name in IDS]
    with network("A-B", "B-C", "C-D", "B-E", "C-F", "E-F", *hosts) as made:
        for name in IDS:
            given = [f"ip address add {source(family, name)} dev to-{name}" for family in (4, 6)]
            made.run(f"h{name}", *given)
        made.start(*ADJACENT)
        yield made


@pytest.fixture(scope="module")
def taps(lab: Network) -> Iterator[Tap]:
    with Tap(lab, *ADJACENT, *(f"h{name}" for name in IDS)) as made:
        yield made


@pytest.fixture
def tap(taps: Tap) -> Tap:
    taps.take()
    return taps


@pytest.fixture
def hosts(lab: Network, family: int) -> Iterator[dict[str, Host]]:
    groups = [group(family, number) for number in range(1, 16)]
    made = {name: Host(lab, f"h{name}", f"to-{name}", family, groups) for name in IDS}
    yield made
    for host in made.values():
        host.close()


def tables(lab: Network, encap: str, bifts: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Whoever sends to group <BitString> sends to its BFERs; what is delivered goes to the router's host."""
    rows = {}
    for name, entries in bifts.items():
        own = BIFT_ID[encap][name]
        bfr_id = f" bfr-id {IDS[name]}" if name in IDS else ""
        rows[name] = [*lab.links(name, *ADJACENT[name]), f"bift {encap} {own} sd 0 si 0 bsl 64{bfr_id} context 2"]
        for k, (fbm, to) in enumerate(sorted({tuple(entry.split()) for row in entries for entry in row.split(", ")})):
            towards = "local" if to == name else f"nexthop {lab.number(to)} as {BIFT_ID[encap][to]}"
            rows[name].append(f"path {encap} {own} 0 {k} fbm {int(fbm, 2):x} {towards}")
        if name in IDS:
            rows[name] += [f"port to-h{name} context 1", f"flow 2 * * port to-h{name}"]
            rows[name] += [
                f"flow 1 * {group(family, bits)} bier {encap} {own} {bits:x}"
                for bits in range(1, 16)
                for family in (4, 6)
            ]
    return rows


def bfers(bits: int) -> set[str]:
    return {name for name, bfr_id in IDS.items() if bits >> bfr_id - 1 & 1}


@dataclass
class Written:
    """The frames that must be, octet by octet; the entropy is the BFIR's to choose."""

    lab: Network
    encap: str
    packet: bytes  # as the sender's kernel made it
    to: Address
    entropy: int

    def copy(self, router: str, to: str, bits: int, ttl: int) -> tuple[str, str, bytes]:
        bift = BIFT_ID[self.encap][to]
        header = f"{bift:05x}1{ttl:02x} 501{self.entropy:05x} 000{self.to.version}0004 {bits:016x}"
        data = bytes.fromhex(header) + forwarded(self.packet, 1)
        return router, f"to-{to}", self.lab.frame(router, to, ETHERTYPE[self.encap], data)

    def delivered(self, router: str) -> tuple[str, str, bytes]:
        return router, f"to-h{router}", self.lab.delivery(router, self.to, forwarded(self.packet, 2))


def entropy_of(frames: Frames, router: str = "A") -> int:
    """What the BFIR has put in."""
    return next(int.from_bytes(frame[14 + 5 : 14 + 8], "big") & 0xFFFFF for node, _, frame in frames if node == router)


@both
@families
class TestFigure1:
    @pytest.fixture(autouse=True)
    def _tables(self, lab: Network, encap: str) -> Iterator[None]:
        """Nothing is dropped in any of these walks."""
        lab.load(tables(lab, encap, FIGURE_1))
        before = {name: each.drops() for name, each in lab.forwarders.items()}
        yield
        assert {name: each.drops() for name, each in lab.forwarders.items()} == before

    def test_first_walk(self, lab: Network, tap: Tap, hosts: dict[str, Host], encap: str, family: int) -> None:
        """6.6.1: A to D."""
        to = group(family, 0b0001)
        packet, frames = walk(tap, hosts, "A", to, {"D"}, group(family, ALL))
        must = Written(lab, encap, packet, to, entropy_of(frames))
        assert sorted(frames) == [
            must.copy("A", "B", 0b0001, 64),
            must.copy("B", "C", 0b0001, 63),
            must.copy("C", "D", 0b0001, 62),
            must.delivered("D"),
        ]

    def test_second_walk(self, lab: Network, tap: Tap, hosts: dict[str, Host], encap: str, family: int) -> None:
        """6.6.2: A to D and E. One copy to B, which sends two."""
        to = group(family, 0b0101)
        packet, frames = walk(tap, hosts, "A", to, {"D", "E"}, group(family, ALL))
        must = Written(lab, encap, packet, to, entropy_of(frames))
        assert sorted(frames) == [
            must.copy("A", "B", 0b0101, 64),
            must.copy("B", "C", 0b0001, 63),
            must.copy("B", "E", 0b0100, 63),
            must.copy("C", "D", 0b0001, 62),
            must.delivered("D"),
            must.delivered("E"),
        ]

    def test_the_checksum_is_completed(self, lab: Network, tap: Tap, hosts: dict[str, Host], family: int) -> None:
        """The sending kernel leaves it to a device that does nothing; the receiving one would drop a wrong one."""
        to = group(family, 0b0001)
        packet, frames = walk(tap, hosts, "A", to, {"D"}, group(family, ALL))
        header, at = (20, 12) if family == 4 else (40, 8)
        size = (header - at) // 2
        addresses = [packet[at : at + size], packet[at + size : header]]
        src, dst = map(IPv4Address if family == 4 else IPv6Address, addresses)
        assert (src, dst) == (source(family, "A"), to)
        with pytest.raises(PacketError, match="checksum"):
            Udp.decode(packet[header:], src, dst)
        for _, _, frame in frames:
            assert Udp.decode(frame[-len(packet) + header :], src, dst)[1] == b"walk"

    def test_every_length(self, lab: Network, hosts: dict[str, Host], family: int) -> None:
        """Odd ones and long ones have their checksums, too."""
        to = group(family, ALL)
        sizes = [0, 1, 2, 3, 7, 64, 999, 1400]
        for size in sizes:
            hosts["A"].send(to, bytes(range(256)).ljust(2000, b"\xff")[:size])
        hosts["A"].send(to, b"last")
        heard = hear(hosts, b"last", "DEF")
        assert set(heard) == set("DEF")
        for data in heard.values():
            assert [len(each) for each in data[:-1]] == sizes
            assert all(each == bytes(range(256)).ljust(2000, b"\xff")[: len(each)] for each in data[:-1])

    def test_every_bitstring_from_everywhere(self, lab: Network, tap: Tap, hosts: dict[str, Host], family: int) -> None:
        for ingress in IDS:
            for bits in range(1, 16):
                _, frames = walk(tap, hosts, ingress, group(family, bits), bfers(bits) - {ingress}, group(family, ALL))
                links = Counter((node, interface) for node, interface, _ in frames)
                assert set(links.values()) <= {1}  # 6.5: to each BFR-NBR only once


@both
@pytest.mark.parametrize("family", [4])
class TestFigure6:
    """ECMP at B: 6.7.1."""

    @pytest.fixture
    def at_b(self, lab: Network, tap: Tap, hosts: dict[str, Host], encap: str) -> dict[int, list[Counter[str]]]:
        """What B does with a packet from A for a BitString, for each of 64 entropies: copies as "neighbour BitString".
        Whatever it does, each BFER gets the packet once."""
        lab.load(tables(lab, encap, FIGURE_6))
        asked = (0b0010, 0b0011, 0b0110, 0b0111)
        frames, wanted = [], {name: Counter[bytes]() for name in ("D", "E", "F")}

        def ask(bits: int, entropy: int, data: bytes) -> None:
            header = Bier(
                bift_id=BIFT_ID[encap]["B"], bits=BitString(bits, 64), proto=4, bfir_id=4, entropy=entropy, ttl=64
            )
            inner = udp_packet(source(4, "A"), group(4, bits), 5001, 5001, data)
            frames.append(lab.frame("A", "B", ETHERTYPE[encap], header.encode(inner)))
            for name in bfers(bits):
                wanted[name][data] += 1

        for bits in asked:
            for entropy in range(64):
                ask(bits, entropy, f"{bits} {entropy}".encode())
        inject(lab, "A", "to-B", *frames)
        heard = {name: Counter[bytes]() for name in wanted}

        def all_came() -> bool:
            for name, each in heard.items():
                each.update(data for _, data in hosts[name].hear())
            return all(each.total() >= wanted[name].total() for name, each in heard.items())

        wait_for(all_came, "as many packets as were sent")
        assert heard == wanted
        found = {bits: [Counter[str]() for _ in range(64)] for bits in asked}
        for node, interface, frame in tap.take():
            if node == "B":
                copy, inner = Bier.decode(frame[14:], 64, ENCAPSULATION[encap])
                bits, entropy = map(int, inner[28:].split())
                assert (copy.entropy, copy.ttl) == (entropy, 63)
                found[bits][entropy][f"{interface.removeprefix('to-')} {copy.bits.value:04b}"] += 1
        return found

    def test_the_mask_is_that_of_the_choice(self, at_b: dict[int, list[Counter[str]]]) -> None:
        def ways(bits: int) -> list[dict[str, int]]:
            found = {tuple(sorted(each.elements())) for each in at_b[bits]}
            return sorted(map(list, found))

        assert ways(0b0011) == [["C 0011"]]  # D and F: always through C
        assert ways(0b0010) == [["C 0010"], ["E 0010"]]  # F: through either
        assert ways(0b0110) == [["C 0010", "E 0100"], ["E 0110"]]  # E and F: never F in both
        assert ways(0b0111) == [["C 0011", "E 0100"]]

    def test_both_ways_carry_their_part(self, at_b: dict[int, list[Counter[str]]]) -> None:
        assert 16 < sum("C 0010" in each for each in at_b[0b0010]) < 48


OF = {"D": 27, "F": 235, "E": 497}
WAY = {"A": {"D": "B", "F": "B", "E": "B"}, "B": {"D": "C", "F": "C", "E": "E"}, "C": {"D": "D", "F": "F"}}


@both
@families
class TestSets:
    """RFC 8279 section 3: BFR-ids 27, 235 and 497 with a BitStringLength of 256 are two packets."""

    def bift(self, encap: str, router: str, si: int) -> int:
        """In MPLS, a label a set in each router."""
        return 500 + si if encap == "ethernet" else 2000 + 10 * ord(router) + si

    def rows(self, lab: Network, router: str, encap: str) -> list[str]:
        rows = lab.links(router, *ADJACENT[router])
        for si in (0, 1):
            bfr_id = f" bfr-id {OF.get(router, 7)}" if router in IDS else ""
            rows.append(f"bift {encap} {self.bift(encap, router, si)} sd 0 si {si} bsl 256{bfr_id} context 2")
        way: dict[str, set[int]] = {}
        for bfer, bfr_id in OF.items():
            to = router if bfer == router else WAY.get(router, {}).get(bfer, "")
            way.setdefault(to, set()).add(bfr_id)
        for k, (to, ids) in enumerate(sorted(way.items())):
            for si, bits in split(ids, 256).items():
                if to:
                    leads = "local" if to == router else f"nexthop {lab.number(to)} as {self.bift(encap, to, si)}"
                    rows.append(f"path {encap} {self.bift(encap, router, si)} 0 {k} fbm {bits.hex()} {leads}")
        if router in OF:
            rows += [f"port to-h{router}", f"flow 2 * * port to-h{router}"]
        if router == "A":
            sets = split(OF.values(), 256).items()
            actions = " ".join(f"bier {encap} {self.bift(encap, 'A', si)} {bits.hex()}" for si, bits in sets)
            rows += ["port to-hA context 1", f"flow 1 * * {actions}"]
        return rows

    def test_a_packet_a_set(self, lab: Network, tap: Tap, hosts: dict[str, Host], encap: str, family: int) -> None:
        lab.load({name: self.rows(lab, name, encap) for name in ADJACENT})
        _, frames = walk(tap, hosts, "A", group(family, 1), set(OF))
        found = []
        for node, interface, frame in frames:
            if not interface.startswith("to-h"):
                header, _ = Bier.decode(frame[14:], 256, ENCAPSULATION[encap])
                found.append((node, interface[3:], header.bift_id, set(header.bits), header.ttl))
        assert sorted(found, key=str) == sorted(
            [
                ("A", "B", self.bift(encap, "B", 0), {27, 235}, 64),
                ("A", "B", self.bift(encap, "B", 1), {241}, 64),
                ("B", "C", self.bift(encap, "C", 0), {27, 235}, 63),
                ("B", "E", self.bift(encap, "E", 1), {241}, 63),
                ("C", "D", self.bift(encap, "D", 0), {27}, 62),
                ("C", "F", self.bift(encap, "F", 0), {235}, 62),
            ],
            key=str,
        )


@families
class TestOwnHost:
    """The router itself as a host: a veth pair, both ends in the node. The forwarder has one, the kernel the other."""

    @pytest.fixture(autouse=True)
    def _pairs(self, lab: Network) -> Iterator[None]:
        for name in "AD":
            given = [f"ip address add {address} dev kernel" for address in (self.own(4, name), self.own(6, name))]
            lab.run(name, "ip link add own type veth peer name kernel", "ip link set own up", "ip link set kernel up")
            lab.run(name, *given)
        yield
        for name in "AD":
            lab.run(name, "ip link del own")

    def own(self, family: int, name: str) -> Address:
        return source(family, name) + 100

    def test_from_one_to_another(self, lab: Network, family: int) -> None:
        rows = tables(lab, "ethernet", FIGURE_1)
        rows["A"].append("port own context 1")
        rows["D"] = [row for row in rows["D"] if not row.startswith("flow 2")]
        rows["D"] += ["port own", "flow 2 * * port own port to-hD"]
        lab.load(rows)
        to = group(family, 0b0001)
        with (
            Host(lab, "A", "kernel", family) as sender,
            Host(lab, "D", "kernel", family, [to]) as itself,
            Host(lab, "hD", "to-D", family, [to]) as behind,
        ):
            sender.send(to, b"data")
            assert wait_for(itself.hear, "it at the router") == [(self.own(family, "A"), b"data")]
            assert wait_for(behind.hear, "it behind the router") == [(self.own(family, "A"), b"data")]
