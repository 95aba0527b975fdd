"""A tree as Replication segments (RFC 9524): which router has one, in which role, with which branches. Pure.

    pinned  a segment at every router of the tree, its branches pinned to links: packets go where the tree goes
    loose   segments at the root, where the tree branches, and at leaves; between them packets go where the IGP sends
            them. Where that is not the tree's way, there is a segment more, or a branch that is pinned after all.

Neither says anything of an instance: two plans are equal if packets go the same ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.control.p2mp.graph import Adjacency, Graph
from testbed.control.p2mp.trees import Tree, distances
from testbed.control.replication import Branch, Segment, SegmentId
from testbed.forwarder.rows import Role

MODES = ("pinned", "loose")


class Way(NamedTuple):
    """A branch: to a router, by the link with this address of one's own; None: as the IGP goes."""

    node: IPv4Address
    link: IPv4Address | None


class Part(NamedTuple):
    """What one router does."""

    role: Role
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Plan:
    """The part of every router that has one."""

    root: IPv4Address
    parts: Mapping[IPv4Address, Part]

    @cached_property
    def leaves(self) -> frozenset[IPv4Address]:
        return frozenset(router for router, part in self.parts.items() if part.role in (Role.LEAF, Role.BUD))

    @cached_property
    def levels(self) -> tuple[tuple[IPv4Address, ...], ...]:
        """The routers behind the root, the farthest first: a router's branches lead into levels before its own."""
        levels, level = [], [self.root]
        while level := [way.node for router in level for way in self._ways(router)]:
            levels.append(tuple(router for router in level if router in self.parts))
        return tuple(reversed(levels))

    def served(self, graph: Graph, reachable: frozenset[IPv4Address]) -> frozenset[IPv4Address]:
        """The leaves that packets get to in this state of the area. `reachable`: from the root."""
        found, todo = [], [self.root]
        while todo:
            router = todo.pop()
            if router in self.leaves:
                found.append(router)
            todo += (
                way.node
                for way in self._ways(router)
                if way.node in reachable and (way.link is None or (router, way.link, way.node) in graph.links)
            )
        return frozenset(found)

    def segment(self, router: IPv4Address, segment_id: SegmentId, sid: int) -> Segment:
        """This router's part in an instance whose Replication-SID is `sid` everywhere."""
        role, ways = self.parts[router]
        return Segment(segment_id, role, sid, tuple(Branch(node, sid, link) for node, link in ways))

    @property
    def gaps(self) -> frozenset[IPv4Address]:
        """Routers that a branch leads to and that have no part: none in a plan that was made for a tree."""
        return frozenset(way.node for part in self.parts.values() for way in part.ways) - self.parts.keys()

    def _ways(self, router: IPv4Address) -> tuple[Way, ...]:
        part = self.parts.get(router)
        return part.ways if part else ()


def make_plan(graph: Graph, tree: Tree, mode: str, *, follows_igp: bool, only_way: bool = False) -> Plan:
    """`mode`: one of MODES. `follows_igp`: the tree consists of the IGP's shortest paths, so that a loose branch keeps
    to it without further ado. `only_way`: a loose branch must not have a choice of equal paths, since some of them may
    use what the tree was to keep away from."""
    parts: dict[IPv4Address, Part] = {}
    todo = [tree.root] if tree.into else []
    while todo:
        router = todo.pop()
        ways = []
        for adjacency in tree.children.get(router, ()):
            if mode == "pinned":
                ways.append(Way(adjacency.head, adjacency.local))
            else:
                ways.append(_loose(graph, tree, adjacency, follows_igp, only_way))
        parts[router] = Part(_role(tree, router), tuple(ways))
        todo += (way.node for way in ways)
    return Plan(tree.root, parts)


def part_of(segment: Segment) -> Part:
    """What a segment that was found does."""
    return Part(segment.role, tuple(Way(branch.node, branch.link) for branch in segment.branches))


def _role(tree: Tree, router: IPv4Address) -> Role:
    if router == tree.root:
        return Role.HEAD
    if router not in tree.leaves:
        return Role.TRANSIT
    return Role.BUD if router in tree.children else Role.LEAF


def _loose(graph: Graph, tree: Tree, first: Adjacency, follows_igp: bool, only_way: bool) -> Way:
    """From the tail of `first` as far down the tree as one branch leads."""
    chain = [first]
    while (here := chain[-1].head) not in tree.leaves and len(tree.children[here]) == 1:
        chain.append(tree.children[here][0])
    if follows_igp and not only_way:
        return Way(chain[-1].head, None)
    far = distances(graph, first.tail, sum(each.cost for each in chain))
    cost, way = 0, Way(first.head, first.local)
    for each in chain:
        cost += each.cost
        distance, single = far[each.head]
        if distance != cost or (only_way and not single):
            break
        way = Way(each.head, None)
    return way
