"""The tree that a scenario is checked and drawn with is the one that the plan sends by."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.plan import paths
from testbed.plan.build import make_plan
from testbed.spec.check_scenario import ideal_tree
from testbed.spec.load import load_topology
from testbed.spec.topology import Site, Topology

TOPOLOGIES = sorted((Path(__file__).resolve().parents[2] / "topologies").glob("*.yaml"))


def planned(topology: Topology, sites: Collection[str]) -> tuple[str, ...]:
    """The links between routers of the plan's tree to those of `sites` that can be reached."""
    plan = make_plan(topology)
    reached = []
    for site in sites:
        try:
            paths.unicast_path(plan, site, plan.repository)
            reached.append(f"{site}-st")
        except RequestError:
            pass
    tree = paths.ideal_tree(plan, plan.repository, reached)
    return tuple(branch.link for branch in tree if not plan.links[branch.link].is_lan)


def sites_of(topology: Topology) -> list[str]:
    return [name for name, node in topology.nodes.items() if isinstance(node, Site)]


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_both_trees_agree_on_every_ready_made_topology(file: Path) -> None:
    topology = load_topology(str(file))
    assert ideal_tree(topology, sites_of(topology)) == planned(topology, sites_of(topology)) != ()
    for site in sites_of(topology):
        assert ideal_tree(topology, [site]) == planned(topology, [site])


@st.composite
def networks(draw: st.DrawFn) -> tuple[Topology, list[str]]:
    """Any graph, whole or not: parallel links, equal costs, links written either way round, some of its sites."""
    kinds = draw(st.lists(st.sampled_from(["router", "site"]), min_size=2, max_size=8))
    nodes = [("repository", "repo"), *((kind, f"{kind[0]}{number}") for number, kind in enumerate(kinds))]
    names = draw(st.permutations([name for _, name in nodes]))
    ends = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda pair: pair[0] != pair[1])
    links: list[dict[str, Any]] = [
        {"a": a, "b": b, "cost": draw(st.integers(1, 3))} for a, b in draw(st.lists(ends, min_size=1, max_size=20))
    ]
    topology = Topology.model_validate(
        {"name": "t", "nodes": {name: {"kind": kind} for kind, name in nodes}, "links": links}
    )
    sites = sites_of(topology)
    return topology, draw(st.lists(st.sampled_from(sites), unique=True)) if sites else []


@settings(max_examples=100, deadline=None)
@given(networks())
def test_both_trees_agree_on_any_network(network: tuple[Topology, list[str]]) -> None:
    topology, sites = network
    assert ideal_tree(topology, sites) == planned(topology, sites)
