"""Where PIM's rendezvous point goes when the topology does not say."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.plan.graph import distances, graph_of
from testbed.plan.types import Link, Node, Role

# Linux: MAXVIFS is 32 a table; pimd's pimreg takes one and the RP's loopback another.
MAX_RP_INTERFACES = 30


def rendezvous_point(nodes: Mapping[str, Node], links: Mapping[str, Link]) -> str:
    """The core router nearest to all edges: the smallest sum of IGP distances, the first of equals.

    A topology without core routers gets its repository's edge.
    """
    edges = [n.name for n in nodes.values() if n.role in (Role.SITE_EDGE, Role.REPOSITORY_EDGE)]
    cores = [n.name for n in nodes.values() if n.role is Role.CORE]
    if not cores:
        return next(n.name for n in nodes.values() if n.role is Role.REPOSITORY_EDGE)
    graph = graph_of(nodes, links.values())

    def remoteness(router: str) -> tuple[bool, int, int]:
        """Too many interfaces is worst, then edges out of reach, then distance."""
        reach = distances(graph, router)
        too_many = len(nodes[router].interfaces) > MAX_RP_INTERFACES
        missing = sum(edge not in reach for edge in edges)
        return too_many, missing, sum(reach.get(edge, 0) for edge in edges)

    return min(cores, key=remoteness)
