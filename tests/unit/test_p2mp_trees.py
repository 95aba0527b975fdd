"""Trees: networkx's shortest paths and Steiner trees as oracles, brute force for the least, properties for the rest."""

from __future__ import annotations

import itertools
import random
from ipaddress import IPv4Address

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from p2mp_sim import Area

from testbed.control.p2mp.graph import Graph
from testbed.control.p2mp.plans import MODES, make_plan
from testbed.control.p2mp.trees import ALGORITHMS, Constraints, Tree, distances, make_tree
from testbed.forwarder.rows import Role

PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 1 << 20)


def area_of(seed: int, most: int = 14) -> tuple[Area, random.Random]:
    rng = random.Random(seed)
    return Area.random(rng.randint(2, most), rng.randint(0, 2 * most), rng, cost=rng.choice((1, 3, 100))), rng


def some_leaves(area: Area, rng: random.Random) -> list[IPv4Address]:
    return rng.sample(area.routers[1:], rng.randint(1, len(area.routers) - 1))


def digraph(graph: Graph) -> nx.DiGraph:
    found = nx.DiGraph()
    for adjacency in itertools.chain.from_iterable(graph.adjacencies.values()):
        known = found.get_edge_data(adjacency.tail, adjacency.head, {"cost": adjacency.cost})["cost"]
        found.add_edge(adjacency.tail, adjacency.head, cost=min(known, adjacency.cost))
    return found


def check(tree: Tree, graph: Graph, leaves: list[IPv4Address]) -> None:
    """A tree of the graph's links, from the root to the leaves that can be reached, and nowhere else."""
    assert tree.leaves == graph.reachable(tree.root) & set(leaves)
    for router, adjacency in tree.into.items():
        assert adjacency.head == router
        assert adjacency in graph.adjacencies[adjacency.tail]
        hops = 0
        while router != tree.root:
            router, hops = tree.into[router].tail, hops + 1
            assert hops <= len(tree.into), "a loop"
    assert {router for router in tree.into if router not in tree.children} <= tree.leaves, "every end is a leaf"


@PATIENT
@given(SEEDS)
def test_spt_is_of_shortest_paths(seed: int) -> None:
    area, rng = area_of(seed)
    graph, leaves = area.graph(), some_leaves(area, rng)
    tree = make_tree(graph, area.routers[0], leaves, "spt")
    check(tree, graph, leaves)
    lengths = nx.single_source_dijkstra_path_length(digraph(graph), tree.root, weight="cost")
    for router, adjacency in tree.into.items():
        assert lengths[router] == lengths[adjacency.tail] + adjacency.cost


@PATIENT
@given(SEEDS)
def test_distances_and_whether_there_is_a_choice(seed: int) -> None:
    area, rng = area_of(seed, 8)
    graph, start = area.graph(), area.routers[0]
    many = nx.MultiDiGraph()
    for adjacency in itertools.chain.from_iterable(graph.adjacencies.values()):
        many.add_edge(adjacency.tail, adjacency.head, cost=adjacency.cost)
    limit = rng.randint(0, 40)
    found = distances(graph, start, limit)
    lengths = nx.single_source_dijkstra_path_length(many, start, weight="cost")
    assert {each: found[each][0] for each in found} == {k: v for k, v in lengths.items() if v <= limit}
    for router, (length, single) in found.items():
        count = {start: 1}
        for each in sorted(found, key=lambda one: found[one][0]):
            if each != start:
                count[each] = sum(
                    count[a.tail]
                    for a in itertools.chain.from_iterable(graph.adjacencies.values())
                    if a.head == each and a.tail in count and found[a.tail][0] + a.cost == found[each][0]
                )
        assert single == (count[router] == 1), (router, length)


@PATIENT
@given(SEEDS)
def test_steiner_is_a_tree_and_not_dear(seed: int) -> None:
    """Where both directions cost the same, at most twice the least (Takahashi and Matsuyama 1980)."""
    rng = random.Random(seed)
    count = rng.randint(2, 7)
    pairs = [(rng.randrange(1, each), each) for each in range(2, count + 1)]
    pairs += (tuple(rng.sample(range(1, count + 1), 2)) for _ in range(rng.randint(0, 6)))  # type: ignore[misc]
    area = Area(count, [(a, b, cost, cost) for a, b in pairs for cost in [rng.randint(1, 9)]])
    graph, leaves = area.graph(), some_leaves(area, rng)
    tree = make_tree(graph, area.routers[0], leaves, "steiner")
    check(tree, graph, leaves)
    least = _least(digraph(graph).to_undirected(), {tree.root, *leaves})
    assert least <= tree.cost <= 2 * (1 - 1 / (len(leaves) + 1)) * least


def _least(graph: nx.Graph, terminals: set[IPv4Address]) -> int:
    """The cost of a Steiner tree that costs least: the least spanning tree of the right choice of routers."""
    others = [node for node in graph if node not in terminals]
    found = []
    for size in range(len(others) + 1):
        for chosen in itertools.combinations(others, size):
            part = graph.subgraph({*terminals, *chosen})
            if nx.is_connected(part):
                found.append(int(nx.minimum_spanning_tree(part, weight="cost").size("cost")))
    return min(found)


@PATIENT
@given(SEEDS, st.sampled_from(sorted(ALGORITHMS)))
def test_the_same_for_the_same_graph(seed: int, algorithm: str) -> None:
    """However the graph came about."""
    area, rng = area_of(seed)
    leaves = some_leaves(area, rng)
    one = make_tree(area.graph(), area.routers[0], leaves, algorithm)
    rng.shuffle(area.links)
    rng.shuffle(leaves)
    assert make_tree(area.graph(), area.routers[0], leaves, algorithm) == one


