"""RFC 8279 section 6.9: the BIER-SPF tree by networkx, and whole domains with routers that are no BFRs."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import networkx as nx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.control.bfrs import Bfr
from testbed.control.bift import Hop
from testbed.control.lsdb import Change
from testbed.control.spf import Graph
from testbed.control.tunnels import QUIET, Tunnels
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, NetworkLsa, RouterLink, RouterLsa

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MASK = IPv4Address("255.255.255.255")


def router(number: int) -> IPv4Address:
    """Its id, which is its BFR-prefix too."""
    return IPv4Address(f"10.255.0.{number}")


def address(own: int, other: int, parallel: int = 0) -> IPv4Address:
    """Of a router's interface to another one."""
    return IPv4Address((10 << 24) + (parallel << 16) + (own << 8) + other)


def router_lsa(number: int, *links: RouterLink) -> Lsa:
    stub = RouterLink(LinkType.STUB, router(number), MASK, 0)
    return Lsa(LsaType.ROUTER, router(number), router(number), RouterLsa((*links, stub)).encode())


def lsas_of(graph: nx.MultiGraph[int]) -> list[Lsa]:
    """Point-to-point links; an edge's key tells parallel ones apart."""
    return [
        router_lsa(
            node,
            *(
                RouterLink(LinkType.POINT_TO_POINT, router(other), address(node, other, key), data["weight"])
                for _, other, key, data in graph.edges(node, keys=True, data=True)
            ),
        )
        for node in graph
    ]


def made(lsas: list[Lsa]) -> Graph:
    graph = Graph()
    for lsa in lsas:
        assert graph.update(Change.ADDED, lsa)
    return graph


def network(*edges: tuple[int, int, int]) -> nx.MultiGraph[int]:
    graph: nx.MultiGraph[int] = nx.MultiGraph()
    for a, b, weight in edges:
        graph.add_edge(a, b, weight=weight)
    return graph


@st.composite
def networks(draw: st.DrawFn, most: int = 9) -> nx.MultiGraph[int]:
    """Connected, with many equal costs and some parallel links. Nodes from 1."""
    size = draw(st.integers(2, most))
    weight = st.integers(1, 3)
    edges = [(draw(st.integers(1, node - 1)), node, draw(weight)) for node in range(2, size + 1)]
    pair = st.tuples(st.integers(1, size), st.integers(1, size), weight).filter(lambda edge: edge[0] != edge[1])
    return network(*edges, *draw(st.lists(pair, max_size=2 * size)))


