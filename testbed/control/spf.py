"""The BIER-SPF tree: who is a BFR's neighbour where the IGP's next hop is no BFR (RFC 8279 section 6.9). Pure.

An area's graph comes from its router- and network-LSAs. Nothing is decoded or computed before somebody asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from ipaddress import IPv4Address

from testbed.control.lsdb import Change
from testbed.packet.error import PacketError
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaKey, LsaType, NetworkLsa, RouterLsa

Vertex = tuple[int, IPv4Address]  # RFC 2328 section 16.1: ROUTER and a router id, NETWORK and its link state id
Branches = Mapping[IPv4Address, Mapping[IPv4Address, IPv4Address]]


class Graph:
    """The routers and transit networks of an area, as their LSAs have them."""

    def __init__(self) -> None:
        self._lsas: dict[LsaKey, Lsa] = {}
        self._edges: dict[Vertex, dict[Vertex, int]] | None = None
        self._owners: dict[IPv4Address, IPv4Address] = {}
        self._trees: dict[IPv4Address, list[tuple[Vertex, list[Vertex]]]] = {}

    def update(self, change: Change, lsa: Lsa) -> bool:
        """Take an LSA over; whether the graph may be another one now."""
        if lsa.type not in (LsaType.ROUTER, LsaType.NETWORK) or change is Change.REFRESHED:
            return False
        if change is Change.DELETED:
            self._lsas.pop(lsa.key, None)
        else:
            self._lsas[lsa.key] = lsa
        self._edges = None
        self._trees.clear()
        return True

    def owner(self, address: IPv4Address) -> IPv4Address | None:
        """The router that has an interface with this address on a link between routers."""
        self._read()
        return self._owners.get(address)

    def tree(self, root: IPv4Address) -> list[tuple[Vertex, list[Vertex]]]:
        """All that the router `root` reaches, the nearest first, each with its predecessors on the shortest paths in
        ascending order: several where costs are equal (RFC 2328 sections 16.1 and 16.8)."""
        if root not in self._trees:
            self._trees[root] = _shortest_paths(self._read(), (LsaType.ROUTER, root))
        return self._trees[root]

    def branches(self, root: IPv4Address, bfrs: Container[IPv4Address]) -> Branches:
        """Section 6.9's tree, once the children of `root` that are no BFRs are removed: child in the IGP's tree ->
        router behind it (or itself) -> the first BFR on the way there, which is who is `root`'s child now.

        Where costs are equal a router is behind several children, and which of them counts is for `root` to choose.
        Beyond the child it is the predecessor with the lowest id.
        """
        found: dict[IPv4Address, dict[IPv4Address, IPv4Address]] = {}
        # For each vertex: child (None: only networks so far) -> the first BFR up to here (None: none so far).
        ways: dict[Vertex, dict[IPv4Address | None, IPv4Address | None]] = {}
        for (kind, router), predecessors in self.tree(root):
            here: dict[IPv4Address | None, IPv4Address | None] = {} if predecessors else {None: None}
            for predecessor in predecessors:
                for child, bfr in ways[predecessor].items():
                    if kind == LsaType.ROUTER:
                        child = child or router
                        bfr = bfr or (router if router in bfrs else None)
                    here.setdefault(child, bfr)
            ways[kind, router] = here
            for child, bfr in here.items():
                if child and bfr and kind == LsaType.ROUTER:
                    found.setdefault(child, {})[router] = bfr
        return found

    def _read(self) -> dict[Vertex, dict[Vertex, int]]:
        """Who has a link to whom, at what cost; and whose the addresses are."""
        if self._edges is None:
            self._edges = {}
            self._owners.clear()
            for lsa in self._lsas.values():
                try:
                    if lsa.type == LsaType.ROUTER:
                        self._read_router(lsa)
                    else:
                        routers = NetworkLsa.decode(lsa.body).routers
                        self._edges[LsaType.NETWORK, lsa.id] = {(LsaType.ROUTER, router): 0 for router in routers}
                except PacketError:  # a router that cannot be understood is none
                    continue
        return self._edges

    def _read_router(self, lsa: Lsa) -> None:
        assert self._edges is not None
        router = lsa.advertising_router
        out = self._edges[LsaType.ROUTER, router] = {}
        for link in RouterLsa.decode(lsa.body).links:
            if link.type not in (LinkType.POINT_TO_POINT, LinkType.TRANSIT):
                continue
            kind = LsaType.ROUTER if link.type == LinkType.POINT_TO_POINT else LsaType.NETWORK
            self._owners[link.data] = router
            out[kind, link.id] = min(link.metric, out.get((kind, link.id), link.metric))


def _shortest_paths(edges: Mapping[Vertex, Mapping[Vertex, int]], root: Vertex) -> list[tuple[Vertex, list[Vertex]]]:
    """Dijkstra's algorithm. A link counts if the other end knows of it, too (RFC 2328 section 16.1 step 2b)."""
    distances, predecessors = {root: 0}, {root: list[Vertex]()}
    done: dict[Vertex, list[Vertex]] = {}
    # A network before a router at the same distance (section 16.1 step 3): its routers may be reached through it.
    heap = [(0, -root[0], root)]
    while heap:
        distance, _, vertex = heapq.heappop(heap)
        if vertex in done:
            continue
        done[vertex] = sorted(predecessors[vertex])
        for other, cost in edges.get(vertex, {}).items():
            if vertex not in edges.get(other, {}):
                continue
            further = distance + cost
            if further < distances.get(other, further + 1):
                distances[other], predecessors[other] = further, [vertex]
                heapq.heappush(heap, (further, -other[0], other))
            elif further == distances[other] and other not in done:
                predecessors[other].append(vertex)
    return list(done.items())
