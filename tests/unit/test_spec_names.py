"""Names that follow from a topology."""

from __future__ import annotations

import pytest

from testbed.spec.names import (
    find_link,
    generated_hosts,
    interface_name,
    link_names,
    longest_router_name,
    router_interfaces,
)
from testbed.spec.topology import Topology

TOPOLOGY = Topology.model_validate(
    {
        "name": "t",
        "nodes": {
            "repo": {"kind": "repository"},
            "r1": {"kind": "router"},
            "r2": {"kind": "router"},
            "s1": {"kind": "site", "servers": 2},
            "ctl": {"kind": "controller", "at": "r1"},
        },
        "links": [
            ["repo", "r1"],
            ["r1", "r2"],
            ["r2", "r1"],
            {"a": "r1", "b": "r2", "name": "trunk"},
            ["r1", "r2"],
            ["r2", "s1"],
        ],
    }
)


def test_links_are_named_as_written_and_parallel_ones_numbered() -> None:
    assert link_names(TOPOLOGY) == ("repo-r1", "r1-r2", "r2-r1#2", "trunk", "r1-r2#3", "r2-s1")


@pytest.mark.parametrize(
    ("ref", "name"),
    [("r1-r2", "r1-r2"), ("r2-r1", "r1-r2"), ("r1-r2#2", "r2-r1#2"), ("trunk", "trunk"), ("r2-r1#3", "r1-r2#3")],
)
def test_a_link_is_found_either_way_round(ref: str, name: str) -> None:
    found = find_link(TOPOLOGY, ref)
    assert found is not None
    assert found[0] == name


def test_an_unknown_link_is_not_found() -> None:
    assert find_link(TOPOLOGY, "r1-s1") is None


def test_hosts_behind_edges() -> None:
    assert generated_hosts(TOPOLOGY) == {"repo-src": "repo", "s1-st": "s1", "s1-g1": "s1", "s1-g2": "s1"}


def test_interfaces_count_links_hosts_and_controllers() -> None:
    assert router_interfaces(TOPOLOGY) == {"repo": 2, "r1": 6, "r2": 5, "s1": 4}


@pytest.mark.parametrize(("interfaces", "longest"), [(0, 10), (1, 10), (10, 10), (11, 9), (31, 9), (101, 8)])
def test_the_longest_name_leaves_room_for_the_last_interface(interfaces: int, longest: int) -> None:
    assert longest_router_name(interfaces) == longest
    assert len(interface_name("x" * longest, max(interfaces - 1, 0))) == 15