class TestTree:
    @PATIENT
    @given(networks())
    def test_shortest_paths_are_networkxs(self, graph: nx.MultiGraph[int]) -> None:
        tree = made(lsas_of(graph)).tree(router(1))
        predecessors, distances = nx.dijkstra_predecessor_and_distance(graph, 1)
        assert dict(tree) == {
            (LsaType.ROUTER, router(node)): sorted((LsaType.ROUTER, router(each)) for each in set(before))
            for node, before in predecessors.items()
        }
        order = [distances[int(vertex[1]) & 0xFF] for vertex, _ in tree]
        assert order == sorted(order)

    @PATIENT
    @given(networks(), st.sets(st.integers(2, 9)))
    def test_the_first_bfr_is_on_a_shortest_path(self, graph: nx.MultiGraph[int], bfrs: set[int]) -> None:
        """Through the child, with no BFR before it; and there is one for whoever has one on every such path."""
        branches = made(lsas_of(graph)).branches(router(1), {router(node) for node in bfrs})
        for node in set(graph) - {1}:
            paths = [path[1:] for path in nx.all_shortest_paths(graph, 1, node, weight="weight")]
            for child in {path[0] for path in paths}:
                ways = [path for path in paths if path[0] == child]
                firsts = {next((each for each in way if each in bfrs), None) for way in ways}
                end = branches.get(router(child), {}).get(router(node))
                assert end in {each and router(each) for each in firsts}
            assert {child for child in branches if router(node) in branches[child]} <= {router(p[0]) for p in paths}

    @PATIENT
    @given(networks(), st.sets(st.integers(2, 9)))
    def test_it_is_a_tree(self, graph: nx.MultiGraph[int], bfrs: set[int]) -> None:
        """Whoever is behind a child's first BFR is behind it whole: a child's new children share no router."""
        branches = made(lsas_of(graph)).branches(router(1), {router(node) for node in bfrs})
        for behind in branches.values():
            for end in behind.values():
                assert behind[end] == end

    def test_figure(self) -> None:
        """1 - 2 - 3 - 4, 2 and 3 no BFRs, then 2 one again."""
        graph = made(lsas_of(network((1, 2, 1), (2, 3, 1), (3, 4, 1))))
        assert graph.branches(router(1), {router(4)}) == {router(2): {router(4): router(4)}}
        assert graph.branches(router(1), {router(2), router(4)}) == {
            router(2): dict.fromkeys(map(router, (2, 3, 4)), router(2))
        }
        assert graph.branches(router(1), set()) == {}

    def test_a_transit_network_is_no_hop(self) -> None:
        """1, 2 and 3 on a LAN whose designated router is 2; 4 behind 3, which is no BFR."""
        lan = address(2, 0)
        links = {n: [RouterLink(LinkType.TRANSIT, lan, address(n, 0), 5)] for n in (1, 2, 3)}
        links[3].append(RouterLink(LinkType.POINT_TO_POINT, router(4), address(3, 4), 1))
        links[4] = [RouterLink(LinkType.POINT_TO_POINT, router(3), address(4, 3), 1)]
        lsas = [router_lsa(n, *each) for n, each in links.items()]
        members = tuple(map(router, (1, 2, 3)))
        graph = made([*lsas, Lsa(LsaType.NETWORK, lan, router(2), NetworkLsa(MASK, members).encode())])
        assert graph.owner(address(3, 0)) == router(3)
        assert graph.branches(router(1), {router(2), router(4)}) == {
            router(2): {router(2): router(2)},
            router(3): {router(4): router(4)},
        }

    def test_a_link_that_one_end_knows_is_none(self) -> None:
        lsas = lsas_of(network((1, 2, 1), (2, 3, 1)))
        lsas[2] = router_lsa(3)
        assert [vertex[1] for vertex, _ in made(lsas).tree(router(1))] == [router(1), router(2)]

    def test_what_comes_and_goes(self) -> None:
        lsas = lsas_of(network((1, 2, 1), (2, 3, 1)))
        graph = made(lsas)
        assert len(graph.tree(router(1))) == 3
        assert not graph.update(Change.REFRESHED, lsas[2])
        assert not graph.update(Change.ADDED, Lsa(LsaType.OPAQUE_AREA, router(9), router(9), b""))
        assert graph.update(Change.DELETED, lsas[1])
        assert len(graph.tree(router(1))) == 1
        assert graph.update(Change.ADDED, Lsa(LsaType.ROUTER, router(2), router(2), b"cut"))
        assert len(graph.tree(router(1))) == 1
        assert graph.update(Change.CHANGED, lsas[1])
        assert len(graph.tree(router(1))) == 3


# -- whole domains -----------------------------------------------------------------------------------------------------


