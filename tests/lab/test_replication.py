"""Replication segments over FRR's OSPF in a real lab: trees programmed, switched, cut; what agents' deaths do to them.

        repo --- r1 --- s1
                 |       |      Every router but repo's may be a leaf as well as on the way to another: the tree of
                s3 ---- s2      the tests has r1 as transit, s1 as bud, s2 and s3 as leaves.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from scheme_lab import CARRIER_ONLY, SQUARE, SchemeLab
from small_lab import DEADLINE_S, wait_for
from streams import Stream, command_line

from testbed.control.commands import Answer, ask
from testbed.control.replication_config import COMMANDS
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.messages import messages_between
from testbed.schemes.ingress_replication import IngressReplication
from testbed.schemes.replication import AGENT

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

TREE = {"repo": ["r1"], "r1": ["s1", "s3"], "s1": ["s2"], "s2": [], "s3": []}
SITES = ["s1", "s2", "s3"]
NUMBERS = count(1)  # of trees, and of their Replication-SIDs: each test has its own


class ReplicationLab(SchemeLab[IngressReplication]):
    """The square, with an agent in each router."""

    def __init__(self, dataplane: str) -> None:
        super().__init__(SQUARE, IngressReplication({"dataplane": dataplane}), CARRIER_ONLY)
        self.agents = self.scheme.agents
        self.routers = [node.name for node in self.lab.plan.routers]

    def router_id(self, router: str) -> str:
        loopback = self.lab.plan.nodes[router].loopback
        assert loopback is not None
        return str(loopback.ip)

    def ask(self, router: str, **words: Any) -> Answer:
        """As the repository's host asks, through the network."""
        address = (self.router_id(router), COMMANDS)
        return self.lab[self.lab.plan.repository].call(lambda: ask(address, words, DEADLINE_S))

    def program(self, router: str, **request: Any) -> Answer:
        return self.ask(router, op="program", **request)

    def state(self, router: str) -> Answer:
        node = self.lab[router]
        return node.call(lambda: ask((self.router_id(router), COMMANDS), {"op": "state"}, DEADLINE_S))

    def answers(self, router: str) -> bool:
        try:
            return bool(self.state(router)["programmed"])
        except OSError:
            return False

    def tables(self, router: str) -> list[str]:
        """The forwarder's rows that commands decide on. Hosts leave when they do, next hops are kept, and where
        Node-SIDs lead is for the IGP to say, which may take a while to find the shortest paths again."""
        with Forwarder(ForwarderDaemon(self.lab[router]).socket) as forwarder:
            rows = forwarder.tables().text().splitlines()
        return [row for row in rows if not row.startswith(("flow 2", "nexthop", "label 16"))]

    def events(self, router: str, kind: str) -> list[dict[str, Any]]:
        return [e.detail for e in self.scheme.events(self.lab) if (e.router, e.kind) == (router, kind)]

    def restart_agent(self, router: str) -> None:
        self.lab.daemons[router, AGENT] = self.agents.start_agent(self.lab, self.lab[router])

    def kill(self, router: str, what: str) -> list[str]:
        """Its command line."""
        process = self.lab.daemons[router, what]
        argv = command_line(process.pid)
        process.kill()
        process.wait()
        return argv

    # -- trees -------------------------------------------------------------------------------------------------------

    def identity(self, tree: int, instance: int | None = None) -> dict[str, Any]:
        more = {} if instance is None else {"instance": instance}
        return {"root": self.router_id("repo"), "tree": tree, **more}

    def branch(self, router: str, to: str, sid: int, mode: str) -> dict[str, Any]:
        made = {"node": self.router_id(to), "sid": sid, "mode": mode}
        if mode == "pinned":
            (link,) = [i for i in self.lab.plan.nodes[router].interfaces if i.peer_node == to]
            made["link"] = str(link.address.ip)
        return made

    def set_up(self, tree: int, instance: int, sid: int, mode: str, shape: dict[str, list[str]] = TREE) -> None:
        """The segments of an instance, from the leaves up; nothing flows into it yet."""
        for router in reversed(shape):
            role = "head" if router == "repo" else "transit" if router == "r1" else "bud" if shape[router] else "leaf"
            branches = [self.branch(router, to, sid, mode) for to in shape[router]]
            segment = self.identity(tree, instance) | {"role": role, "sid": sid, "branches": branches}
            self.program(router, segments=[segment])

    def switch(self, tree: int, instance: int | None) -> None:
        """The root's flow into this instance."""
        source = str(self.lab.plan.nodes[self.lab.plan.repository].interfaces[0].address.ip)
        flows = [{"source": source, "group": self.group(tree)}]
        self.program("repo", policies=[self.identity(tree) | {"active": instance, "flows": flows}])

    def take_down(self, tree: int, instance: int, shape: dict[str, list[str]] = TREE) -> None:
        for router in shape:
            self.program(router, delete=[self.identity(tree, instance)])

    def group(self, tree: int) -> str:
        return f"232.3.0.{tree}"

    def stream(self, tree: int) -> Stream:
        return Stream(self.lab, self.group(tree), [f"{site}-st" for site in SITES])


