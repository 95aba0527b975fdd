"""From programs and routes to the forwarder's rows: RFC 9524's example, and that only the final state counts."""

from __future__ import annotations

import random
from ipaddress import IPv4Address
from typing import Any

import pytest
from forwarder_sim import Router, Sim, running
from hypothesis import given, settings
from hypothesis import strategies as st
from replication_net import GROUP, SOURCE, Agent, Net, config, loopback, nodes

from testbed.control.membership import Member
from testbed.control.program import Refused
from testbed.forwarder.tables import Tables, difference

MEMBER = Member("host", GROUP, SOURCE)
FLOW = {"source": str(SOURCE), "group": str(GROUP)}


@pytest.fixture(scope="module")
def sim() -> Any:
    with running() as made:
        yield made


def rid(number: int, tree: int = 1, instance: int = 1, root: int = 1) -> dict[str, Any]:
    return {"root": str(loopback(root)), "tree": tree, "instance": instance}


def pinned(here: int, node: int, sid: int) -> dict[str, Any]:
    link = f"10.0.{min(here, node)}{max(here, node)}.{here}"
    return {"node": str(loopback(node)), "sid": sid, "mode": "pinned", "link": link}


def loose(node: int, sid: int, *path: int) -> dict[str, Any]:
    return {"node": str(loopback(node)), "sid": sid, "mode": "loose", "path": [str(loopback(n)) for n in path]}


def rows_of(agent: Agent, *kinds: str) -> list[str]:
    return sorted(line for line in agent.ledger.rows() if line.startswith(kinds))


# -- golden ------------------------------------------------------------------------------------------------------------


def root_program(sid: int = 9, instance: int = 1) -> dict[str, Any]:
    """RFC 9524 appendix A.1 at R1: to R2 pinned, to R6 loose, to R7 by R4."""
    branches = [pinned(1, 2, sid), loose(6, sid), loose(7, sid, 4)]
    head = rid(1, instance=instance) | {"role": "head", "sid": sid, "branches": branches}
    policy = {"root": str(loopback(1)), "tree": 1, "active": instance, "flows": [FLOW]}
    return {"segments": [head], "policies": [policy]}


def test_the_root_of_appendix_a() -> None:
    agent = Agent(config(1, mtu=9000), nodes(range(1, 8)))
    agent.program(**root_program())
    assert rows_of(agent, "segment", "branch", "flow", "label 4") == [
        "branch 9 0 labels 400009 nexthop 1",
        "branch 9 1 labels 16006,400009",
        "branch 9 2 labels 16004,16007,400009",
        f"flow 1 {SOURCE} {GROUP} segment 9",
        "segment 9 head mtu 8988",
    ]


def test_roles_below_the_root() -> None:
    agent = Agent(config(2), nodes(range(1, 8)))
    for role, instance, branches in (("transit", 1, [pinned(2, 3, 1)]), ("leaf", 2, []), ("bud", 3, [loose(7, 3)])):
        agent.program(segments=[rid(2, instance=instance) | {"role": role, "sid": instance, "branches": branches}])
    assert rows_of(agent, "segment", "label 4", "branch") == [
        "branch 1 0 labels 400001 nexthop 2",
        "branch 3 0 labels 16007,400003",
        "label 400001 replicate 1",
        "label 400002 replicate 2",
        "label 400003 replicate 3",
        "segment 1 transit",
        "segment 2 leaf context 2",
        "segment 3 bud context 2",
    ]


def test_the_same_over_srv6() -> None:
    agent = Agent(config(2, dataplane="srv6", mtu=1500), nodes(range(1, 8), srv6=True))
    agent.program(segments=[rid(2) | {"role": "bud", "sid": 0x2A, "branches": [pinned(2, 3, 0x2A), loose(7, 0x2A)]}])
    agent.program(segments=[rid(2, root=2) | {"role": "head", "sid": 9, "branches": [loose(7, 9)]}])
    assert rows_of(agent, "sid", "segment", "branch", "label", "node") == [
        "branch 42 0 sid fc00:0:3:2a:: nexthop 2",
        "branch 42 1 sid fc00:0:7:2a:: nexthop 65535",
        "branch 9 0 sid fc00:0:7:9:: nexthop 65535",
        "node source fc00:0:2::1 fib 65535",
        "segment 42 bud context 2",
        "segment 9 head mtu 1460",
        "sid fc00:0:2:2a:: replicate 42",
    ]


