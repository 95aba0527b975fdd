"""What the ready-made topologies and scenarios promise."""

from __future__ import annotations

import networkx as nx
import pytest

from testbed.spec import catalog
from testbed.spec.backbone import FIBRE_DELAY
from testbed.spec.check_scenario import ideal_tree
from testbed.spec.check_topology import core_graph
from testbed.spec.load import load_scenario, load_topology
from testbed.spec.names import link_names
from testbed.spec.topology import Repository, Router, Site, Topology


def _kind(topology: Topology, kind: type) -> list[str]:
    return [name for name, node in topology.nodes.items() if isinstance(node, kind)]


def _ties(graph: nx.MultiGraph[str], source: str) -> list[str]:
    """Nodes to which there is more than one shortest path from `source`."""
    distance = nx.single_source_dijkstra_path_length(graph, source, weight="cost")
    return [
        node
        for node in distance
        if node != source
        and sum(distance[a] + cost == distance[node] for _, a, cost in graph.edges(node, data="cost") if a in distance)
        != 1
    ]


def _without(topology: Topology, link: str) -> nx.MultiGraph[str]:
    graph = core_graph(topology)
    ends = next((a, b) for a, b, key in graph.edges(keys=True) if key == link)
    graph.remove_edge(*ends, key=link)
    return graph


def test_gpu_clouds_8_has_the_promised_size() -> None:
    topology = load_topology("gpu-clouds-8")
    assert len(_kind(topology, Site)) == 8
    assert len(_kind(topology, Router)) >= 10
    assert topology.defaults.link.rate == 500 * 10**6
    assert topology.defaults.link.mtu == 9000
    assert all(link.rate is None and link.mtu is None for link in topology.links)
    assert topology.rp in _kind(topology, Router)


@pytest.mark.parametrize("name", ["gpu-clouds-8", "fig0"])
def test_every_site_survives_the_loss_of_any_one_link(name: str) -> None:
    topology = load_topology(name)
    (repo,) = _kind(topology, Repository)
    for link in link_names(topology):
        graph = _without(topology, link)
        for site in _kind(topology, Site):
            assert nx.has_path(graph, repo, site), f"{site} without {link}"


def test_the_ring_survives_the_loss_of_any_one_core_link() -> None:
    topology = load_topology("ring")
    routers = _kind(topology, Router)
    for link, name in zip(topology.links, link_names(topology), strict=True):
        if link.a in routers and link.b in routers:
            assert nx.is_connected(_without(topology, name))


@pytest.mark.parametrize("name", ["gpu-clouds-8", "fig0", "ring", "tree"])
def test_shortest_paths_are_unique_between_any_two_routers(name: str) -> None:
    graph = core_graph(load_topology(name))
    assert {source: _ties(graph, source) for source in graph} == {source: [] for source in graph}


@pytest.mark.parametrize("name", ["gpu-clouds-8", "fig0", "ring"])
def test_shortest_paths_from_the_repository_stay_unique_after_any_one_loss(name: str) -> None:
    topology = load_topology(name)
    (repo,) = _kind(topology, Repository)
    for link in link_names(topology):
        graph = _without(topology, link)
        if repo in graph and len(nx.node_connected_component(graph, repo)) > 1:
            assert _ties(graph, repo) == [], f"without {link}"


def test_the_quickstarts_cut_takes_most_sites_and_not_all() -> None:
    scenario = load_scenario("quickstart")
    topology = scenario.topology
    sites = _kind(topology, Site)
    (fault,) = scenario.timeline
    cut = fault.target.link
    assert cut is not None
    behind = [site for site in sites if cut in ideal_tree(topology, [site])]
    assert len(sites) / 2 < len(behind) < len(sites)
    # A link of the core, and the busiest one.
    ends = next(link for link, name in zip(topology.links, link_names(topology), strict=True) if name == cut)
    assert {ends.a, ends.b} <= set(_kind(topology, Router))


def test_the_quickstart_is_what_the_readme_says() -> None:
    scenario = load_scenario("quickstart")
    assert [str(scheme) for scheme in scenario.schemes] == ["pim-ssm", "bier", "sr-p2mp"]
    assert scenario.topology == load_topology("gpu-clouds-8")
    assert scenario.timers == "fast"
    (sync,) = scenario.syncs
    assert (sync.model.size, sync.to, scenario.seed) == (2 * 2**30, "all", 1)
    (fault,) = scenario.timeline
    assert (fault.at, fault.action, fault.duration) == (10.0, "cut", 15.0)


WANS = {"wan-8": 8, "wan-30": 30, "wan-100": 100}


def test_nothing_ready_made_needs_impairments_but_what_is_there_for_distance() -> None:
    for name in set(catalog.ready_made("topology")) - WANS.keys() - {"gpu-clouds-8-far"}:
        topology = load_topology(name)
        for link in (topology.defaults.link, *topology.links):
            assert not any((link.delay, link.jitter, link.loss)), name


def test_the_far_network_is_the_near_one_but_for_its_delays() -> None:
    near, far = load_topology("gpu-clouds-8"), load_topology("gpu-clouds-8-far")
    assert all(0.005 <= (link.delay or 0) <= 0.04 for link in far.links)
    assert [link.model_copy(update={"delay": None}) for link in far.links] == list(near.links)
    assert (far.nodes, far.rp, far.defaults) == (near.nodes, near.rp, near.defaults)


@pytest.mark.parametrize(("name", "sites"), WANS.items())
def test_backbones_have_the_delays_of_their_kilometres_and_one_way_to_everywhere(name: str, sites: int) -> None:
    topology = load_topology(name)
    (repo,) = _kind(topology, Repository)
    assert len(_kind(topology, Site)) == sites
    core = set(_kind(topology, Router))
    for link in topology.links:
        between = {link.a, link.b} <= core
        assert between == (link.delay is not None) == (link.cost is not None)
        if link.delay is not None and link.cost is not None:
            assert link.delay / FIBRE_DELAY == pytest.approx(link.cost, abs=1.5)  # km; one was made longer for a tie
    graph = core_graph(topology)
    assert _ties(graph, repo) == []
    backbone = graph.subgraph(core)
    bridges = sum(1 for _ in nx.bridges(nx.Graph(backbone)))
    assert bridges <= 4


@pytest.mark.parametrize(("name", "behind"), [("wan-8", 4), ("wan-30-cut", 11), ("wan-100-cut", 28)])
def test_the_backbones_cuts_take_some_sites_that_have_another_way(name: str, behind: int) -> None:
    scenario = load_scenario(name)
    (fault,) = scenario.timeline
    assert fault.target.link is not None
    (repo,) = _kind(scenario.topology, Repository)
    sites = _kind(scenario.topology, Site)
    assert sum(fault.target.link in ideal_tree(scenario.topology, [site]) for site in sites) == behind
    left = _without(scenario.topology, fault.target.link)
    assert all(nx.has_path(left, repo, site) for site in sites)
    assert [str(scheme) for scheme in scenario.schemes] == ["pim-ssm", "bier", "sr-p2mp"]


@pytest.mark.parametrize("name", ["wan-30", "wan-100"])
def test_a_backbone_with_a_cut_is_the_one_without_and_a_cut(name: str) -> None:
    whole, cut = load_scenario(name), load_scenario(f"{name}-cut")
    assert not whole.timeline
    own = {"name", "description", "timeline"}
    assert whole.model_dump(exclude=own) == cut.model_dump(exclude=own)