class Domain:
    """Routers with kernels that know the shortest paths; those in `bfrs` have an agent's Tunnels."""

    def __init__(self, graph: nx.MultiGraph[int], bfrs: set[int]) -> None:
        self.graph, self.bfrs = graph, bfrs
        self.tunnels: dict[int, Tunnels] = {}
        self.hops: dict[int, dict[IPv4Address, tuple[Hop, ...]]] = {}
        advertised = [Bfr(router(each), router(each), each, 1) for each in sorted(bfrs)]
        near = {bfr.prefix: 1 for bfr in advertised}
        near |= {address(a, b, key): 1 for a, b, key in self._directed() if a in bfrs}
        for each in bfrs:
            tunnels = self.tunnels[each] = Tunnels(router(each))
            for lsa in lsas_of(graph):
                tunnels.update(Change.ADDED, lsa)
            tunnels.set_bfrs(advertised, near, 0)
            for other in set(graph) - {each}:
                tunnels.set_route(router(other), self.kernel(each, other))
            self.hops[each] = dict(tunnels.changes(QUIET))

    def _directed(self) -> list[tuple[int, int, int]]:
        return [edge for a, b, key in self.graph.edges(keys=True) for edge in ((a, b, key), (b, a, key))]

    def kernel(self, at: int, to: int) -> tuple[Hop, ...]:
        """The next hops of a route, equal costs included."""
        left = nx.single_source_dijkstra_path_length(self.graph, to, weight="weight")
        found = [
            Hop(f"to-{other}-{key}", address(other, at, key))
            for _, other, key, data in self.graph.edges(at, keys=True, data=True)
            if data["weight"] + left[other] == left[at]
        ]
        return tuple(sorted(found))

    def walk(self, at: int, bfers: frozenset[int], way: int, ttl: int = 64) -> Counter[int]:
        """How often each BFER gets a packet that `at` has. A BIER hop leads closer to each of its BFERs, and a tunnel's
        first hop is one of the kernel's to its end."""
        got = Counter({at: 1}) if at in bfers else Counter[int]()
        copies: dict[Hop, set[int]] = {}
        for bfer in bfers - {at}:
            hops = self.hops[at][router(bfer)]
            copies.setdefault(hops[way % len(hops)], set()).add(bfer)
        assert ttl > 0
        for hop, behind in copies.items():
            to = int(hop.bfr) & 0xFF if hop.tunnel != Hop("", hop.via).tunnel else int(hop.via) >> 8 & 0xFF
            assert to in self.bfrs
            if hop.tunnel != Hop("", hop.via).tunnel:
                assert Hop(hop.port, hop.via) in self.kernel(at, to)
            for bfer in behind:
                left = nx.single_source_dijkstra_path_length(self.graph, bfer, weight="weight")
                assert left[to] < left[at]
            got += self.walk(to, frozenset(behind), way, ttl - 1)
        return got


@PATIENT
@given(networks(), st.data())
def test_every_bfer_gets_a_packet_once(graph: nx.MultiGraph[int], data: st.DataObject) -> None:
    others = set(graph) - {1}
    domain = Domain(graph, {1} | data.draw(st.sets(st.sampled_from(sorted(others)))))
    bfers = frozenset(data.draw(st.sets(st.sampled_from(sorted(domain.bfrs)))))
    for way in range(3):
        assert domain.walk(1, bfers, way) == dict.fromkeys(bfers, 1)


@PATIENT
@given(networks(), st.data())
def test_without_non_bfrs_routes_are_passed_on(graph: nx.MultiGraph[int], data: st.DataObject) -> None:
    domain = Domain(graph, set(graph))
    for at, routes in domain.hops.items():
        assert routes == {router(to): domain.kernel(at, to) for to in set(graph) - {at}}
        assert domain.tunnels[at]._graph._edges is None, "an LSA was looked at"


# -- changes -----------------------------------------------------------------------------------------------------------

CHAIN = network((1, 2, 1), (2, 3, 1), (3, 4, 1))
VIA_2 = Hop("to-2", address(2, 1))


def bfr_of(number: int) -> Bfr:
    return Bfr(router(number), router(number), number, 1)


def near_of(*numbers: int) -> dict[IPv4Address, int]:
    interfaces = {address(a, b) for a, b in CHAIN.edges()} | {address(b, a) for a, b in CHAIN.edges()}
    return {router(n): 1 for n in numbers} | {each: 1 for each in interfaces if (int(each) >> 8 & 0xFF) in numbers}


def at_1(*bfrs: int, routes: tuple[int, ...] = (2, 3, 4)) -> Tunnels:
    tunnels = Tunnels(router(1))
    for lsa in lsas_of(CHAIN):
        tunnels.update(Change.ADDED, lsa)
    for number in routes:
        tunnels.set_route(router(number), [VIA_2])
    tunnels.set_bfrs([bfr_of(n) for n in bfrs], near_of(*bfrs), 0)
    return tunnels