def test_a_switch_of_the_instance_is_one_line() -> None:
    agent = Agent(config(1), nodes(range(1, 8)))
    agent.program(**root_program())
    after = root_program(sid=10, instance=2)
    agent.program(segments=after["segments"])
    agent.changes()
    agent.program(policies=after["policies"])
    assert agent.changes() == [f"flow 1 {SOURCE} {GROUP} segment 10"]


def test_flows_of_the_roots_own_hosts_and_of_a_leafs() -> None:
    agent = Agent(config(1), nodes(range(1, 8)))
    agent.set_members({MEMBER})
    assert rows_of(agent, "flow") == [f"flow 2 {SOURCE} {GROUP} port host"]
    agent.program(**root_program())
    assert rows_of(agent, "flow 1") == [f"flow 1 {SOURCE} {GROUP} segment 9 port host"]
    agent.set_members(set())
    agent.program(policies=[{"root": str(loopback(1)), "tree": 1, "flows": [FLOW]}])
    assert rows_of(agent, "flow") == []


# -- packets -----------------------------------------------------------------------------------------------------------


def test_packets_go_once_to_each_leaf_and_loose_branches_are_healed_by_routes_alone(sim: Sim) -> None:
    """The tree of appendix A, R7 a leaf behind the path by R4, R3 transit, R5 a bud; then R2-R3 fails."""
    net = Net(sim)
    leaves = {2, 6, 7}
    for leaf in leaves:
        net.agents[leaf].program(segments=[rid(leaf) | {"role": "leaf", "sid": 9}])
        net.agents[leaf].set_members({MEMBER})
    net.tell()
    net.agents[1].program(**root_program())
    net.tell()
    assert net.send(1) == dict.fromkeys(leaves, 1)
    net.graph.remove_edge(2, 3)
    net.converge()
    net.tell()
    assert net.send(1) == dict.fromkeys(leaves, 1)
    net.graph.remove_edges_from([(4, 7), (5, 7)])
    net.converge()
    net.tell()
    assert net.send(1) == {2: 1}


def random_tree(net: Net, rng: random.Random, root: int, leaves: set[int]) -> dict[int, dict[int, str]]:
    """Children by router, each "pinned" or "loose", of a tree over shortest paths that some branches jump over."""
    children: dict[int, dict[int, str]] = {root: {}}
    for leaf in sorted(leaves, key=lambda _: rng.random()):
        at = root
        while at != leaf:
            step = next((c for c in children[at] if leaf in _below(children, c)), None)
            if step is None:
                mode = rng.choice(["pinned", "loose"])
                step = rng.choice(sorted(net.next_hops(at, leaf))) if mode == "pinned" else leaf
                if step in _below(children, root):  # a node has one parent
                    step, mode = leaf, "loose"
                children[at][step] = mode
                children[step] = {}
            at = step
    return children


def _below(children: dict[int, dict[int, str]], top: int) -> set[int]:
    return {top}.union(*(_below(children, child) for child in children[top]))


def set_up(net: Net, tree: dict[int, dict[int, str]], root: int, leaves: set[int], sid: int, number: int) -> None:
    """Leaves first, the root last, as a controller does it."""
    for node in sorted(tree, key=lambda n: n == root):
        branches = [pinned(node, c, sid) if mode == "pinned" else loose(c, sid) for c, mode in tree[node].items()]
        role = "head" if node == root else ("bud" if branches else "leaf") if node in leaves else "transit"
        segment = rid(node, number, root=root) | {"role": role, "sid": sid, "branches": branches}
        request: dict[str, Any] = {"segments": [segment]}
        if node == root:
            request["policies"] = [{"root": str(loopback(root)), "tree": number, "active": 1, "flows": [FLOW]}]
        net.agents[node].program(**request)


def test_a_thousand_leaf_sets_leave_nothing_behind(sim: Sim) -> None:
    """Each tree delivers once to each of its leaves and to nobody else, and takes every row away with it."""
    rng = random.Random(9524)
    net = Net(sim)
    for agent in net.agents.values():
        agent.set_members({MEMBER})
    net.tell()
    before = net.tables()
    for number in range(1, 1001):
        root = rng.choice(sorted(net.agents))
        others = sorted(net.agents.keys() - {root})
        leaves = set(rng.sample(others, rng.randint(1, len(others))))
        tree = random_tree(net, rng, root, leaves)
        set_up(net, tree, root, leaves, sid=rng.randint(1, 65535), number=number)
        net.tell()
        assert net.send(root) == dict.fromkeys(leaves, 1), (tree, leaves)  # nor to the root's host, who sent it
        identity = {"root": str(loopback(root)), "tree": number}
        net.agents[root].program(delete=[rid(root, number, root=root)], delete_policies=[identity])
        for node in tree.keys() - {root}:
            net.agents[node].program(delete=[rid(node, number, root=root)])
        net.tell()
        if number % 50 == 0:
            assert net.tables() == before
            assert all(agent.held.json() == {"segments": [], "policies": []} for agent in net.agents.values())


