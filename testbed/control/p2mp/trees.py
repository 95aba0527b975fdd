"""Trees from a root to leaves over a graph: of shortest paths, or of few links. Pure, and the same for the same graph.

    spt      shortest paths (Dijkstra); of equal ones that whose last link comes from the router with the lowest id
    steiner  the shortest-path heuristic (Takahashi and Matsuyama 1980): the leaf nearest to the tree is joined to it by
             a shortest path, then the next one. At most 2 (1 - 1/leaves) of the least cost where both directions of a
             link cost the same; where they do not it still gives a tree, without that promise.

Both know that each direction of a link has its own cost. The search for the next leaf is not begun anew but goes on
from the labels that are there, so that a steiner tree costs little more than one Dijkstra.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from ipaddress import IPv4Address

from testbed.control.p2mp.graph import Adjacency, Graph, Pair

Edges = list[list[tuple[int, int, Adjacency]]]
Parents = list[Adjacency | None]


@dataclass(frozen=True)
class Tree:
    """The way into every router but the root, and the leaves that are reached. Every end of the tree is a leaf."""

    root: IPv4Address
    into: Mapping[IPv4Address, Adjacency]
    leaves: frozenset[IPv4Address]

    @cached_property
    def children(self) -> Mapping[IPv4Address, tuple[Adjacency, ...]]:
        """The ways out of every router that has any, in the order of where they lead."""
        found: dict[IPv4Address, list[Adjacency]] = {}
        for adjacency in self.into.values():
            found.setdefault(adjacency.tail, []).append(adjacency)
        return {router: tuple(sorted(some, key=lambda each: int(each.head))) for router, some in found.items()}

    @property
    def links(self) -> frozenset[Pair]:
        return frozenset(adjacency.link for adjacency in self.into.values())

    @property
    def cost(self) -> int:
        """The sum of its links' costs, each in the direction that packets go."""
        return sum(adjacency.cost for adjacency in self.into.values())


@dataclass(frozen=True, slots=True)
class Constraints:
    """`without`: pairs of routers no link between which is used. `shun`: links that are used only where a leaf has no
    way without, and then as few as possible on the way to it. `around`: routers that the tree does not touch."""

    without: frozenset[Pair] = field(default_factory=frozenset)
    shun: frozenset[Pair] = field(default_factory=frozenset)
    around: frozenset[IPv4Address] = field(default_factory=frozenset)


def make_tree(
    graph: Graph,
    root: IPv4Address,
    leaves: Iterable[IPv4Address],
    algorithm: str = "spt",
    constraints: Constraints | None = None,
) -> Tree:
    """The tree to those of the leaves that can be reached. `algorithm`: a key of ALGORITHMS.

    With `shun`, a second tree is disjoint from the links shunned if it can be: `tree.links & shun` is what is not.
    """
    edges = _edges(graph, constraints or Constraints())
    start = graph.number.get(root)
    wanted = sorted(graph.number[leaf] for leaf in {*leaves} - {root} if leaf in graph.number)
    if start is None or not wanted:
        return Tree(root, {}, frozenset())
    parents = ALGORITHMS[algorithm](edges, start, wanted)
    into: dict[IPv4Address, Adjacency] = {}
    reached = [graph.routers[leaf] for leaf in wanted if parents[leaf] is not None]
    for router in reached:
        while router != root and router not in into:
            adjacency = parents[graph.number[router]]
            assert adjacency is not None
            into[router] = adjacency
            router = adjacency.tail
    return Tree(root, into, frozenset(reached))


def distances(graph: Graph, start: IPv4Address, limit: int) -> dict[IPv4Address, tuple[int, bool]]:
    """How far the routers within `limit` are, and whether only one shortest path leads there."""
    found: dict[int, int] = {}
    best = {graph.number[start]: 0}
    single: dict[int, bool] = {graph.number[start]: True}
    heap = [(0, graph.number[start])]
    while heap:
        distance, here = heappop(heap)
        if here in found:
            continue
        found[here] = distance
        for there, cost, _ in graph.out[here]:
            new = distance + cost
            if new > limit or there in found:
                continue
            known = best.get(there)
            if known is None or new < known:
                best[there], single[there] = new, single[here]
                heappush(heap, (new, there))
            elif new == known:
                single[there] = False
    return {graph.routers[each]: (distance, single[each]) for each, distance in found.items()}


def _edges(graph: Graph, constraints: Constraints) -> Edges:
    without, shun, around = constraints.without, constraints.shun, constraints.around
    if not (without or shun or around):
        return graph.out
    much = 1 + sum(cost for out in graph.out for _, cost, _ in out)  # more than any path costs
    edges: Edges = []
    for router, out in zip(graph.routers, graph.out, strict=True):
        if router in around:
            edges.append([])
            continue
        kept = out
        if around:
            kept = [each for each in kept if each[2].head not in around]
        if without:
            kept = [each for each in kept if frozenset((router, each[2].head)) not in without]
        if shun:
            kept = [(head, cost + much * (way.link in shun), way) for head, cost, way in kept]
        edges.append(kept)
    return edges


def _spt(edges: Edges, start: int, leaves: Collection[int]) -> Parents:
    parents: Parents = [None] * len(edges)
    origin = [-1] * len(edges)  # the number of the parent's tail
    best = [_FAR] * len(edges)
    best[start] = 0
    settled = bytearray(len(edges))
    heap = [(0, start)]
    while heap:
        distance, here = heappop(heap)
        if settled[here]:
            continue
        settled[here] = 1
        for there, cost, way in edges[here]:
            new = distance + cost
            if new < best[there]:
                best[there] = new
                heappush(heap, (new, there))
            elif new > best[there] or settled[there] or origin[there] <= here:
                continue
            parents[there], origin[there] = way, here
    return parents


def _steiner(edges: Edges, start: int, leaves: Collection[int]) -> Parents:
    parents: Parents = [None] * len(edges)
    origin = [-1] * len(edges)
    best = [_FAR] * len(edges)
    best[start] = 0
    joined = bytearray(len(edges))
    joined[start] = 1
    missing = set(leaves)
    heap = [(0, start)]
    while heap and missing:
        distance, here = heappop(heap)
        if distance > best[here]:
            continue
        if here in missing:
            # All that lies on the way belongs to the tree now, and is where searching goes on from.
            while not joined[here]:
                joined[here] = 1
                missing.discard(here)
                best[here] = 0
                heappush(heap, (0, here))
                here = origin[here]
            continue
        for there, cost, way in edges[here]:
            new = distance + cost
            if new < best[there]:
                best[there], parents[there], origin[there] = new, way, here
                heappush(heap, (new, there))
    return parents


_FAR = 1 << 62

ALGORITHMS: Mapping[str, Callable[[Edges, int, Collection[int]], Parents]] = {"spt": _spt, "steiner": _steiner}