@pytest.fixture(scope="module", params=["sr-mpls", "srv6"])
def built(request: pytest.FixtureRequest) -> Iterator[ReplicationLab]:
    with ReplicationLab(request.param) as made:
        yield made


class Tree:
    """A tree with packets in it. Whatever a test does, nobody gets a packet twice, and nothing is left behind."""

    def __init__(self, built: ReplicationLab, mode: str) -> None:
        self.built, self.number = built, next(NUMBERS)
        self.sid = 10 * self.number
        self.before = {router: built.tables(router) for router in built.routers}
        built.set_up(self.number, 1, self.sid, mode)
        built.switch(self.number, 1)
        self.stream = built.stream(self.number)

    def close(self) -> None:
        self.stream.close()
        self.built.switch(self.number, None)
        for instance in (1, 2):
            self.built.take_down(self.number, instance)
        self.built.program("repo", delete_policies=[self.built.identity(self.number)])
        assert self.stream.duplicates() == []
        after = {router: self.built.tables(router) for router in self.built.routers}
        assert after == self.before


@pytest.fixture(params=["pinned", "loose"])
def tree(built: ReplicationLab, request: pytest.FixtureRequest) -> Iterator[Tree]:
    yield from _tree(built, request.param)


@pytest.fixture
def loose_tree(built: ReplicationLab) -> Iterator[Tree]:
    yield from _tree(built, "loose")


def _tree(built: ReplicationLab, mode: str) -> Iterator[Tree]:
    made = Tree(built, mode)
    try:
        made.stream.flows()
        yield made
    finally:
        made.close()


# -- trees -------------------------------------------------------------------------------------------------------------


def test_a_tree_delivers_each_packet_once(built: ReplicationLab, tree: Tree) -> None:
    """To a bud, to a leaf behind it, to a leaf; and there is state on the tree only, of flows at its edges only."""
    mark = tree.stream.sent
    tree.stream.flows()
    tree.stream.nothing_missing_since(mark)
    for router, counts in built.scheme.state(built.lab).items():
        assert counts["Replication segments"] == 1
        assert counts["branches"] == len(TREE[router])
        assert counts["flows (root)"] == (1 if router == "repo" else 0)
        assert counts["Node-SIDs"] == (len(built.routers) - 1 if built.agents.dataplane == "sr-mpls" else 0)


def test_the_root_switches_its_instance_without_loss(built: ReplicationLab, tree: Tree) -> None:
    """To another tree and back, again and again: the other way round the square, loose where this one is pinned."""
    shape = {"repo": ["r1"], "r1": ["s1", "s3"], "s3": ["s2"], "s1": [], "s2": []}
    mark = tree.stream.sent
    for k in range(1, 11):
        built.set_up(tree.number, 2, tree.sid + k, "pinned" if k % 2 else "loose", shape)
        tree.stream.flows()
        built.switch(tree.number, 2)
        tree.stream.flows()
        built.switch(tree.number, 1)
        tree.stream.nothing_missing_since(mark)  # and so nothing is on its way in the old tree
        built.take_down(tree.number, 2)
    tree.stream.nothing_missing_since(mark)


def test_a_cut_is_healed_by_the_igp_alone(built: ReplicationLab, loose_tree: Tree) -> None:
    for link in ("s1-s2", "r1-s1", "r1-s3"):
        before = len([e for e in built.scheme.events(built.lab) if e.kind == "programmed"])
        built.lab.cut(link)
        loose_tree.stream.flows()
        built.lab.restore(link)
        built.lab.wait_for_igp()
        built.scheme.wait_ready(built.lab)
        loose_tree.stream.flows()
        assert len([e for e in built.scheme.events(built.lab) if e.kind == "programmed"]) == before


# -- deaths ------------------------------------------------------------------------------------------------------------


def test_a_killed_agent_is_not_missed_and_a_new_one_takes_over(built: ReplicationLab, tree: Tree) -> None:
    for router in ("repo", "r1", "s1"):
        mark, rows, held = tree.stream.sent, built.tables(router), built.state(router)
        built.kill(router, AGENT)
        tree.stream.nothing_missing_since(mark)
        built.restart_agent(router)
        wait_for(lambda r=router: built.answers(r), f"the new agent of {router}")
        built.scheme.wait_ready(built.lab)
        tree.stream.nothing_missing_since(mark)
        after = built.state(router)
        assert {key: held[key] for key in ("segments", "policies", "node")} == {
            key: after[key] for key in ("segments", "policies", "node")
        }
        assert built.tables(router) == rows


