"""The plan's links as a networkx graph: one edge a link, its key the link's name, its weight the IGP cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import networkx as nx

from testbed.plan.types import Link


def graph_of(nodes: Iterable[str], links: Iterable[Link], without: Collection[str] = frozenset()) -> nx.MultiGraph[str]:
    """The network without some links (by name)."""
    graph: nx.MultiGraph[str] = nx.MultiGraph()
    graph.add_nodes_from(nodes)
    for link in links:
        if link.name not in without:
            graph.add_edge(link.a.node, link.b.node, key=link.name, weight=link.a.cost)
    return graph


def distances(graph: nx.MultiGraph[str], source: str) -> dict[str, int]:
    """IGP distance of every node that can be reached from a node."""
    lengths = nx.single_source_dijkstra_path_length(graph, source, weight="weight")
    return {node: int(length) for node, length in lengths.items()}