# -- properties --------------------------------------------------------------------------------------------------------

NODES = st.integers(1, 7)
BRANCHES = st.lists(st.tuples(NODES, st.booleans()), max_size=3, unique_by=lambda branch: branch[0])
STEPS = st.one_of(
    st.tuples(st.just("segment"), st.integers(1, 3), st.integers(1, 4), BRANCHES),
    st.tuples(st.just("delete"), st.integers(1, 3), st.just(0), st.just([])),
    st.tuples(st.just("policy"), st.integers(0, 3), st.just(0), st.just([])),
    st.tuples(st.just("member"), st.integers(0, 1), st.just(0), st.just([])),
    st.tuples(st.just("route"), NODES, st.just(0), BRANCHES),
    st.tuples(st.just("nodes"), st.integers(0, 2), st.just(0), st.just([])),
    st.tuples(st.just("tell"), st.integers(0, 1), st.just(0), st.just([])),
)
KNOWN = [nodes(range(1, 8)), nodes(range(1, 7)), {k: v for k, v in nodes(range(1, 8)).items() if v.index != 3}]


def carry_out(agent: Agent, kind: str, number: int, sid: int, branches: list[tuple[int, bool]]) -> None:
    """One step at R2, where instances of a tree of R2's own are kept. Raises Refused."""
    if kind == "segment":
        steps = [pinned(2, n, sid) if is_pinned else loose(n, sid) for n, is_pinned in branches]
        agent.program(segments=[rid(2, instance=number, root=2) | {"role": "head", "sid": sid, "branches": steps}])
    elif kind == "delete":
        agent.program(delete=[rid(2, instance=number, root=2)])
    elif kind == "policy":
        agent.program(policies=[{"root": "10.255.0.2", "tree": 1, "active": number or None, "flows": [FLOW]}])
    elif kind == "member":
        agent.set_members({MEMBER} if number else set())
    elif kind == "route":
        agent.set_route(number, [n for n, _ in branches if n in (1, 3, 4, 5)])
    elif kind == "nodes" and agent.sids:
        agent.sids.set_nodes(KNOWN[number])


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_any_sequence_leaves_exactly_the_rows_of_the_final_state(sim: Sim, steps: list[Any]) -> None:
    """What was told step by step is what a new agent tells that is given the final state only; the forwarder takes
    every update, and everything again where it forgot."""
    agent = Agent(config(2), KNOWN[0])
    router = Router(sim, "R2")
    router.load(*agent.changes())
    routes: dict[int, Any] = {}
    known, members = 0, 0
    for kind, number, sid, branches in steps:
        try:
            carry_out(agent, kind, number, sid, branches)
        except Refused:
            continue
        routes |= {number: branches} if kind == "route" else {}
        known = number if kind == "nodes" else known
        members = number if kind == "member" else members
        if kind == "tell" and number:
            agent.nexthops.forget()
            agent.ledger.forget()
            assert router.change("replace", agent.changes()) == []
        elif kind == "tell":
            assert router.change("update", agent.changes()) == []
    assert router.change("update", agent.changes()) == []
    fresh = Agent(config(2), KNOWN[0])
    fresh.program(**agent.held.json())
    for number, branches in routes.items():
        carry_out(fresh, "route", number, 0, branches)
    carry_out(fresh, "nodes", known, 0, [])
    carry_out(fresh, "member", members, 0, [])
    wanted = Tables.parse("\n".join(fresh.changes()))
    assert difference(Tables.parse("\n".join(router.tables())), wanted) == ()


def test_who_is_not_advertised_any_more_keeps_its_branches() -> None:
    """Its agent may be dead, and its forwarder alive."""
    agent = Agent(config(2), nodes(range(1, 8)))
    agent.program(segments=[rid(2, root=2) | {"role": "head", "sid": 1, "branches": [loose(6, 1)]}])
    agent.rows.set_nodes(nodes(range(1, 8)) | {IPv4Address("10.255.0.8"): nodes([8])[loopback(8)]})
    assert "branch 1 0 labels 16006,400001" in agent.ledger.rows()