def test_all_agents_die_and_come_back_unnoticed(built: ReplicationLab, tree: Tree) -> None:
    """Whoever is back first finds nobody else advertised, and believes in them all the same."""
    mark = tree.stream.sent
    rows = {router: built.tables(router) for router in built.routers}
    for router in built.routers:
        built.kill(router, AGENT)
    for router in built.routers:
        built.restart_agent(router)
    for router in built.routers:
        wait_for(lambda r=router: built.answers(r), f"the new agent of {router}")
    built.scheme.wait_ready(built.lab)
    tree.stream.nothing_missing_since(mark)
    assert {router: built.tables(router) for router in built.routers} == rows


def test_a_killed_forwarder_gets_its_rows_again(built: ReplicationLab, tree: Tree) -> None:
    for router in ("repo", "r1", "s1"):
        rows = built.tables(router)
        built.kill(router, "mcfwd")
        wait_for(lambda r=router: not built.state(r)["programmed"], "the agent to notice")
        with pytest.raises(ValueError, match="has no forwarder yet: try again"):
            built.program(router)
        built.lab.daemons[router, "mcfwd"] = ForwarderDaemon(built.lab[router]).start()
        wait_for(lambda r=router: built.state(r)["programmed"], "the agent to program it")
        tree.stream.flows()
        assert built.tables(router) == rows


def test_a_restarted_ospfd_brings_its_node_sid_back(built: ReplicationLab, loose_tree: Tree) -> None:
    router = "s1"
    argv = built.kill(router, "ospfd")
    wait_for(lambda: not built.state(router)["connected"], "the agent to notice")
    built.lab.daemons[router, "ospfd"] = built.lab[router].popen(argv)
    wait_for(lambda: built.state(router)["connected"], "the agent to connect anew")
    built.lab.wait_for_igp()
    built.scheme.wait_ready(built.lab)
    loose_tree.stream.flows()


def test_all_three_at_once(built: ReplicationLab, loose_tree: Tree) -> None:
    """A router's software starts anew, as after a crash of its control plane and data plane."""
    router = "r1"
    ospfd = built.kill(router, "ospfd")
    for what in (AGENT, "mcfwd"):
        built.kill(router, what)
    built.lab.daemons[router, "mcfwd"] = ForwarderDaemon(built.lab[router]).start()
    built.restart_agent(router)
    built.lab.daemons[router, "ospfd"] = built.lab[router].popen(ospfd)
    wait_for(lambda: built.answers(router), "the new agent")
    built.lab.wait_for_igp()
    built.scheme.wait_ready(built.lab)
    loose_tree.stream.flows()


def test_without_its_memory_an_agent_says_so(built: ReplicationLab) -> None:
    router = "s2"
    built.kill(router, AGENT)
    (built.lab[router].folder / "run" / f"{AGENT}-state.json").write_text("{")
    built.restart_agent(router)
    wait_for(lambda: built.answers(router), "the new agent")
    assert built.events(router, "state-lost")
    assert built.state(router)["segments"] == []


# -- the protocol ------------------------------------------------------------------------------------------------------


def conversation(built: ReplicationLab, router: str, *lines: bytes, answers: int) -> list[Any]:
    def talk() -> list[Any]:
        with socket.create_connection((built.router_id(router), COMMANDS), DEADLINE_S) as connection:
            connection.sendall(b"".join(line + b"\n" for line in lines))
            with connection.makefile("rb") as replies:
                return [json.loads(next(replies)) for _ in range(answers)]

    return built.lab[built.lab.plan.repository].call(talk)


def test_a_hundred_requests_at_once_are_answered_in_order(built: ReplicationLab) -> None:
    before, number = built.tables("s1"), next(NUMBERS)
    lines = []
    for n in range(100):
        segment = built.identity(number, n % 7) | {"role": "leaf", "sid": 1000 + n % 7}
        lines.append(json.dumps({"op": "program", "seq": n, "segments": [segment]}).encode())
    ids = [built.identity(number, n) for n in range(7)]
    lines.append(json.dumps({"op": "program", "seq": 100, "delete": ids}).encode())
    answers = conversation(built, "s1", *lines, answers=101)
    assert [answer["seq"] for answer in answers] == list(range(101))
    assert all(answer["ok"] and answer["received"] <= answer["t"] for answer in answers)
    assert [a["t"] for a in answers] == sorted(a["t"] for a in answers)
    assert built.tables("s1") == before


