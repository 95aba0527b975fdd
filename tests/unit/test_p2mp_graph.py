"""The graph that follows an LSDB."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from p2mp_sim import Area

from testbed.control.lsdb import Change
from testbed.control.p2mp.graph import Adjacency, Graph, Topology
from testbed.control.replication_config import PREFIX_TYPE
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, RouterLink, RouterLsa, opaque_lsa_id
from testbed.packet.ospf_sr import SrPrefix, encode_sr_prefixes

PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck))
A, B, C = (IPv4Address(f"10.255.0.{number}") for number in (1, 2, 3))
POINT_TO_POINT, STUB = LinkType.POINT_TO_POINT, LinkType.STUB


def router_lsa(router: IPv4Address, *links: tuple[LinkType, str, str, int]) -> Lsa:
    body = RouterLsa(tuple(RouterLink(kind, IPv4Address(i), IPv4Address(d), m) for kind, i, d, m in links)).encode()
    return Lsa(LsaType.ROUTER, router, router, body)


def topology(*lsas: Lsa) -> Topology:
    found = Topology()
    for lsa in lsas:
        found.update(0, Change.ADDED, lsa)
    return found


def adjacency(tail: IPv4Address, head: IPv4Address, local: str, remote: str, cost: int) -> Adjacency:
    return Adjacency(tail, head, IPv4Address(local), IPv4Address(remote), cost)


def test_both_directions_with_costs_of_their_own() -> None:
    graph = topology(
        router_lsa(A, (POINT_TO_POINT, str(B), "10.0.0.1", 10), (STUB, "10.0.0.0", "255.255.255.252", 10)),
        router_lsa(B, (POINT_TO_POINT, str(A), "10.0.0.2", 20), (STUB, "10.0.0.0", "255.255.255.252", 20)),
    ).graph
    assert graph.adjacencies == {
        A: (adjacency(A, B, "10.0.0.1", "10.0.0.2", 10),),
        B: (adjacency(B, A, "10.0.0.2", "10.0.0.1", 20),),
    }


def test_a_link_that_one_end_advertises_does_not_count() -> None:
    """RFC 2328 section 16.1, step 2b."""
    found = topology(router_lsa(A, (POINT_TO_POINT, str(B), "10.0.0.1", 10)), router_lsa(B))
    assert found.graph.adjacencies == {A: (), B: ()}
    assert found.update(1, Change.CHANGED, router_lsa(B, (POINT_TO_POINT, str(A), "10.0.0.2", 1)))
    assert found.graph.adjacencies[A] == (adjacency(A, B, "10.0.0.1", "10.0.0.2", 10),)
    assert found.update(2, Change.DELETED, router_lsa(B))
    assert found.graph.adjacencies == {A: ()}


def test_parallel_links_are_paired_by_their_networks() -> None:
    mask = "255.255.255.252"
    graph = topology(
        router_lsa(
            A,
            (POINT_TO_POINT, str(B), "10.0.0.1", 1),
            (STUB, "10.0.0.0", mask, 1),
            (POINT_TO_POINT, str(B), "10.0.0.6", 2),
            (STUB, "10.0.0.4", mask, 2),
        ),
        router_lsa(
            B,
            (POINT_TO_POINT, str(A), "10.0.0.5", 3),
            (STUB, "10.0.0.4", mask, 3),
            (POINT_TO_POINT, str(A), "10.0.0.2", 4),
            (STUB, "10.0.0.0", mask, 4),
        ),
    ).graph
    assert {(each.local, each.remote) for each in graph.adjacencies[A]} == {
        (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")),
        (IPv4Address("10.0.0.6"), IPv4Address("10.0.0.5")),
    }


def test_one_of_two_parallel_links_that_is_down_at_one_end() -> None:
    mask = "255.255.255.252"
    graph = topology(
        router_lsa(A, (POINT_TO_POINT, str(B), "10.0.0.1", 1), (STUB, "10.0.0.0", mask, 1)),
        router_lsa(
            B,
            (POINT_TO_POINT, str(A), "10.0.0.5", 3),
            (STUB, "10.0.0.4", mask, 3),
            (POINT_TO_POINT, str(A), "10.0.0.2", 4),
            (STUB, "10.0.0.0", mask, 4),
        ),
    ).graph
    assert graph.adjacencies[A] == (adjacency(A, B, "10.0.0.1", "10.0.0.2", 1),)
    assert graph.adjacencies[B] == (adjacency(B, A, "10.0.0.2", "10.0.0.1", 4),)


def test_what_is_malformed_or_refreshed_changes_nothing() -> None:
    found = topology(router_lsa(A, (POINT_TO_POINT, str(B), "10.0.0.1", 1)))
    assert not found.update(1, Change.REFRESHED, router_lsa(A))
    assert not found.update(1, Change.ADDED, Lsa(LsaType.ROUTER, C, C, b"\0\0\0\7"))
    assert not found.update(1, Change.ADDED, Lsa(LsaType.NETWORK, C, C, b""))
    assert found.graph.routers == (A,)
    assert found.update(1, Change.CHANGED, Lsa(LsaType.ROUTER, A, A, b"\0"))
    assert found.graph.routers == ()


def test_who_takes_part_in_segment_routing() -> None:
    locator = IPv6Network("fc00:0:1::/48")
    body = encode_sr_prefixes([SrPrefix(IPv4Network(A), locators=(locator,))])
    lsa = Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(PREFIX_TYPE, 0), A, body)
    found = Topology(hold=10)
    assert found.update(0, Change.ADDED, lsa)
    assert found.graph.nodes[A].locator == locator
    assert not found.update(1, Change.DELETED, lsa), "its forwarder goes on"
    assert not found.expire(10.9)
    assert found.next_expiry() == 11
    assert found.expire(11)
    assert found.graph.nodes == {}


@PATIENT
@given(st.integers(0, 1 << 20))
def test_whatever_changes_in_whatever_order_the_graph_is_that_of_the_lsas(seed: int) -> None:
    rng = random.Random(seed)
    area = Area.random(rng.randint(2, 8), rng.randint(0, 8), rng)
    found, known = Topology(), {}
    for step in range(8):
        area.down = {place for place in range(len(area.links)) if rng.random() < 0.2}
        lsas = list(area.lsas(step))
        rng.shuffle(lsas)
        for lsa in lsas:
            change = Change.ADDED if lsa.key not in known else Change.CHANGED
            if known.get(lsa.key) != lsa.body:
                found.update(step, change, lsa)
                known[lsa.key] = lsa.body
        assert found.graph.adjacencies == area.graph().adjacencies
        assert found.graph.nodes.keys() == set(area.routers)


def test_reachable() -> None:
    area = Area(4, [(1, 2, 1, 1), (3, 4, 1, 1)])
    graph = area.graph()
    assert graph.reachable(area.router(1)) == {area.router(1), area.router(2)}
    assert graph.reachable(IPv4Address("192.0.2.1")) == set()
    assert graph == area.graph()
    area.down = {0}
    assert graph != area.graph()
    assert graph != Graph({})
