"""The OSPF API's client against FRR's ospfd, in three routers in a line: a - b - c."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from small_lab import DEADLINE_S, wait_for

from testbed.control.lsdb import Change
from testbed.control.ospf_api import Event, Lost, LsaEvent, OspfApi, OspfApiError
from testbed.lab import namespace, vty
from testbed.lab.capabilities import frr_version
from testbed.lab.daemon import Daemon
from testbed.lab.lab import Lab
from testbed.packet.ospf_api import LARGEST_LSA
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation, decode_prefixes, encode_prefixes
from testbed.packet.ospf_lsa import HEADER_SIZE, LinkType, Lsa, LsaKey, LsaType, RouterLsa, opaque_lsa_id
from testbed.packet.ospf_sr import B_FLAG, PrefixSid, decode_sr_links, decode_sr_prefixes
from testbed.plan.build import make_plan
from testbed.plan.frr import Underlay, render
from testbed.plan.timers import profile
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

OPAQUE_TYPE = 200  # of those for private use (RFC 5250 section 9)
NODES = {"a": {"kind": "repository"}, "b": {"kind": "router"}, "c": {"kind": "site"}}
# Without BFD: a busy machine must not take a neighbour away.
TIMERS = replace(profile("fast"), bfd=None)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    topology = Topology.model_validate({"name": "line", "nodes": NODES, "links": [["a", "b"], ["b", "c"]]})
    plan = make_plan(topology)
    options = {"scheme_features": None, "timers": TIMERS, "frr_version": frr_version()}
    underlay = Underlay(ospf_api=True)
    with Lab(plan, {n.name: render(plan, n.name, **options, underlay=underlay) for n in plan.routers}) as built:
        built.start()
        built.wait_for_igp()
        yield built


class Client:
    """An agent, as it were: in the namespace of its router, with the events that it got so far."""

    def __init__(self, lab: Lab, router: str) -> None:
        self.api = OspfApi(timeout=DEADLINE_S)
        self.events: list[Event] = []
        self._connect = lambda: namespace.inside(lab.pid_of(router), self.api.connect)

    def connect(self) -> None:
        """As soon as it is possible: ospfd may be starting, or have the last client still."""

        def connected() -> bool:
            with suppress(OspfApiError):
                self._connect()
            return self.api.connected

        wait_for(connected, "the OSPF API")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + DEADLINE_S
        self.events += self.api.process()
        while not condition():
            assert time.monotonic() < end, f"{what} did not come within {DEADLINE_S} s"
            select.select(self.api.filenos(), [], [], 0.1)
            self.events += self.api.process()

    def body(self, key: LsaKey) -> bytes | None:
        lsa = self.api.lsdb.get(key)
        return lsa and lsa.body

    def changes(self, key: LsaKey) -> list[LsaEvent]:
        return [event for event in self.events if isinstance(event, LsaEvent) and event.lsa.key == key]


@contextmanager
def clients(lab: Lab, *routers: str) -> Iterator[list[Client]]:
    made = [Client(lab, router) for router in routers]
    try:
        for client in made:
            client.api.register(OPAQUE_TYPE)
            client.connect()
        yield made
    finally:
        for client in made:
            client.api.close()


def loopback(lab: Lab, router: str) -> IPv4Address:
    interface = lab.plan.nodes[router].loopback
    assert interface is not None
    return interface.ip


def own_key(lab: Lab, router: str, opaque_id: int) -> LsaKey:
    return LsaKey(LsaType.OPAQUE_AREA, opaque_lsa_id(OPAQUE_TYPE, opaque_id), loopback(lab, router))


def bier_body(lab: Lab, router: str, bfr_id: int) -> bytes:
    bier = BierSubTlv(0, bfr_id, encapsulations=(MplsEncapsulation(5000 + bfr_id),))
    return encode_prefixes([ExtendedPrefix(IPv4Network(loopback(lab, router)), (bier,))])


def shown(lab: Lab, router: str, what: str, key: LsaKey) -> list[str]:
    """What ospfd itself shows of an LSA, if it is not flushing it."""
    text = vty.ask(lab[router].folder / "run/frr/ospfd.vty", f"show ip ospf database {what}")
    parts = re.split(r"\n(?=  LS age: )", text)
    ours = [part for part in parts if f": {key.id}" in part and f"Router: {key.advertising_router}" in part]
    return [part for part in ours if "LS age: 3600" not in part]


def shown_body(lab: Lab, router: str, key: LsaKey) -> bytes | None:
    parts = shown(lab, router, "opaque-area", key)
    octets = re.search(r"Opaque data: (.*)", parts[0]) if parts else None
    return octets and bytes(int(octet, 16) for octet in octets[1].split())


def neighbours(lsa: Lsa) -> set[IPv4Address]:
    return {link.id for link in RouterLsa.decode(lsa.body).links if link.type == LinkType.POINT_TO_POINT}


def test_the_graph_of_the_area(lab: Lab) -> None:
    with clients(lab, "a") as (a,):
        links = {
            (lsa.advertising_router, peer) for lsa in a.api.lsdb.of_type(LsaType.ROUTER) for peer in neighbours(lsa)
        }
        plan = [(link.a.node, link.b.node) for link in lab.plan.links.values() if not link.is_lan]
        assert links == {
            (loopback(lab, one), loopback(lab, other)) for ends in plan for one, other in (ends, ends[::-1])
        }
        assert a.api.router_id == loopback(lab, "a")


def test_ospfd_has_the_same_checksums(lab: Lab) -> None:
    with clients(lab, "b") as (b,):
        lsas = b.api.lsdb.of_type(LsaType.ROUTER)
        assert len(lsas) == 3
        for lsa in lsas:
            checksum = int.from_bytes(lsa.encode()[16:18], "big")
            (part,) = shown(lab, "b", "router", lsa.key)
            assert f"Checksum: 0x{checksum:04x}" in part


def test_an_opaque_lsa_arrives_byte_for_byte_is_changed_and_withdrawn(lab: Lab) -> None:
    key = own_key(lab, "a", 1)
    first, second = bier_body(lab, "a", 7), bier_body(lab, "a", 8)
    with clients(lab, "a", "b") as (a, b):
        start = time.monotonic()
        a.api.originate(OPAQUE_TYPE, 1, first)
        b.wait(lambda: b.body(key), "the LSA at b")
        assert b.body(key) == shown_body(lab, "b", key) == first
        assert decode_prefixes(first)[0].bier[0].bfr_id == 7
        assert b.changes(key)[0].t >= start
        a.wait(lambda: a.body(key), "the LSA at a")
        assert a.api.lsdb[key].encode()[2:] == b.api.lsdb[key].encode()[2:], "all but the age"

        a.api.originate(OPAQUE_TYPE, 1, second)
        b.wait(lambda: b.body(key) != first, "the changed LSA at b")
        assert b.body(key) == shown_body(lab, "b", key) == second
        assert decode_prefixes(second)[0].bier[0].bfr_id == 8

        a.api.withdraw(OPAQUE_TYPE, 1)
        assert key not in a.api.lsdb
        b.wait(lambda: key not in b.api.lsdb, "the withdrawal at b")
        assert shown_body(lab, "b", key) is None
        assert [event.change for event in b.changes(key)] == [Change.ADDED, Change.CHANGED, Change.DELETED]


def test_the_largest_lsa(lab: Lab) -> None:
    body, key = os.urandom(LARGEST_LSA - HEADER_SIZE), own_key(lab, "a", 2)
    with clients(lab, "a", "c") as (a, c):
        a.api.originate(OPAQUE_TYPE, 2, body)
        c.wait(lambda: c.body(key), "the LSA two hops away")
        assert c.body(key) == body


def test_lsas_end_with_the_connection_that_they_came_by(lab: Lab) -> None:
    key = own_key(lab, "a", 3)
    with clients(lab, "b") as (b,):
        with clients(lab, "a") as (a,):
            a.api.originate(OPAQUE_TYPE, 3, bytes(4))
            b.wait(lambda: b.body(key), "the LSA at b")
        b.wait(lambda: key not in b.api.lsdb, "the end of the LSA")


def test_a_refused_opaque_type_leaves_all_else_as_it_is(lab: Lab) -> None:
    if frr_version() >= (10, 0):
        pytest.skip("FRR 10 lets whoever asks have an opaque type that is taken")
    with clients(lab, "a") as (a,):
        with pytest.raises(OspfApiError, match="opaque type in use"):
            a.api.register(7)  # Extended Prefix, ospfd's own
        a.api.originate(OPAQUE_TYPE, 8, bytes(4))
        a.wait(lambda: a.body(own_key(lab, "a", 8)), "an LSA of another type")


def test_after_ospfd_was_killed_all_is_as_wanted(lab: Lab) -> None:
    """One LSA as it was, one changed in the meantime, one that had been changed before, one withdrawn meanwhile."""
    same, changed, changed_before, withdrawn = (own_key(lab, "a", number) for number in (4, 5, 6, 7))
    with clients(lab, "a", "b") as (a, b):
        for number in (4, 5, 6, 7):
            a.api.originate(OPAQUE_TYPE, number, bytes([number] * 4))
        a.api.withdraw(OPAQUE_TYPE, 6)
        a.api.originate(OPAQUE_TYPE, 6, b"once")  # so that its sequence number is not the first
        b.wait(
            lambda: {same, changed, withdrawn} <= b.api.lsdb.keys() and b.body(changed_before) == b"once",
            "the LSAs at b",
        )

        process = lab.daemons["a", "ospfd"]
        process.kill()
        process.wait()
        a.wait(lambda: not a.api.connected, "the loss")
        assert isinstance(a.events[-1], Lost)
        a.api.originate(OPAQUE_TYPE, 5, b"new!")
        a.api.originate(OPAQUE_TYPE, 6, b"more")
        a.api.withdraw(OPAQUE_TYPE, 7)
        assert same in b.api.lsdb, "a dead router's LSAs stay"

        daemon = Daemon(lab["a"], "ospfd", lab.configs["a"].options["ospfd"])
        lab.daemons["a", "ospfd"] = lab["a"].popen(daemon.argv)
        a.connect()

        def all_is_as_wanted() -> bool:
            a.events += a.api.process()
            b.events += b.api.process()
            found = [b.body(key) for key in (same, changed, changed_before, withdrawn)]
            return found == [bytes([4] * 4), b"new!", b"more", None]

        wait_for(all_is_as_wanted, "what a wants at b")
        assert [shown_body(lab, "b", key) for key in (same, changed)] == [bytes([4] * 4), b"new!"]
    lab.wait_for_igp()


def test_a_cut_link_is_a_change_of_the_router_lsas(lab: Lab) -> None:
    here = LsaKey(LsaType.ROUTER, loopback(lab, "b"), loopback(lab, "b"))
    there = loopback(lab, "c")
    with clients(lab, "a", "b") as (a, b):
        for client in (a, b):
            client.wait(lambda client=client: there in neighbours(client.api.lsdb[here]), "the link")
            client.events.clear()
        cut = time.monotonic()
        lab.cut("b-c")
        try:
            for client in (a, b):
                client.wait(lambda client=client: there not in neighbours(client.api.lsdb[here]), "the cut")
                first = client.changes(here)[0]
                assert first.change is Change.CHANGED
                assert first.before is not None
                assert neighbours(first.before) - neighbours(first.lsa) == {there}
                assert cut < first.t < time.monotonic()
        finally:
            lab.restore("b-c")
        a.wait(lambda: there in neighbours(a.api.lsdb[here]), "the link again")
    lab.wait_for_igp()


def test_what_ospfd_itself_says_of_segment_routing(lab: Lab) -> None:
    """FRR's own Prefix-SID and Adj-SIDs, in its own LSAs of the opaque types 7 and 8 (RFC 8665)."""
    path, c = lab["c"].folder / "run/frr/ospfd.vty", loopback(lab, "c")
    wanted = [f"segment-routing {what}" for what in ("global-block 16000 23999", "on", f"prefix {c}/32 index 3")]
    with clients(lab, "a") as (a,):

        def bodies(opaque_type: int) -> list[bytes]:
            found = a.api.lsdb.of_type(LsaType.OPAQUE_AREA)
            return [lsa.body for lsa in found if lsa.opaque_type == opaque_type and lsa.advertising_router == c]

        vty.converse(path, ["configure terminal", "router ospf", *wanted])
        try:
            a.wait(lambda: bodies(7) and bodies(8), "LSAs about segment routing")
            (prefix,) = [each for body in bodies(7) for each in decode_sr_prefixes(body)]
            links = [each for body in bodies(8) for each in decode_sr_links(body)]
        finally:
            vty.converse(path, ["configure terminal", "router ospf", "no segment-routing"])
        a.wait(lambda: not bodies(7) and not bodies(8), "the end of them")
    assert prefix.prefix == IPv4Network(c)
    assert prefix.sids == (PrefixSid(3),)
    (link,) = links
    (interface,) = [each for each in lab.plan.nodes["c"].interfaces if each.peer_node == "b"]
    assert (link.type, link.id, link.data) == (LinkType.POINT_TO_POINT, loopback(lab, "b"), interface.address.ip)
    assert {(sid.is_label, sid.flags) for sid in link.sids} == {(True, 0), (True, B_FLAG)}, "one has a backup"
    assert all(15000 <= sid.sid < 16000 for sid in link.sids), "of FRR's local block"
