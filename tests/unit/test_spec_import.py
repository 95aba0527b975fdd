"""Backbones from topohub and GraphML."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import RequestError
from testbed.spec.backbone import FIBRE_DELAY, Backbone, BackboneOptions, Cable, build_topology, short_names
from testbed.spec.check_topology import check_topology
from testbed.spec.foreign import import_topology
from testbed.spec.load import load_topology
from testbed.spec.topohub import backbones
from testbed.spec.topology import Router, Site, Topology


def _sites_at(topology: Topology) -> dict[str, str]:
    return {link.b: link.a for link in topology.links if isinstance(topology.nodes[link.b], Site)}


def test_abilene_as_it_is() -> None:
    topology = load_topology("topohub:topozoo/Abilene?sites=4&rate=1Gbit&servers=2")
    assert sum(isinstance(node, Router) for node in topology.nodes.values()) == 11
    assert len(topology.links) == 14 + 1 + 4
    assert topology.defaults.link.rate == 10**9
    assert topology.nodes["gpu4"] == Site(kind="site", servers=2)
    assert topology.source == "topohub:topozoo/Abilene?sites=4&rate=1Gbit&servers=2"
    link = next(link for link in topology.links if (link.a, link.b) == ("NewYork", "Chicago"))
    assert link.delay == pytest.approx(1146.16 * FIBRE_DELAY, abs=1e-6)
    assert link.cost == 1146


def test_sites_at_named_places_by_either_name() -> None:
    topology = load_topology("topohub:topozoo/Abilene?attach=New York,losangeles&repository=Kansas City")
    assert _sites_at(topology) == {"gpu1": "NewYork", "gpu2": "LosAngeles"}
    assert topology.links[0].b == topology.rp == "KansasCity"


def test_sites_at_the_best_connected() -> None:
    topology = load_topology("topohub:sndlib/germany50?attach=degree&sites=3")
    core = [link for link in topology.links if link.cost is not None]
    degree = {name: sum(name in (link.a, link.b) for link in core) for name in topology.nodes}
    used = [topology.links[0].b, *_sites_at(topology).values()]
    assert sorted((degree[name] for name in used), reverse=True) == sorted(degree.values(), reverse=True)[:4]


def test_without_delays() -> None:
    topology = load_topology("topohub:topozoo/Abilene?delay=none&cost=hops")
    assert all(link.delay is None and link.cost is None for link in topology.links)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("topohub:topozoo/Abilen", "did you mean topozoo/Abilene"),
        ("topohub:Abilene", "did you mean sndlib/abilene or topozoo/Abilene"),
        ("topohub:zoo/x", "groups: backbone, caida, gabriel, sndlib, topozoo"),
        ("topohub:../../../etc/passwd", "topohub has no backbone"),
        ("topohub:topozoo/Abilene?sites=12", "sites=12, but topozoo/Abilene has 11 places"),
        ("topohub:topozoo/Abilene?sites=x&colour=red", "'x' is not a whole number"),
        ("topohub:topozoo/Abilene?sites=x&colour=red", "unknown key 'colour'"),
        ("topohub:topozoo/Abilene?sites=1&sites=2", "option sites is given twice"),
        ("topohub:topozoo/Abilene?attach=Chicgo,Bonn", "did you mean Chicago"),
        ("topohub:topozoo/Abilene?attach=Chicago&sites=3", "sites=3, but attach names 1"),
        ("topohub:topozoo/Abilene?rate=1bit", "the least is 64 kb/s"),
        ("topohub:topozoo/Abilene?repository=Atlantis", "did you mean Atlanta"),
        ("./none.graphml", "cannot be read"),
    ],
)
def test_wrong_references_are_told_what_is_wrong(ref: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_topology(ref)
    assert words in str(caught.value)


def test_import_refuses_what_is_not_foreign() -> None:
    with pytest.raises(RequestError, match="nothing that can be imported"):
        import_topology("ring")


@pytest.mark.parametrize("key", ["topozoo/Abilene", "topozoo/Dfn", "sndlib/cost266", "gabriel/50/0", "backbone/africa"])
def test_backbones_become_right_topologies(key: str) -> None:
    assert key in backbones()
    topology = load_topology(f"topohub:{key}")
    assert check_topology(topology) == []
    assert load_topology(f"topohub:{key}") == topology


def test_a_hub_that_linux_cannot_be_is_refused() -> None:
    hub = Backbone(
        "hub", "hub", ("Hub", *(f"Leaf {n}" for n in range(31))), tuple(Cable(0, n, 1) for n in range(1, 32))
    )
    problems = check_topology(build_topology(hub, BackboneOptions(sites=1)))
    assert [problem.what for problem in problems] == ["Hub has 32 multicast interfaces (links, hosts, controllers)"]


def test_short_names_are_short_unique_and_plain() -> None:
    labels = ["São Paulo", "Frankfurt am Main", "Frankfurt am Oder", "at1.at", "", "9 Mile", "repo", "東京", "a", "A"]
    names = short_names(labels, [10] * len(labels), {"repo"})
    assert names == ("SaoPaulo", "Frankfurta", "Frankfurt2", "at1-at", "n4", "n9Mile", "repo2", "n7", "a", "A2")


GRAPHML = """<?xml version="1.0"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="node" attr.name="label" attr.type="string"/>
  <key id="d1" for="node" attr.name="Latitude" attr.type="double"/>
  <key id="d2" for="node" attr.name="Longitude" attr.type="double"/>
  <key id="d3" for="edge" attr.name="dist" attr.type="double"/>
  <graph edgedefault="{direction}">
    <node id="0"><data key="d0">Berlin</data><data key="d1">52.52</data><data key="d2">13.405</data></node>
    <node id="1"><data key="d0">Paris</data><data key="d1">48.8566</data><data key="d2">2.3522</data></node>
    <node id="2"><data key="d0">Rome</data></node>
    <edge source="0" target="1"/>
    <edge source="1" target="0"/>
    <edge source="1" target="2"><data key="d3">1400</data></edge>
    <edge source="2" target="2"/>
  </graph>
</graphml>
"""


def test_graphml(tmp_path: Path) -> None:
    (tmp_path / "europe.graphml").write_text(GRAPHML.replace("{direction}", "directed"))
    topology = load_topology("europe.graphml?sites=2&repository=Paris", base=tmp_path)
    links = {(link.a, link.b): link for link in topology.links}
    assert set(links) == {
        ("repo", "Paris"),
        ("Berlin", "Paris"),
        ("Paris", "Rome"),
        ("Berlin", "gpu1"),
        ("Rome", "gpu2"),
    }
    assert links["Berlin", "Paris"].cost == pytest.approx(878, abs=3)  # the great circle
    assert links["Paris", "Rome"].delay == pytest.approx(0.007)
    assert (topology.name, topology.source) == ("europe", "europe.graphml?sites=2&repository=Paris")


def test_parallel_links_of_an_undirected_graphml_stay(tmp_path: Path) -> None:
    (tmp_path / "e.graphml").write_text(GRAPHML.replace("{direction}", "undirected"))
    topology = load_topology("e.graphml?sites=1", base=tmp_path)
    assert sum({link.a, link.b} == {"Berlin", "Paris"} for link in topology.links) == 2


@pytest.mark.parametrize("text", ["", "<graphml", "<html/>", "name: ring"])
def test_what_is_no_graphml(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.graphml").write_text(text)
    with pytest.raises(RequestError):
        load_topology("bad.graphml", base=tmp_path)
