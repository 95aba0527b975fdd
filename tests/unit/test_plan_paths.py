"""Paths and trees: examples worked out by hand, and properties against networkx."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.plan import paths
from testbed.plan.build import make_plan
from testbed.plan.paths import DirectedLink
from testbed.plan.types import Plan
from testbed.spec.topology import Topology


def plan_of(nodes: dict[str, dict[str, Any]], links: list[Any], **fields: Any) -> Plan:
    return make_plan(Topology.model_validate({"name": "t", "nodes": nodes, "links": links, **fields}))


def diamond(links: list[Any] | None = None) -> Plan:
    """repo - r1 - {r2, r3} - r4 - s1, all costs equal; s2 behind both r3 and r2."""
    nodes: dict[str, dict[str, Any]] = {"repo": {"kind": "repository"}}
    nodes |= {f"r{i}": {"kind": "router"} for i in (1, 2, 3, 4)}
    nodes |= {"s1": {"kind": "site", "servers": 1}, "s2": {"kind": "site"}}
    default = ["repo-r1", "r1-r2", "r1-r3", "r2-r4", "r3-r4", "r4-s1", "r3-s2", "r2-s2"]
    return plan_of(nodes, links or [name.split("-") for name in default])


def links_from(plan: Plan, src: str, dst: str, *without: str) -> tuple[str, ...]:
    return tuple(hop.link for hop in paths.unicast_path(plan, src, dst, without))


def test_unicast_path_takes_the_lowest_next_hop_of_equals() -> None:
    plan = diamond()
    assert links_from(plan, "repo", "s1") == ("repo-r1", "r1-r2", "r2-r4", "r4-s1")
    assert links_from(plan, "s2", "repo") == ("r3-s2", "r1-r3", "repo-r1")
    assert links_from(plan, "r1", "r1") == ()


def test_unicast_path_goes_around_what_is_down() -> None:
    assert links_from(diamond(), "repo", "s1", "r1-r2") == ("repo-r1", "r1-r3", "r3-r4", "r4-s1")


def test_next_hops_are_all_of_equal_cost() -> None:
    plan = diamond()
    names = {(i.node, i.peer_node): i.name for n in plan.nodes.values() for i in n.interfaces}
    found = paths.next_hops(plan, "repo")
    assert found["r4"] == {names["r4", "r2"], names["r4", "r3"]}
    assert found["s1"] == {names["s1", "r4"]}
    assert found["repo"] == frozenset()
    assert paths.next_hops(plan, "repo", {"r2-r4"})["r4"] == {names["r4", "r3"]}
    assert "s1" not in paths.next_hops(plan, "repo", {"r4-s1"})


def test_unicast_path_says_who_is_cut_off() -> None:
    with pytest.raises(RequestError, match="repo and s1 cannot reach each other") as caught:
        paths.unicast_path(diamond(), "repo", "s1", without=frozenset({"r4-s1"}))
    assert caught.value.problems[0].where == "without r4-s1"


def test_unknown_nodes_are_named() -> None:
    with pytest.raises(RequestError, match="'nowhere'"):
        paths.unicast_path(diamond(), "repo", "nowhere")


def test_ideal_tree_is_what_pim_built() -> None:
    """The same network with FRR 8.4 and 10.3, SSM: this is where `ip mroute` showed the (S,G)."""
    tree = paths.ideal_tree(diamond(), "repo-src", ["s1-st", "s1-g1", "s2-st"])
    assert tree == (
        DirectedLink("repo-r1", "repo", "r1"),
        DirectedLink("r1-r2", "r1", "r2"),
        DirectedLink("r1-r3", "r1", "r3"),
        DirectedLink("r2-r4", "r2", "r4"),
        DirectedLink("r4-s1", "r4", "s1"),
        DirectedLink("r3-s2", "r3", "s2"),
        DirectedLink("repo-repo-src", "repo-src", "repo"),
        DirectedLink("s1-s1-st", "s1", "s1-st"),
        DirectedLink("s1-s1-g1", "s1", "s1-g1"),
        DirectedLink("s2-s2-st", "s2", "s2-st"),
    )


def test_ideal_tree_follows_cost_and_parallel_links() -> None:
    nodes: dict[str, dict[str, Any]] = {"repo": {"kind": "repository"}, "s1": {"kind": "site"}}
    plan = plan_of(nodes, [{"a": "repo", "b": "s1", "cost": 9}, {"a": "s1", "b": "repo", "cost": 3}])
    assert links_from(plan, "repo", "s1") == ("s1-repo#2",)


def test_busiest_link_prefers_one_that_can_be_lost() -> None:
    plan = diamond()
    everyone = ["s1-st", "s1-g1", "s2-st"]
    assert paths.sites_behind(plan, everyone) == {
        "repo-r1": 2, "r1-r2": 1, "r1-r3": 1, "r2-r4": 1, "r4-s1": 1, "r3-s2": 1,
    }  # fmt: skip
    assert paths.busiest_link(plan, everyone) == "r1-r2"


def test_busiest_link_of_a_tree_is_its_trunk() -> None:
    plan = diamond([["repo", "r1"], ["r1", "r2"], ["r2", "r3"], ["r3", "r4"], ["r4", "s1"], ["r2", "s2"]])
    assert paths.busiest_link(plan, ["s1-st", "s2-st"]) == "repo-r1"


def test_busiest_link_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError, match="no link between routers"):
        paths.busiest_link(diamond(), [])


def test_bottleneck_is_the_slowest_link_that_is_used() -> None:
    links: list[Any] = [
        {"a": "repo", "b": "r1", "rate": "10Gbit"},
        {"a": "r1", "b": "r2", "rate": "1Gbit"},
        {"a": "r1", "b": "r3", "rate": "1Mbit"},
        ["r2", "r4"],
        ["r4", "s1"],
        ["r3", "s2"],
    ]
    assert paths.bottleneck_rate(diamond(links), ["s1-st"]) == 10**9
    assert paths.bottleneck_rate(diamond(links), ["s1-st", "s2-st"]) == 10**6
    assert paths.bottleneck_rate(diamond(), ["s1-st"]) is None


def test_a_link_is_divided_among_the_copies_it_carries() -> None:
    links: list[Any] = [
        {"a": "repo", "b": "r1", "rate": "10Mbit"},
        {"a": "r1", "b": "r2", "rate": "6Mbit"},
        {"a": "r1", "b": "r3", "rate": "9Mbit"},
        ["r2", "r4"],
        ["r4", "s1"],
        ["r3", "s2"],
    ]
    plan = diamond(links)
    assert paths.bottleneck_rate(plan, ["s1-st", "s2-st"], shared=False) == 5 * 10**6  # repo-r1 carries both
    assert paths.bottleneck_rate(plan, ["s1-st"], shared=False) == 6 * 10**6
    assert paths.bottleneck_rate(plan, ["s1-st", "s2-st"]) == 6 * 10**6
    assert paths.bottleneck_rate(diamond(), ["s1-st"], shared=False) is None


@st.composite
def rings_with_chords(draw: st.DrawFn) -> Plan:
    """Two ways to everywhere: any single link can be lost."""
    size = draw(st.integers(3, 10))
    names = ["repo", *(f"s{i}" for i in range(1, size))]
    nodes: dict[str, dict[str, Any]] = {"repo": {"kind": "repository"}} | {n: {"kind": "site"} for n in names[1:]}
    pairs = [(names[i], names[(i + 1) % size]) for i in range(size)]
    chords = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda p: p[0] != p[1])
    pairs += draw(st.lists(chords, max_size=6))
    return plan_of(nodes, [{"a": a, "b": b, "cost": draw(st.integers(1, 4))} for a, b in pairs])


def storage(plan: Plan) -> list[str]:
    return [f"{site.name}-st" for site in plan.sites]


@settings(max_examples=30, deadline=None)
@given(rings_with_chords())
def test_paths_are_shortest_and_connected(plan: Plan) -> None:
    graph: nx.MultiGraph[str] = nx.MultiGraph()
    for link in plan.links.values():
        graph.add_edge(link.a.node, link.b.node, weight=link.a.cost)
    for destination in storage(plan):
        node, cost = plan.repository, 0
        for hop in paths.unicast_path(plan, plan.repository, destination):
            assert hop.node == node
            assert hop.name in paths.next_hops(plan, destination)[node]
            node = hop.peer_node
            cost += hop.cost
        assert node == destination
        assert cost == nx.shortest_path_length(graph, plan.repository, destination, weight="weight")


@settings(max_examples=30, deadline=None)
@given(rings_with_chords())
def test_ideal_tree_is_a_tree_that_reaches_everyone_once(plan: Plan) -> None:
    tree = paths.ideal_tree(plan, plan.repository, storage(plan))
    entered = [branch.dst for branch in tree]
    assert len(entered) == len(set(entered))
    assert plan.repository not in entered
    assert set(storage(plan)) <= set(entered)
    directed = nx.DiGraph((branch.src, branch.dst) for branch in tree)
    assert nx.is_arborescence(directed)
    leaves = {node for node in directed if directed.out_degree(node) == 0}
    assert leaves == set(storage(plan))


@settings(max_examples=30, deadline=None)
@given(rings_with_chords())
def test_the_busiest_link_can_be_lost(plan: Plan) -> None:
    link = paths.busiest_link(plan, storage(plan))
    tree = paths.ideal_tree(plan, plan.repository, storage(plan), without={link})
    assert link not in {branch.link for branch in tree}
    assert not plan.links[link].is_lan
