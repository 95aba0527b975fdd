"""What a fault has to itself while it lasts, and which links and nodes of a topology have a role."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from testbed.spec.names import find_link, link_names
from testbed.spec.topology import Controller, Repository, Router, Site, Topology


@dataclass(frozen=True, slots=True)
class Claim:
    """Links, whole nodes, and parts of nodes (a node with a daemon, or with a kind of messages): no two faults have one
    of them at the same time."""

    links: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    parts: frozenset[tuple[str, str]] = frozenset()

    def shared(self, other: Claim) -> str:
        """What both claim, in words; "" if nothing."""
        if links := self.links & other.links:
            return f"link {min(links)}"
        at = {node for node, _ in self.parts}, {node for node, _ in other.parts}
        if nodes := self.nodes & (other.nodes | at[1]) | other.nodes & at[0]:
            return f"node {min(nodes)}"
        if parts := self.parts & other.parts:
            node, name = min(parts)
            return f"{name} of {node}"
        return ""


def claim(topology: Topology, links: Iterable[str], nodes: Iterable[str], parts: Collection[str] = ()) -> Claim:
    """Of a fault that hits these; with `parts`, only those of the nodes: processes, kinds of messages. A whole node is
    claimed with its links."""
    nodes = frozenset(nodes)
    if parts and nodes:
        return Claim(parts=frozenset((node, part) for node in nodes for part in parts))
    named = {found[0] if (found := find_link(topology, each)) else each for each in links}
    return Claim(frozenset(named) | frozenset(links_of(topology, nodes)), nodes)


def links_of(topology: Topology, nodes: Iterable[str]) -> tuple[str, ...]:
    """The links that end at one of these nodes."""
    ends = set(nodes)
    named = zip(topology.links, link_names(topology), strict=True)
    return tuple(name for link, name in named if {link.a, link.b} & ends)


def fault_nodes(topology: Topology) -> tuple[str, ...]:
    """The nodes that a fault may hit: routers, edge routers, controllers. Hosts are no network."""
    return tuple(topology.nodes)


def members(topology: Topology, role: str) -> tuple[str, ...]:
    """The links or nodes with a role, in topology order. `rp`: as far as the topology says; `controller`: nodes of that
    kind. A core link is one between two core routers."""
    kinds = {"core-router": Router, "site-router": Site, "repository-router": Repository, "controller": Controller}
    nodes = topology.nodes
    if role in kinds:
        return tuple(name for name, node in nodes.items() if isinstance(node, kinds[role]))
    if role == "rp":
        return (topology.rp,) if topology.rp is not None else ()
    found = []
    for link, name in zip(topology.links, link_names(topology), strict=True):
        ends = [nodes.get(link.a), nodes.get(link.b)]
        if (
            role == "any-link"
            or (role == "core-link" and all(isinstance(end, Router) for end in ends))
            or (role == "site-link" and any(isinstance(end, Site) for end in ends))
            or (role == "repository-link" and any(isinstance(end, Repository) for end in ends))
        ):
            found.append(name)
    return tuple(found)
