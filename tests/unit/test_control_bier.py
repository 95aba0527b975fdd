"""The parts of the BIER agent that need no network: who is a BFR, who joined what, and the flows that follow."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.control.bfrs import Bfr, Bfrs, advertisement
from testbed.control.bier_config import OPAQUE_TYPE, BierConfig
from testbed.control.bier_flows import BierFlows
from testbed.control.lsdb import Change
from testbed.control.membership import Member, read_report
from testbed.forwarder.tables import Tables
from testbed.packet.checksum import internet_checksum
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, encode_prefixes
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, RouterLink, RouterLsa, opaque_lsa_id


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


def opaque(router: int, body: bytes, number: int = 0) -> Lsa:
    return Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(OPAQUE_TYPE, number), ip(f"10.255.0.{router}"), body)


def bfr(router: int, bfr_id: int, sd: int = 0) -> Lsa:
    return opaque(router, advertisement(ip(f"10.255.0.{router}"), sd, bfr_id))


def ids(bfrs: Bfrs) -> dict[int, int]:
    """Router number -> BFR-id, of those that count."""
    return {int(each.prefix) & 0xFF: each.bfr_id for each in bfrs.accepted()}


@pytest.fixture
def bfrs() -> Bfrs:
    found = Bfrs(sd=0, bsl=256, hold=60.0, common_bift_id=1)
    for router in (1, 2):
        assert found.update(0.0, Change.ADDED, bfr(router, 10 + router))
    return found


def test_golden_bytes_of_rfc_8444() -> None:
    """BFR-id 7, label base 5000, BSL 256, prefix 10.255.0.7/32: the TLVs as the facts have them, byte for byte."""
    body = advertisement(ip("10.255.0.7"), 0, 7, label=5000)
    assert body.hex() == "00010020" + "01200040" + "0aff0007" + "00090014" + "00000007" + "00000000" + (
        "000a0008" + "00001388" + "30000000"
    )


def test_everybody_is_learned_and_forgotten_after_a_farewell(bfrs: Bfrs) -> None:
    assert ids(bfrs) == {1: 11, 2: 12}
    assert bfrs.update(1.0, Change.CHANGED, bfr(2, 0))
    assert ids(bfrs) == {1: 11, 2: 0}
    assert bfrs.update(2.0, Change.DELETED, bfr(2, 0))
    assert ids(bfrs) == {1: 11}


def test_who_goes_without_a_farewell_is_held(bfrs: Bfrs) -> None:
    """ospfd flushes what came from an agent that died; the router may well be forwarding."""
    assert not bfrs.update(5.0, Change.DELETED, bfr(2, 12))
    assert ids(bfrs) == {1: 11, 2: 12}
    assert bfrs.next_expiry() == 65.0
    assert not bfrs.expire(64.9)
    assert bfrs.expire(65.0)
    assert ids(bfrs) == {1: 11}


def test_who_comes_back_in_time_is_not_forgotten(bfrs: Bfrs) -> None:
    bfrs.update(5.0, Change.DELETED, bfr(2, 12))
    bfrs.update(6.0, Change.ADDED, bfr(2, 12))
    assert not bfrs.expire(1000.0)
    assert ids(bfrs) == {1: 11, 2: 12}


def test_a_bfr_id_taken_twice_is_nobodys(bfrs: Bfrs) -> None:
    """RFC 8279 section 5."""
    bfrs.update(1.0, Change.ADDED, bfr(3, 11))
    assert ids(bfrs) == {1: 0, 2: 12, 3: 0}
    assert len(bfrs.ignored) == 2
    assert bfrs.holders(11) == {ip("10.255.0.1"), ip("10.255.0.3")}
    assert bfrs.holders(12) == {ip("10.255.0.2")}
    assert bfrs.holders(13) == set()
    bfrs.update(2.0, Change.CHANGED, bfr(3, 13))
    assert ids(bfrs) == {1: 11, 2: 12, 3: 13}


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x01\x00\x63rubbish",
        encode_prefixes([ExtendedPrefix(IPv4Network("10.255.0.0/24"), (BierSubTlv(0, 5),))]),
        encode_prefixes([ExtendedPrefix(IPv4Network("10.255.0.3"), (BierSubTlv(0, 5), BierSubTlv(0, 6)))]),
        encode_prefixes([ExtendedPrefix(IPv4Network("10.255.0.3"), (BierSubTlv(0, 5, mt_id=7),))]),
        encode_prefixes([ExtendedPrefix(IPv4Network("10.255.0.3"), (BierSubTlv(0, 5, bar=1),))]),
        advertisement(ip("10.255.0.3"), 9, 5),
    ],
    ids=["rubbish", "no host prefix", "sub-domain twice", "other topology", "other algorithm", "other sub-domain"],
)
def test_a_router_that_misbehaves_is_ignored_and_others_are_not(bfrs: Bfrs, body: bytes) -> None:
    bfrs.update(1.0, Change.ADDED, opaque(3, body))
    assert ids(bfrs) == {1: 11, 2: 12}


def test_with_mpls_a_neighbour_without_labels_of_our_length_is_no_bfr() -> None:
    bfrs = Bfrs(sd=0, bsl=256, hold=60.0, common_bift_id=None)
    bfrs.update(0.0, Change.ADDED, opaque(1, advertisement(ip("10.255.0.1"), 0, 1, label=5000)))
    bfrs.update(0.0, Change.ADDED, opaque(2, advertisement(ip("10.255.0.2"), 0, 2, label=6000, bsl=512)))
    bfrs.update(0.0, Change.ADDED, bfr(3, 3))
    assert bfrs.accepted() == [Bfr(ip("10.255.0.1"), ip("10.255.0.1"), 1, 5000)]


def test_interfaces_of_bfrs_and_first_hops_of_sources(bfrs: Bfrs) -> None:
    links = (
        RouterLink(LinkType.POINT_TO_POINT, ip("10.255.0.2"), ip("10.0.0.1"), 10),
        RouterLink(LinkType.STUB, ip("10.0.0.0"), ip("255.255.255.252"), 10),
        RouterLink(LinkType.STUB, ip("10.64.0.0"), ip("255.255.255.252"), 10),
        RouterLink(LinkType.STUB, ip("10.255.0.1"), ip("255.255.255.255"), 0),
    )
    for router in (1, 9):  # 9 is no BFR
        moved = tuple(
            RouterLink(each.type, each.id, ip("10.0.9.1"), 10) if router == 9 and each.type == 1 else each
            for each in links[: 4 if router == 1 else 1]
        )
        lsa = Lsa(LsaType.ROUTER, ip(f"10.255.0.{router}"), ip(f"10.255.0.{router}"), RouterLsa(moved).encode())
        assert bfrs.update(0.0, Change.ADDED, lsa)
    prefixes = {ip("10.255.0.1"): 1, ip("10.255.0.2"): 1}
    assert bfrs.neighbours(bfrs.accepted()) == {ip("10.0.0.1"): 1} | prefixes
    assert bfrs.router_of(ip("10.64.0.2")) == ip("10.255.0.1")
    assert bfrs.router_of(ip("192.0.2.1")) is None


# -- IGMP ------------------------------------------------------------------------------------------------------------


def report(*records: tuple[int, str, list[str]]) -> bytes:
    body = b"".join(
        struct.pack("!BBH", kind, 0, len(sources)) + ip(group).packed + b"".join(ip(s).packed for s in sources)
        for kind, group, sources in records
    )
    head = struct.pack("!BBHHH", 0x22, 0, 0, 0, len(records)) + body
    return head[:2] + struct.pack("!H", internet_checksum(head)) + head[4:]


S1, S2, G = "10.64.0.2", "10.64.0.6", "232.2.0.1"


def test_reports_of_rfc_3376() -> None:
    told = list(read_report("lan", report((5, G, [S1]), (6, G, [S2]), (4, "239.1.1.1", []), (3, "239.1.1.2", []))))
    assert told == [
        (True, Member("lan", ip(G), ip(S1))),
        (False, Member("lan", ip(G), ip(S2))),
        (True, Member("lan", ip("239.1.1.1"), None)),
        (False, Member("lan", ip("239.1.1.2"), None)),
    ]


@given(st.binary(max_size=64), st.booleans())
def test_whatever_comes_is_survived(data: bytes, repaired: bool) -> None:
    if repaired and len(data) >= 8:
        data = b"\x22" + data[1:2] + b"\0\0" + data[4:]
        data = data[:2] + struct.pack("!H", internet_checksum(data)) + data[4:]
    list(read_report("lan", data))


# -- flows -----------------------------------------------------------------------------------------------------------


def flows(**config: object) -> BierFlows:
    values = {"loopback": "10.255.0.1", "transport": (), "lans": ("lan",), "forwarder": "", "events": ""} | config
    return BierFlows(BierConfig(**values))  # type: ignore[arg-type]


def test_a_packet_a_set_identifier() -> None:
    """RFC 8279 section 3: BFR-ids 27, 235 and 497 at BSL 256 are two packets."""
    one = flows()
    one.set_flow(ip(S1), ip(G), frozenset({27, 235, 497}))
    masks = [f"{1 << 26 | 1 << 234:x}", f"{1 << 240:x}"]
    assert one.changes(frozenset({0, 1})) == [f"flow 1 {S1} {G} bier ethernet 1 {masks[0]} bier ethernet 2 {masks[1]}"]
    assert one.changes(frozenset({0, 1})) == []
    assert one.changes(frozenset({0})) == [f"flow 1 {S1} {G} bier ethernet 1 {masks[0]}"]


def test_joins_and_leaves_add_up() -> None:
    one = flows()
    for bfr_id in (3, 5):
        one.change(ip(S1), ip(G), bfr_id, joins=True)
    one.change(ip(S1), ip(G), 3, joins=False)
    assert one.changes(frozenset({0})) == [f"flow 1 {S1} {G} bier ethernet 1 10"]
    one.change(ip(S1), ip(G), 5, joins=False)
    assert one.changes(frozenset({0})) == [f"del flow 1 {S1} {G}"]


def test_own_hosts_are_served_at_both_ends() -> None:
    one = flows()
    one.set_members({Member("lan", ip(G), ip(S1)), Member("lan2", ip(G), ip(S1))})
    one.set_flow(ip(S1), ip(G), frozenset({2}))
    assert one.changes(frozenset({0})) == [
        f"flow 2 {S1} {G} port lan port lan2",
        f"flow 1 {S1} {G} bier ethernet 1 2 port lan port lan2",
    ]


def test_a_successor_goes_on_with_what_the_forwarder_has() -> None:
    one = flows()
    one.set_members({Member("lan", ip(G), ip(S1))})
    one.set_flow(ip(S1), ip(G), frozenset({27, 497}))
    lines = one.changes(frozenset({0, 1}))
    bifts = ["bift ethernet 1 sd 0 si 0 bsl 256", "bift ethernet 2 sd 0 si 1 bsl 256"]
    other = flows()
    other.adopt(Tables.parse("\n".join(["port lan", *bifts, *lines])))
    assert other.changes(frozenset({0, 1})) == lines


@pytest.mark.parametrize(("group", "bfers"), [("10.0.0.1", {1}), (G, {0}), (G, {65536})])
def test_nonsense_is_refused(group: str, bfers: set[int]) -> None:
    with pytest.raises(ValueError, match=r"no multicast group|no BFR-id"):
        flows().set_flow(None, ip(group), frozenset(bfers))