def through(number: int) -> tuple[Hop, ...]:
    return (Hop("to-2", address(2, 1), router(number)),)


class TestChanges:
    def test_the_first_bfr_behind(self) -> None:
        changes = dict(at_1(1, 3, 4).changes(QUIET))
        assert changes == {router(2): (VIA_2,), router(3): through(3), router(4): through(3)}

    def test_a_domain_that_starts_is_waited_for(self) -> None:
        """The others may be about to say that they are BFRs; until then their packets go nowhere."""
        tunnels = at_1(1)
        assert dict(tunnels.changes(0))[router(4)] == (VIA_2,)
        tunnels.set_bfrs([bfr_of(1), bfr_of(4)], near_of(1, 4), 0)
        assert tunnels.due == QUIET
        assert list(tunnels.changes(QUIET / 2)) == []
        tunnels.set_bfrs([bfr_of(1), bfr_of(2), bfr_of(4)], near_of(1, 2, 4), QUIET / 2)
        assert list(tunnels.changes(QUIET)) == []
        assert dict(tunnels.changes(2 * QUIET))[router(4)] == (VIA_2,)
        assert tunnels.due is None

    def test_what_is_known_at_first_counts_at_once(self) -> None:
        """An agent that takes over a forwarder with tunnels has them in its first tables."""
        assert dict(at_1(1, 3, 4).changes(0))[router(4)] == through(3)

    def test_a_bfr_that_is_none_any_more_is_passed_at_once(self) -> None:
        tunnels = at_1(1, 2, 3, 4)
        assert dict(tunnels.changes(QUIET))[router(4)] == (VIA_2,)
        tunnels.set_bfrs([bfr_of(n) for n in (1, 3, 4)], near_of(1, 3, 4), 9)
        assert dict(tunnels.changes(9))[router(4)] == through(3)
        assert list(tunnels.changes(10)) == []

    def test_nothing_new_is_nothing(self) -> None:
        tunnels = at_1(1, 3, 4)
        tunnels.changes(QUIET)
        tunnels.set_bfrs([bfr_of(n) for n in (1, 3, 4)], near_of(1, 3, 4), 9)
        assert tunnels.due is None
        assert list(tunnels.changes(9)) == []

    def test_where_the_kernel_knows_better_the_bfer_is_the_end(self) -> None:
        """The route to the first BFR leads elsewhere already; when the LSAs say so too, there is another tree."""
        tunnels = at_1(1, 3, 4)
        tunnels.changes(QUIET)
        elsewhere = Hop("to-3", address(3, 2))
        tunnels.set_route(router(3), [elsewhere])
        changes = dict(tunnels.changes(9))
        assert changes == {router(3): (elsewhere,), router(4): through(4)}
        assert list(tunnels.changes(9)) == []

    def test_an_lsa_may_be_another_tree(self) -> None:
        tunnels = at_1(1, 3, 4)
        tunnels.changes(QUIET)
        tunnels.update(Change.DELETED, lsas_of(CHAIN)[2])
        assert dict(tunnels.changes(9)) == {router(3): through(3), router(4): through(4)}

    def test_no_route_is_no_tunnel(self) -> None:
        tunnels = at_1(1, 3, 4)
        tunnels.changes(QUIET)
        tunnels.set_route(router(4), [])
        assert dict(tunnels.changes(9))[router(4)] == ()

    def test_each_of_equal_next_hops_for_itself(self) -> None:
        """A square: 1 - 2 - 4 and 1 - 3 - 4; 3 is no BFR."""
        square = network((1, 2, 1), (2, 4, 1), (1, 3, 1), (3, 4, 1))
        assert Domain(square, {1, 2, 4}).hops[1][router(4)] == (
            Hop("to-2-0", address(2, 1)),
            Hop("to-3-0", address(3, 1), router(4)),
        )
