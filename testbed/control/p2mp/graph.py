"""The graph of an OSPF area, as its link state database has it: routers, and point-to-point links between them.

A link counts where both its routers advertise it (RFC 2328 section 16.1, step 2b); each direction has its own cost.
Broadcast networks are not looked at: the testbed's links are point-to-point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.control.lsdb import Change
from testbed.control.sr_nodes import SrNode, SrNodes
from testbed.packet.error import PacketError
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, RouterLsa

Pair = frozenset[IPv4Address]  # two routers, or the two addresses of a link


class Adjacency(NamedTuple):
    """One direction of a link. `local` and `remote` are the addresses of its two ends, `cost` that of `tail`."""

    tail: IPv4Address
    head: IPv4Address
    local: IPv4Address
    remote: IPv4Address
    cost: int

    @property
    def link(self) -> Pair:
        """What both directions have in common."""
        return frozenset((self.local, self.remote))


class Graph:
    """One state of an area. Immutable; equal if routers, links, costs and SIDs are.

    For algorithms, routers are numbered in the order of their ids: `out[i]` are the adjacencies of `routers[i]` as
    (number of the head, cost, adjacency), in the order of heads and addresses.
    """

    def __init__(
        self,
        adjacencies: Mapping[IPv4Address, Collection[Adjacency]],
        nodes: Mapping[IPv4Address, SrNode] | None = None,
    ) -> None:
        """`adjacencies`: of every router, also of those that have none. `nodes`: who takes part in segment routing;
        None: everybody."""
        self.nodes = dict.fromkeys(adjacencies, SrNode()) if nodes is None else dict(nodes)
        self.routers = tuple(sorted(adjacencies))
        self.number = {router: number for number, router in enumerate(self.routers)}
        self.adjacencies = {router: tuple(sorted(adjacencies[router])) for router in self.routers}

    @cached_property
    def out(self) -> list[list[tuple[int, int, Adjacency]]]:
        number = self.number
        return [[(number[each.head], each.cost, each) for each in self.adjacencies[r]] for r in self.routers]

    @cached_property
    def links(self) -> frozenset[tuple[IPv4Address, IPv4Address, IPv4Address]]:
        """Tail, own address and head of every adjacency: what a pinned branch names."""
        return frozenset((each.tail, each.local, each.head) for some in self.adjacencies.values() for each in some)

    def reachable(self, start: IPv4Address) -> frozenset[IPv4Address]:
        """Every router that `start` has a path to, itself included; none if it is not there."""
        if start not in self.number:
            return frozenset()
        found, todo = {self.number[start]}, [self.number[start]]
        while todo:
            for head, _, _ in self.out[todo.pop()]:
                if head not in found:
                    found.add(head)
                    todo.append(head)
        return frozenset(self.routers[each] for each in found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and (self.adjacencies, self.nodes) == (other.adjacencies, other.nodes)

    __hash__ = None  # type: ignore[assignment]


class _Link(NamedTuple):
    """A link as one router says it. `network`: the stub network that its address is in, and its mask."""

    head: IPv4Address
    local: IPv4Address
    cost: int
    network: tuple[int, int] | None


class Topology:
    """The graph that follows an LSDB: whatever LSA comes, only its router and the neighbours are looked at anew."""

    def __init__(self, hold: float = 60.0) -> None:
        """`hold`: seconds for which a router takes part whose agent's LSA went (control/advertised.py)."""
        self._links: dict[IPv4Address, tuple[_Link, ...]] = {}
        self._adjacencies: dict[IPv4Address, tuple[Adjacency, ...]] = {}
        self._nodes = SrNodes(hold)
        self._graph: Graph | None = Graph({}, {})

    def update(self, t: float, change: Change, lsa: Lsa) -> bool:
        """Take an LSA over; whether the graph may be another one now. `t`: CLOCK_MONOTONIC."""
        if lsa.type != LsaType.ROUTER:
            changed = self._nodes.update(t, change, lsa)
        elif change is Change.REFRESHED:
            changed = False
        else:
            changed = self._router(lsa.key.advertising_router, None if change is Change.DELETED else lsa)
        if changed:
            self._graph = None
        return changed

    def expire(self, t: float) -> bool:
        """Forget agents whose time is over; whether there were any."""
        expired = self._nodes.expire(t)
        if expired:
            self._graph = None
        return expired

    def next_expiry(self) -> float | None:
        return self._nodes.next_expiry()

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            self._graph = Graph(self._adjacencies, self._nodes.nodes())
        return self._graph

    def _router(self, router: IPv4Address, lsa: Lsa | None) -> bool:
        before = self._links.pop(router, None)
        if lsa is not None:
            try:
                self._links[router] = _point_to_point(RouterLsa.decode(lsa.body))
            except PacketError:
                return False if before is None else self._rebuild(router, before)
        if self._links.get(router) == before:
            return False
        return self._rebuild(router, before or ())

    def _rebuild(self, router: IPv4Address, before: Iterable[_Link]) -> bool:
        links = self._links.get(router)
        if links is None:
            self._adjacencies.pop(router, None)
        neighbours = {link.head for link in (*before, *(links or ()))}
        for each in (router, *neighbours):
            if each in self._links:
                self._adjacencies[each] = self._both_ways(each)
        return True

    def _both_ways(self, router: IPv4Address) -> tuple[Adjacency, ...]:
        """The links of a router that the other end advertises, too."""
        found = []
        by_head: dict[IPv4Address, list[_Link]] = {}
        for link in self._links[router]:
            by_head.setdefault(link.head, []).append(link)
        for head, links in by_head.items():
            back = [link for link in self._links.get(head, ()) if link.head == router]
            for link, other in _pairs(links, back):
                found.append(Adjacency(router, head, link.local, other.local, link.cost))
        return tuple(found)


def _pairs(links: list[_Link], back: list[_Link]) -> list[tuple[_Link, _Link]]:
    """The two ends of each link between two routers: those in one network; where that is not said, in their order."""
    pairs = []
    left, left_back = list(links), list(back)
    for link in links:
        if other := next((each for each in left_back if each.network == link.network is not None), None):
            pairs.append((link, other))
            left.remove(link)
            left_back.remove(other)
    if len(left) == len(left_back) == 1 or all(link.network is None for link in (*left, *left_back)):
        left.sort(key=lambda link: link.local)
        left_back.sort(key=lambda link: link.local)
        pairs += zip(left, left_back, strict=False)
    return pairs


def _point_to_point(lsa: RouterLsa) -> tuple[_Link, ...]:
    stubs = [(int(link.id), int(link.data)) for link in lsa.links if link.type == LinkType.STUB]
    stubs.sort(key=lambda stub: -stub[1])  # the longest mask first
    return tuple(
        _Link(link.id, link.data, link.metric, next((s for s in stubs if int(link.data) & s[1] == s[0]), None))
        for link in lsa.links
        if link.type == LinkType.POINT_TO_POINT
    )
