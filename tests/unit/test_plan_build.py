"""The plan's names, numbers and addresses: examples, and what must hold for every topology."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.plan.build import make_plan
from testbed.plan.types import Plan, Role
from testbed.spec.topology import Topology


def topology(**fields: Any) -> Topology:
    return Topology.model_validate({"name": "t", **fields})


SMALL = topology(
    nodes={
        "repo": {"kind": "repository"},
        "r1": {"kind": "router"},
        "r2": {"kind": "router"},
        "s1": {"kind": "site", "servers": 2},
        "ctl": {"kind": "controller", "at": "r2"},
    },
    links=[
        ["repo", "r1"],
        {"a": "r1", "b": "r2", "rate": "1Gbit", "delay": "10ms", "cost": 7, "mtu": 1500},
        ["r1", "r2"],
        {"a": "r2", "b": "s1", "name": "last-mile"},
    ],
)


def test_names_and_roles() -> None:
    plan = make_plan(SMALL)
    assert {n.name: n.role for n in plan.nodes.values()} == {
        "repo": Role.REPOSITORY_EDGE,
        "r1": Role.CORE,
        "r2": Role.CORE,
        "s1": Role.SITE_EDGE,
        "repo-src": Role.REPOSITORY,
        "s1-st": Role.STORAGE,
        "s1-g1": Role.SERVER,
        "s1-g2": Role.SERVER,
        "ctl": Role.CONTROLLER,
    }
    assert list(plan.nodes) == ["repo", "r1", "r2", "s1", "repo-src", "s1-st", "s1-g1", "s1-g2", "ctl"]
    core = [name for name, link in plan.links.items() if not link.is_lan]
    assert core == ["repo-r1", "r1-r2", "r1-r2#2", "last-mile"]
    assert (plan.repository, plan.repository_edge) == ("repo-src", "repo")
    assert [n.name for n in plan.destinations("s1", "servers")] == ["s1-g1", "s1-g2"]
    assert [n.name for n in plan.destinations("s1", "storage")] == ["s1-st"]


def test_interfaces_are_in_link_order_lan_last() -> None:
    plan = make_plan(SMALL)
    ends = [(i.name, i.peer_node, i.peer_name, i.is_lan) for i in plan.nodes["r2"].interfaces]
    assert ends == [
        ("r2-eth0", "r1", "r1-eth1", False),
        ("r2-eth1", "r1", "r1-eth2", False),
        ("r2-eth2", "s1", "s1-eth0", False),
        ("r2-eth3", "ctl", "eth0", True),
    ]


def test_addresses() -> None:
    plan = make_plan(SMALL)
    assert plan.nodes["repo"].loopback == IPv4Interface("10.255.0.1/32")
    assert plan.nodes["s1"].loopback == IPv4Interface("10.255.0.4/32")
    assert plan.links["r1-r2"].a.address == IPv4Interface("10.0.0.5/30")
    assert plan.links["r1-r2"].b.address == IPv4Interface("10.0.0.6/30")
    assert plan.nodes["repo-src"].interfaces[0].address == IPv4Interface("10.64.0.2/30")
    assert plan.nodes["repo-src"].gateway == IPv4Address("10.64.0.1")
    assert plan.nodes["ctl"].interfaces[0].address == IPv4Interface("10.64.0.18/30")


def test_a_link_keeps_what_it_asked_for_and_takes_the_defaults_otherwise() -> None:
    plan = make_plan(SMALL)
    asked, default = plan.links["r1-r2"], plan.links["r1-r2#2"]
    assert (asked.shape.rate, asked.shape.delay, asked.mtu, asked.a.cost, asked.b.cost) == (10**9, 0.01, 1500, 7, 7)
    assert (default.shape.rate, default.shape.delay, default.mtu, default.a.cost) == (None, 0.0, 9000, 10)


def test_a_lan_passes_whatever_its_edge_can_pass_on() -> None:
    plan = make_plan(
        topology(
            defaults={"link": {"mtu": 1500}},
            nodes={"repo": {"kind": "repository"}, "s1": {"kind": "site"}},
            links=[{"a": "repo", "b": "s1", "mtu": 9000}],
        )
    )
    assert {link.mtu for link in plan.links.values()} == {9000}


def test_loopbacks_go_beyond_one_byte() -> None:
    nodes: dict[str, Any] = {"repo": {"kind": "repository"}} | {f"r{i}": {"kind": "router"} for i in range(300)}
    plan = make_plan(topology(nodes=nodes, links=[["repo", f"r{i}"] for i in range(300)]))
    assert plan.nodes["r299"].loopback == IPv4Interface("10.255.1.45/32")
    assert plan.nodes["r299"].number == 301


def test_rp_is_the_routers_wish_or_the_nearest_core_router() -> None:
    nodes: dict[str, Any] = {
        "repo": {"kind": "repository"},
        **{f"r{i}": {"kind": "router"} for i in range(3)},
        "s1": {"kind": "site"},
        "s2": {"kind": "site"},
    }
    links = [["repo", "r0"], ["r0", "r1"], ["r1", "r2"], ["r1", "s1"], ["r2", "s2"]]
    assert make_plan(topology(nodes=nodes, links=links)).rp == "r1"
    assert make_plan(topology(nodes=nodes, links=links, rp="r2")).rp == "r2"


def test_rp_without_core_routers_is_the_repositorys_edge() -> None:
    nodes = {"repo": {"kind": "repository"}, "s1": {"kind": "site"}}
    assert make_plan(topology(nodes=nodes, links=[["repo", "s1"]])).rp == "repo"


def test_rp_leaves_a_multicast_interface_for_its_loopback() -> None:
    nodes: dict[str, Any] = {"repo": {"kind": "repository"}, "hub": {"kind": "router"}, "r1": {"kind": "router"}}
    nodes |= {f"s{i}": {"kind": "site"} for i in range(29)}
    links = [["repo", "hub"], ["hub", "r1"], *(["hub", f"s{i}"] for i in range(29))]
    assert len(make_plan(topology(nodes=nodes, links=links)).nodes["hub"].interfaces) == 31
    assert make_plan(topology(nodes=nodes, links=links)).rp == "r1"


def test_a_topology_without_a_repository_is_refused() -> None:
    with pytest.raises(RequestError, match="no repository"):
        make_plan(topology(nodes={"r1": {"kind": "router"}}, links=[]))


def test_every_queue_that_passes_no_frame_is_named() -> None:
    bad = topology(
        defaults={"link": {"rate": "1Gbit", "queue": "4kB"}},
        nodes={"repo": {"kind": "repository"}, "s1": {"kind": "site"}},
        links=[["repo", "s1"], ["s1", "repo"]],
    )
    with pytest.raises(RequestError) as caught:
        make_plan(bad)
    assert [p.where for p in caught.value.problems] == ["link repo-s1", "link s1-repo#2"]


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """A connected network: a repository, sites, core routers and controllers, a random tree plus random links."""
    routers = draw(st.integers(1, 12))
    sites = draw(st.integers(1, 6))
    names = ["repo", *(f"r{i}" for i in range(routers)), *(f"s{i}" for i in range(sites))]
    nodes: dict[str, Any] = {"repo": {"kind": "repository"}}
    nodes |= {f"r{i}": {"kind": "router"} for i in range(routers)}
    nodes |= {f"s{i}": {"kind": "site", "servers": draw(st.integers(0, 3))} for i in range(sites)}
    links = [{"a": names[draw(st.integers(0, i - 1))], "b": names[i]} for i in range(1, len(names))]
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names)).filter(lambda p: p[0] != p[1])
    links += [{"a": a, "b": b} for a, b in draw(st.lists(pairs, max_size=12))]
    for link in links:
        link |= {"cost": draw(st.integers(1, 5)), "rate": draw(st.sampled_from([None, 10**8, 4 * 10**10]))}
    if draw(st.booleans()):
        nodes["ctl"] = {"kind": "controller", "at": draw(st.sampled_from(names))}
    return topology(nodes=nodes, links=links)


PLANS = topologies().map(make_plan)


@settings(max_examples=30, deadline=None)
@given(topologies())
def test_same_topology_same_plan(spec: Topology) -> None:
    again = Topology.model_validate_json(spec.model_dump_json())
    assert make_plan(spec) == make_plan(again)


@settings(max_examples=30, deadline=None)
@given(PLANS)
def test_addresses_are_unique_and_in_the_underlay(plan: Plan) -> None:
    addresses = [i.address.ip for n in plan.nodes.values() for i in n.interfaces]
    addresses += [n.loopback.ip for n in plan.routers if n.loopback]
    assert len(addresses) == len(set(addresses))
    assert all(address in plan.underlay for address in addresses)
    subnets = [link.a.address.network for link in plan.links.values()]
    assert len(subnets) == len(set(subnets))


@settings(max_examples=30, deadline=None)
@given(PLANS)
def test_interface_names_are_unique_in_their_node_and_fit(plan: Plan) -> None:
    for node in plan.nodes.values():
        names = [i.name for i in node.interfaces]
        assert len(names) == len(set(names))
        assert all(len(name) <= 15 for name in names)


@settings(max_examples=30, deadline=None)
@given(PLANS)
def test_both_ends_of_a_link_agree(plan: Plan) -> None:
    for link in plan.links.values():
        a, b = link.a, link.b
        assert (a.link, b.link) == (link.name, link.name)
        assert (a.peer_node, a.peer_name, a.peer_address) == (b.node, b.name, b.address.ip)
        assert (b.peer_node, b.peer_name, b.peer_address) == (a.node, a.name, a.address.ip)
        assert a.address.network == b.address.network
        assert (a.mtu, a.cost, a.is_lan) == (b.mtu, b.cost, b.is_lan) == (link.mtu, a.cost, link.is_lan)
        assert a in plan.nodes[a.node].interfaces
        assert b in plan.nodes[b.node].interfaces


@settings(max_examples=30, deadline=None)
@given(PLANS)
def test_hosts_hang_on_one_router(plan: Plan) -> None:
    assert [n.number for n in plan.routers] == list(range(1, len(plan.routers) + 1))
    for host in plan.hosts:
        (interface,) = host.interfaces
        assert interface.name == "eth0"
        assert interface.is_lan
        assert host.gateway == interface.peer_address
        assert plan.nodes[interface.peer_node].role.is_router
        assert host.loopback is None
