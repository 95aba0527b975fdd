"""Trees of the SR-P2MP controller: how long they take, and how much of the network they use, both algorithms.

    .venv/bin/python bench/trees.py [--quick] [--json] [--sets N]

Over backbones from topohub (a link costs its length in km) and random graphs of 150 routers (costs 1 to 20), leaf sets
are drawn, and for each: the tree by "spt" and by "steiner", a second tree disjoint from it,
and the plan of its segments in both modes; networkx's Steiner trees (Mehlhorn's, Kou's) beside them. Milliseconds of
processor time for one computation, medians and 90th percentiles ("graph": what a change of the area takes on top);
links and costs of the trees, each beside the SPT's of the same leaves.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Any, TypeVar

import networkx as nx
import topohub
from networkx.algorithms.approximation import steiner_tree

from testbed.control.p2mp.graph import Adjacency, Graph
from testbed.control.p2mp.plans import MODES, make_plan
from testbed.control.p2mp.trees import ALGORITHMS, Constraints, Tree, make_tree

BACKBONES = ("topozoo/TataNld", "sndlib/brain", "caida/2024-08/12479", "backbone/south_america_nosc", "gabriel/150/0")
SIZES = (10, 50, 100)  # leaves
GOAL_MS = 20.0
T = TypeVar("T")


def graph_of(edges: list[tuple[int, int, int]]) -> Graph:
    """Routers 10.255.x.y and links between them, both directions with the same cost."""
    found: dict[IPv4Address, list[Adjacency]] = {}
    for place, (a, b, cost) in enumerate(edges):
        ends = tuple(IPv4Address(0x0AFF0001 + each) for each in (a, b))
        one, other = (IPv4Address(0x0A000000 + 2 * place + each) for each in (0, 1))
        found.setdefault(ends[0], []).append(Adjacency(*ends, one, other, cost))
        found.setdefault(ends[1], []).append(Adjacency(*ends[::-1], other, one, cost))
    return Graph(found)


def graphs() -> dict[str, Graph]:
    found = {}
    for name in BACKBONES:
        edges = topohub.get(name)["edges"]
        backbone = nx.Graph((e["source"], e["target"], {"cost": max(1, round(e["dist"]))}) for e in edges)
        whole = nx.convert_node_labels_to_integers(backbone.subgraph(max(nx.connected_components(backbone), key=len)))
        found[name] = graph_of(list(whole.edges(data="cost")))
    rng = random.Random(1)
    for degree in (3, 4, 6):
        links = nx.random_regular_graph(degree, 150, seed=1).edges
        found[f"random, degree {degree}"] = graph_of([(a, b, rng.randint(1, 20)) for a, b in links])
    return found


@dataclass
class Figures:
    """Milliseconds, and what trees use, by name; a figure a leaf set."""

    times: dict[str, list[float]]
    used: dict[str, list[float]]

    def time(self, name: str, work: Callable[[], T]) -> T:
        begin = time.process_time()
        result = work()
        self.times.setdefault(name, []).append(1000 * (time.process_time() - begin))
        return result

    def use(self, name: str, value: float) -> None:
        self.used.setdefault(name, []).append(value)

    def summary(self) -> dict[str, Any]:
        spread = {
            name: {"median": statistics.median(each), "p90": sorted(each)[int(0.9 * len(each))]}
            for name, each in self.times.items()
        }
        return {"ms": spread, "used": {name: statistics.mean(each) for name, each in self.used.items()}}


def measure(graph: Graph, size: int, sets: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """All figures for leaf sets of one size."""
    rng = random.Random(size)
    found = Figures({}, {})
    flat = nx.Graph()
    for some in graph.adjacencies.values():
        flat.add_weighted_edges_from((graph.number[a.tail], graph.number[a.head], a.cost) for a in some)
    for _ in range(sets):
        root, *leaves = rng.sample(graph.routers, size + 1)
        gc.collect()
        found.time("graph", partial(Graph, graph.adjacencies))
        base = make_tree(graph, root, leaves, "spt")
        for algorithm in ALGORITHMS:
            _measure_tree(graph, base, algorithm, leaves, found)
        terminals = [graph.number[each] for each in (root, *leaves)]
        for method in methods:
            steiner = found.time(f"networkx {method}", partial(steiner_tree, flat, terminals, method=method))
            found.use(f"{method} links", steiner.number_of_edges() / len(base.into))
            found.use(f"{method} cost", steiner.size("weight") / base.cost)
    return found.summary()


def _measure_tree(graph: Graph, base: Tree, algorithm: str, leaves: list[IPv4Address], found: Figures) -> None:
    make = partial(make_tree, graph, base.root, leaves, algorithm)
    tree = found.time(algorithm, make)
    second = found.time(f"{algorithm}, disjoint", partial(make, Constraints(shun=tree.links)))
    for mode in MODES:
        work = partial(make_plan, graph, tree, mode, follows_igp=algorithm == "spt")
        found.use(f"{algorithm} segments {mode}", len(found.time(f"{algorithm}, {mode} plan", work).parts))
    found.use(f"{algorithm} links", len(tree.into) / len(base.into))
    found.use(f"{algorithm} cost", tree.cost / base.cost)
    found.use(f"{algorithm} shared", len(second.links & tree.links) / len(tree.into))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer leaf sets, without Kou's algorithm")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sets", type=int, help="leaf sets of each size")
    arguments = parser.parse_args()
    sets = arguments.sets or (5 if arguments.quick else 30)
    methods = ("mehlhorn",) if arguments.quick else ("mehlhorn", "kou")
    results = {
        name: {size: measure(graph, size, sets, methods) for size in SIZES if size < len(graph.routers)}
        for name, graph in graphs().items()
    }
    if arguments.json:
        print(json.dumps({"sets": sets, "goal_ms": GOAL_MS, "graphs": results}))
        return
    print(f"{sets} leaf sets each; milliseconds: median (90th percentile)\n")
    columns = ("graph", "spt", "steiner", "steiner, disjoint", *(f"networkx {each}" for each in methods))
    print(f"{'':28}{'leaves':>7}" + "".join(f"{each:>20}" for each in columns))
    for name, by_size in results.items():
        for size, found in by_size.items():
            cells = (found["ms"][each] for each in columns)
            text = "".join(f"{cell['median']:>11.2f} ({cell['p90']:6.2f})" for cell in cells)
            print(f"{name:28}{size:>7}{text}")
    print("\nlinks and cost beside the SPT's; part of its links that a second tree has to share; segments of an SPT\n")
    heads = ["steiner links", "steiner cost", *(f"{each} cost" for each in methods), "shared", "pinned", "loose"]
    print(f"{'':28}{'leaves':>7}" + "".join(f"{each:>15}" for each in heads))
    for name, by_size in results.items():
        for size, found in by_size.items():
            used = found["used"]
            text = f"{used['steiner links']:>15.2f}{used['steiner cost']:>15.2f}"
            text += "".join(f"{used[f'{each} cost']:>15.2f}" for each in methods)
            text += f"{used['spt shared']:>15.0%}"
            text += "".join(f"{used[f'spt segments {mode}']:>15.0f}" for mode in MODES)
            print(f"{name:28}{size:>7}{text}")
    slowest = max(by_size[100]["ms"][each]["median"] for by_size in results.values() for each in ALGORITHMS)
    print(f"\n100 leaves take {slowest:.1f} ms at most (median of one graph); the goal is {GOAL_MS:g} ms")


if __name__ == "__main__":
    main()