@PATIENT
@given(SEEDS, st.sampled_from(sorted(ALGORITHMS)))
def test_constraints(seed: int, algorithm: str) -> None:
    area, rng = area_of(seed)
    graph, leaves = area.graph(), some_leaves(area, rng)
    pair = rng.choice([frozenset((one.tail, one.head)) for one, _ in area.links])
    around = rng.choice(area.routers[1:])
    constraints = Constraints(frozenset({pair}), around=frozenset({around}))
    tree = make_tree(graph, area.routers[0], leaves, algorithm, constraints)
    assert around not in tree.into
    assert all(frozenset((each.tail, each.head)) != pair for each in tree.into.values())
    left = Graph(
        {
            router: [
                each
                for each in some
                if around not in (each.tail, each.head) and frozenset((each.tail, each.head)) != pair
            ]
            for router, some in graph.adjacencies.items()
        }
    )
    check(tree, left, leaves)


@PATIENT
@given(SEEDS, st.sampled_from(sorted(ALGORITHMS)))
def test_a_second_tree_shares_what_it_must(seed: int, algorithm: str) -> None:
    """A leaf that has a way without any link of the first tree has none of them on its way in an SPT; and no leaf is
    lost."""
    area, rng = area_of(seed)
    graph, leaves = area.graph(), some_leaves(area, rng)
    first = make_tree(graph, area.routers[0], leaves, "spt")
    second = make_tree(graph, area.routers[0], leaves, algorithm, Constraints(shun=first.links))
    check(second, graph, leaves)
    free = Graph(
        {router: [each for each in some if each.link not in first.links] for router, some in graph.adjacencies.items()}
    )
    able = free.reachable(first.root)
    if set(leaves) <= able:
        assert not second.links & first.links
    if algorithm == "spt":
        for leaf in able & set(leaves):
            while leaf != first.root:
                assert second.into[leaf].link not in first.links
                leaf = second.into[leaf].tail


@PATIENT
@given(SEEDS, st.sampled_from(sorted(ALGORITHMS)), st.sampled_from(MODES), st.booleans())
def test_plans_lead_where_the_tree_leads(seed: int, algorithm: str, mode: str, only_way: bool) -> None:
    area, rng = area_of(seed)
    graph, leaves = area.graph(), some_leaves(area, rng)
    tree = make_tree(graph, area.routers[0], leaves, algorithm)
    plan = make_plan(graph, tree, mode, follows_igp=algorithm == "spt", only_way=only_way)
    assert plan.leaves == tree.leaves == plan.served(graph, graph.reachable(tree.root))
    assert not plan.gaps
    assert plan.parts[tree.root].role is Role.HEAD
    assert sorted(router for level in plan.levels for router in level) == sorted(plan.parts.keys() - {tree.root})
    if mode == "pinned":
        assert plan.parts.keys() == {tree.root, *tree.into}
    elif algorithm == "spt" and not only_way:
        branching = {router for router, some in tree.children.items() if len(some) > 1}
        assert plan.parts.keys() == {tree.root, *branching, *tree.leaves}
    for router, part in plan.parts.items():
        for way in part.ways:
            ancestors, here = [way.node], way.node
            while here != tree.root:
                here = tree.into[here].tail
                ancestors.append(here)
            assert router in ancestors[1:], "a branch leads down the tree"
            if way.link is None and not (algorithm == "spt" and not only_way):
                cost = sum(tree.into[each].cost for each in ancestors[: ancestors.index(router)])
                assert distances(graph, router, cost)[way.node][0] == cost, "where the IGP goes as the tree does"
                assert distances(graph, router, cost)[way.node][1] or not only_way


def test_ties_go_to_the_lowest_router() -> None:
    """1 - {2, 3} - 4, all the same cost."""
    area = Area(4, [(1, 3, 1, 1), (3, 4, 1, 1), (1, 2, 1, 1), (2, 4, 1, 1)])
    tree = make_tree(area.graph(), area.router(1), [area.router(4)], "spt")
    assert tree.into.keys() == {area.router(2), area.router(4)}


def test_nothing_to_reach() -> None:
    area = Area(2, [])
    root, leaf = area.routers
    for leaves in ([], [leaf], [root], [IPv4Address("192.0.2.1")]):
        assert make_tree(area.graph(), root, leaves) == Tree(root, {}, frozenset())
    assert make_tree(area.graph(), IPv4Address("192.0.2.1"), [leaf]).into == {}
    assert make_plan(area.graph(), Tree(root, {}, frozenset()), "pinned", follows_igp=True).parts == {}


@pytest.mark.parametrize("seed", range(3))
def test_steiner_against_networkx(seed: int) -> None:
    """No dearer than Mehlhorn's and Kou's trees by more than a tenth, over many leaves of a large graph."""
    rng = random.Random(seed)
    area = Area.random(150, 150, rng, cost=1)
    graph = area.graph()
    leaves = rng.sample(area.routers[1:], 100)
    undirected = nx.convert_node_labels_to_integers(digraph(graph).to_undirected(), label_attribute="router")
    numbers = {undirected.nodes[each]["router"]: each for each in undirected}
    terminals = [numbers[each] for each in (area.routers[0], *leaves)]
    theirs = nx.algorithms.approximation.steiner_tree(undirected, terminals, weight="cost", method="mehlhorn")
    assert make_tree(graph, area.routers[0], leaves, "steiner").cost <= 1.1 * theirs.number_of_edges()
