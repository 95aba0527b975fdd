"""The drawing: well-formed, complete, the same each time."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from testbed.spec.draw import draw_topology
from testbed.spec.load import load_topology
from testbed.spec.names import link_names
from testbed.spec.topology import Topology

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["gpu-clouds-8", "fig0", "ring", "tree", "topohub:topozoo/Abilene"])
def test_every_node_and_link_is_in_the_picture_and_on_the_page(name: str) -> None:
    topology = load_topology(name)
    root = ElementTree.fromstring(draw_topology(topology))
    words = {element.text for element in root.iter(f"{SVG}text")}
    assert set(topology.nodes) <= words
    tips = {(element.text or "").partition(":")[0] for element in root.iter(f"{SVG}title")}
    assert set(link_names(topology)) <= tips
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x <= x + float(box.attrib["width"]) <= width
        assert 0 <= y <= y + float(box.attrib["height"]) <= height


def test_the_same_topology_gives_the_same_bytes() -> None:
    assert draw_topology(load_topology("gpu-clouds-8")) == draw_topology(load_topology("gpu-clouds-8"))


def test_labels_say_what_differs_from_the_defaults() -> None:
    text = draw_topology(load_topology("ring"))
    assert ">15</text>" in text
    assert "500 Mb/s, MTU 9000, cost 10" in text


def test_text_is_escaped_and_odd_shapes_are_drawn() -> None:
    topology = Topology.model_validate(
        {
            "name": "odd",
            "description": "<b>&",
            "nodes": {
                "repo": {"kind": "repository"},
                "s1": {"kind": "site", "servers": 1},
                "ctl": {"kind": "controller", "at": "repo"},
            },
            "links": [["repo", "s1"], ["repo", "s1"], {"a": "s1", "b": "repo", "name": "a<b", "loss": "1%"}],
        }
    )
    root = ElementTree.fromstring(draw_topology(topology))
    assert {"<b>&", "ctl", "1% loss"} <= {element.text for element in root.iter(f"{SVG}text")}
    assert len(list(root.iter(f"{SVG}path"))) == 3
