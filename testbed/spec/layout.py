"""Where to draw the nodes of a graph: stress majorization, the same picture every time."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 400
_LARGEST = 1500  # nodes; the distances between all pairs of more take too much memory

Points = NDArray[np.float64]


def layout(
    graph: nx.Graph[str], length: Mapping[frozenset[str], float], top: str | None
) -> dict[str, tuple[float, float]]:
    """A place for each node, y downwards, neighbours about `length` apart (default 1), `top` in the middle above.

    A tree stands on its head, `top` above and leaves side by side. Elsewhere distances on paper follow distances in
    the graph (Gansner, Koren, North: Graph drawing by stress majorization).
    """
    nodes = list(graph)
    if len(nodes) == 1:
        return {nodes[0]: (0.0, 0.0)}
    if top is not None and nx.is_tree(graph):
        return _tree(graph, top)
    angles = np.linspace(0, 2 * np.pi, len(nodes), endpoint=False)
    points = np.column_stack((np.cos(angles), np.sin(angles))) * len(nodes) / 6
    if len(nodes) <= _LARGEST:
        distances = _distances(graph, nodes, length)
        points = _majorize(_scaled(distances), distances)
    points = _upright(points, nodes.index(top) if top in nodes else None)
    return {node: (float(x), float(y)) for node, (x, y) in zip(nodes, points, strict=True)}


def _tree(graph: nx.Graph[str], top: str) -> dict[str, tuple[float, float]]:
    depth = nx.single_source_shortest_path_length(graph, top)
    children = dict(nx.bfs_successors(graph, top))
    across: dict[str, float] = {}
    leaves = 0
    for node in nx.dfs_postorder_nodes(graph, top):
        if node in children:
            across[node] = sum(across[child] for child in children[node]) / len(children[node])
        else:
            across[node] = float(leaves)
            leaves += 1
    return {node: (across[node] - (leaves - 1) / 2, float(depth[node])) for node in graph}


def _distances(graph: nx.Graph[str], nodes: list[str], length: Mapping[frozenset[str], float]) -> Points:
    index = {node: i for i, node in enumerate(nodes)}
    weighted: nx.Graph[str] = nx.Graph()
    weighted.add_nodes_from(nodes)
    weighted.add_edges_from((a, b, {"weight": length.get(frozenset((a, b)), 1.0)}) for a, b in graph.edges())
    distances = np.full((len(nodes), len(nodes)), np.nan)
    for node, reached in nx.all_pairs_dijkstra_path_length(weighted):
        for other, distance in reached.items():
            distances[index[node], index[other]] = distance
    # Islands: a little further apart than anything that is connected.
    return np.where(np.isnan(distances), np.nanmax(distances) + 1.0, distances)


def _scaled(distances: Points) -> Points:
    """Classical multidimensional scaling: a good start, so that the majorization ends without crossings."""
    n = len(distances)
    centre = np.eye(n) - np.full((n, n), 1 / n)
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    vectors = vectors[:, -2:] * np.sign(vectors[np.abs(vectors[:, -2:]).argmax(axis=0), [-2, -1]])
    # Equal nodes would never part: give each a nudge of its own.
    nudge = 0.05 * np.column_stack((np.cos(2.4 * np.arange(n)), np.sin(2.4 * np.arange(n))))
    return np.asarray(vectors * np.sqrt(np.maximum(values[-2:], 0.01)) + nudge)


def _majorize(points: Points, distances: Points) -> Points:
    n = len(points)
    weights = 1 / np.where(distances > 0, distances, 1) ** 2
    np.fill_diagonal(weights, 0.0)
    laplacian = np.diag(weights.sum(axis=1)) - weights
    inverse = np.linalg.inv(laplacian + np.full((n, n), 1 / n))  # its null space is the shift of all points
    for _ in range(_ITERATIONS if n <= 300 else 60):
        apart = np.maximum(np.linalg.norm(points[:, None] - points[None, :], axis=2), 1e-9)
        pull = -weights * distances / apart
        np.fill_diagonal(pull, 0.0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        points = inverse @ (pull @ points)
    return points


def _upright(points: Points, top: int | None) -> Points:
    """Turned so that `top` is straight above the middle (y grows downwards); without one, widest across."""
    points = points - points.mean(axis=0)
    x, y = points[top] if top is not None else (0.0, 0.0)
    angle = -np.pi / 2 - np.arctan2(y, x) if top is not None else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T)