@pytest.mark.parametrize(
    "line",
    [
        b"\0\xff rubbish",
        b'{"op": "program", "segments": 7}',
        b'{"op": "program", "segments": [{"root": "10.255.0.1", "tree": 1, "instance": 1, "role": "leaf", "sid": 0}]}',
        b'{"op": ["program"]}',
        b'{"op": "explode"}',
        b'{"op": "hello", "controller": 7}',
        b'{"op": "hello", "controller": "x", "term": 0}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_command_changes_nothing(built: ReplicationLab, line: bytes) -> None:
    before, held = built.tables("s1"), built.state("s1")["segments"]
    refused, good = conversation(built, "s1", line, b'{"op": "state", "seq": 1}', answers=2)
    assert refused["error"]
    assert (good["ok"], good["seq"]) == (True, 1)
    assert (built.tables("s1"), built.state("s1")["segments"]) == (before, held)


def test_a_program_that_is_half_wrong_is_not_half_done(built: ReplicationLab) -> None:
    before, number = built.tables("s1"), next(NUMBERS)
    right = built.identity(number, 1) | {"role": "leaf", "sid": 2000}
    wrong = built.identity(number, 2) | {"role": "transit", "sid": 2000}
    with pytest.raises(ValueError, match="a transit needs a branch; sid 2000 of several segments"):
        built.program("s1", segments=[right, wrong])
    assert built.tables("s1") == before


def test_a_controller_that_was_followed_by_another_is_refused(built: ReplicationLab) -> None:
    """Also by an agent that was restarted since. The lab's own programs come from nobody, and are refused then, too;
    so this happens at a router that no other test needs, and ends with everything as it was."""
    router, folder = "s3", built.lab["s3"].folder / "run"
    memory = (folder / f"{AGENT}-state.json").read_text() if (folder / f"{AGENT}-state.json").exists() else None

    def hello(controller: str, term: int) -> bytes:
        return json.dumps({"op": "hello", "controller": controller, "term": term}).encode()

    program = b'{"op": "program"}'
    try:
        old, new = (conversation(built, router, hello("c", term), program, answers=2) for term in (3, 4))
        assert [answer["ok"] for answer in (*old, *new)] == [True] * 4
        late = conversation(built, router, hello("c", 3), program, hello("d", 4), hello("c", 4), program, answers=5)
        assert ["error" in answer for answer in late] == [True, True, True, False, False]
        assert late[0] == late[1] == {"error": "c is in charge, with term 4", "term": 4}
        built.kill(router, AGENT)
        built.restart_agent(router)
        wait_for(lambda: built.answers(router), "the new agent")
        (refused,) = conversation(built, router, program, answers=1)
        assert refused["term"] == 4
    finally:
        built.kill(router, AGENT)
        if memory is None:
            (folder / f"{AGENT}-state.json").unlink(missing_ok=True)
        else:
            (folder / f"{AGENT}-state.json").write_text(memory)
        built.restart_agent(router)
        wait_for(lambda: built.answers(router), "the agent without a term")
        built.scheme.wait_ready(built.lab)


# -- the scheme --------------------------------------------------------------------------------------------------------


def test_ingress_replication_sends_one_copy_a_site(built: ReplicationLab) -> None:
    """And no router between holds any state of it; another set of sites takes the place of the first."""
    number = 200
    flow, repository = built.scheme.flow(number), built.lab.plan.repository
    before = {router: built.tables(router) for router in built.routers}
    said = built.scheme.control(built.lab)
    built.scheme.prepare(built.lab, flow, repository, [f"{site}-st" for site in SITES])
    stream = Stream(built.lab, flow.group, [f"{site}-st" for site in SITES])
    try:
        stream.flows()
        state = built.scheme.state(built.lab)
        assert {router: counts["branches"] for router, counts in state.items()} == {
            "repo": 3, "r1": 0, "s1": 0, "s2": 0, "s3": 0,
        }  # fmt: skip
        assert state["r1"]["Replication segments"] == 0
        built.scheme.prepare(built.lab, flow, repository, ["s2-st"])
        assert built.scheme.state(built.lab)["s1"]["Replication segments"] == 0
        built.scheme.prepare(built.lab, flow, repository, ["s2-st", "s3-st"])
        stream.receivers.pop("s1-st").close()
        stream.flows()
    finally:
        stream.close()
        built.scheme.prepare(built.lab, flow, repository, [])
    assert stream.duplicates() == []
    assert {router: built.tables(router) for router in built.routers} == before
    counts = messages_between(said, built.scheme.control(built.lab))["replication"]
    assert counts["commands"] == counts["answers"] == counts["programs"] == 14
    assert counts["bytes"] > 14 * 100

