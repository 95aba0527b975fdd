"""Random leaf sets for several SR-P2MP policies at once, some changed again before the change before is done, in a real
lab; and what must hold in between, and at the end."""

from __future__ import annotations

import json
import random
import socket
from dataclasses import dataclass, field
from typing import Any

from scheme_lab import topology
from small_lab import DEADLINE_S, wait_for
from streams import PORT, Receiver

from testbed.control.p2mp.config import COMMANDS
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.plan.types import Role
from testbed.schemes.ingress_replication import router_id
from testbed.schemes.sr_p2mp import SrP2mp

Json = dict[str, Any]
GRID = topology("""
name: grid
defaults:
  link: {rate: 500Mbit, mtu: 9000, cost: 10}
nodes:
  repo: {kind: repository}
  r1: {kind: router}
  s1: {kind: site}
  s2: {kind: site}
  s3: {kind: site}
  s4: {kind: site}
  s5: {kind: site}
links:
  - [repo, r1]
  - [r1, s1]
  - [s1, s2]
  - [r1, s3]
  - {a: s3, b: s4, cost: 11}
  - [s1, s4]
  - [s4, s5]
  - {a: s2, b: s5, cost: 12}
""")
IN_FLIGHT = 0.5  # how often a change is not waited for


@dataclass(slots=True)
class Tree:
    """One policy. `leaves`: the sites that were asked for last. `expected`: by host, the packets that it should get."""

    number: int
    group: str
    leaves: frozenset[str] = frozenset()
    sent: int = 0
    expected: dict[str, set[int]] = field(default_factory=dict)
    receivers: dict[str, Receiver] = field(default_factory=dict)


class LeafChurn:
    """Every host joins every group before, so that what a router delivers hangs on nothing but the tree."""

    def __init__(self, lab: Lab, scheme: SrP2mp, seed: int, trees: int = 3) -> None:
        self.lab, self.scheme = lab, scheme
        self.changes = self.overlapping = 0
        self._rng = random.Random(seed)
        self._hosts = {node.site: node.name for node in lab.plan.hosts if node.role is Role.STORAGE}
        self._routers = {node.site: router_id(lab.plan, node.name) for node in lab.plan.sites}
        self._root = router_id(lab.plan, lab.plan.repository_edge)
        self._source = str(lab.plan.nodes[lab.plan.repository].interfaces[0].address.ip)
        self._idle: list[_Connection] = []
        self.under_way: list[_Connection] = []
        self._trees = [Tree(number, f"232.9.0.{number}") for number in range(1, trees + 1)]
        for tree in self._trees:
            for host in self._hosts.values():
                tree.receivers[host] = Receiver(lab, host, tree.group, self._source)
                tree.expected[host] = set()
        members = len(self._trees) * len(self._hosts)
        wait_for(lambda: sum(each["local memberships"] for each in scheme.state(lab).values()) == members, "all joins")
        self._before = self.tables()
        self._sender = lab[lab.plan.repository].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(self._source))

    def change(self) -> None:
        """One policy has other leaves, or, sometimes, is no more. Waits for its end, or just until it is known."""
        tree = self._rng.choice(self._trees)
        sites = sorted(self._routers)
        leaves = frozenset(self._rng.sample(sites, self._rng.randint(0, len(sites))))
        self._ask(tree, leaves)
        self.changes += 1
        if self._rng.random() < IN_FLIGHT:
            # It may overtake nothing, nor be overtaken: which of two is the last must be known.
            wait_for(lambda: self._told(tree), "the command at the controller")
            self.overlapping += 1
        else:
            self.finish()

    def finish(self) -> None:
        """Every command is answered."""
        while self.under_way:
            connection = self.under_way.pop()
            answer = connection.answer()
            assert "error" not in answer, answer
            assert not answer.get("unreachable"), answer
            self._idle.append(connection)

    def check(self) -> None:
        """What was asked last is there: one active instance each, and packets for its leaves and for nobody else."""
        self.finish()
        state = {each["tree"]: each for each in self.scheme.ask(self.lab, {"op": "state"})["policies"]}
        root = self.scheme.agents.ask(*2 * (self.lab[self.lab.plan.repository_edge],), {"op": "state"})
        rows = {each["tree"]: each for each in root["policies"]}
        assert rows.keys() == {tree.number for tree in self._trees if tree.leaves}
        for tree in self._trees:
            if tree.leaves:
                wanted = sorted(self._routers[site] for site in tree.leaves)
                assert sorted(state[tree.number]["leaves"]) == sorted(rows[tree.number]["leaves"]) == wanted
                assert state[tree.number]["active"] == rows[tree.number]["active"] is not None
                assert state[tree.number]["ready"]
            self._send(tree)

    def end(self) -> None:
        """Nothing is left of it, in any forwarder, agent, or in the controller; and no packet went where it should not,
        nor twice."""
        self.finish()
        for tree in self._trees:
            self._ask(tree, frozenset())
        self.finish()
        wait_for(lambda: not self.scheme.ask(self.lab, {"op": "state"})["policies"], "the end of all policies")
        for node in self.lab.routers:
            wait_for(lambda node=node: self._is_empty(node), f"an agent without anything at {node.name}")
        wait_for(lambda: self.tables() == self._before, "forwarders as they were")
        for tree in self._trees:
            for host, receiver in tree.receivers.items():
                assert sorted(receiver.got) == sorted(tree.expected[host]), host

    def _is_empty(self, node: Node) -> bool:
        state = self.scheme.agents.ask(node, node, {"op": "state"})
        return not state["segments"] and not state["policies"]

    def close(self) -> None:
        for connection in (*self._idle, *self.under_way):
            connection.close()
        for tree in self._trees:
            for receiver in tree.receivers.values():
                receiver.close()
        self._sender.close()

    def tables(self) -> dict[str, str]:
        """What every forwarder was told."""
        found = {}
        for node in self.lab.routers:
            with Forwarder(ForwarderDaemon(node).socket) as forwarder:
                found[node.name] = "\n".join(sorted(forwarder.tables().text().splitlines()))
        return found

    def _ask(self, tree: Tree, leaves: frozenset[str]) -> None:
        command: Json = {"op": "remove", "root": self._root, "tree": tree.number}
        if leaves:
            command |= {
                "op": "policy",
                "leaves": sorted(self._routers[site] for site in leaves),
                "flows": [{"source": self._source, "group": tree.group}],
            }
        tree.leaves = leaves
        connection = self._idle.pop() if self._idle else _Connection(self.lab, self.scheme)
        connection.ask(command)
        self.under_way.append(connection)

    def _told(self, tree: Tree) -> bool:
        """Whether the controller knows of the last command for this tree."""
        policies = self.scheme.ask(self.lab, {"op": "state"})["policies"]
        now = next((each for each in policies if each["tree"] == tree.number), None)
        if now is None or now["removing"]:
            return not tree.leaves
        return sorted(now["leaves"]) == sorted(self._routers[site] for site in tree.leaves)

    def _send(self, tree: Tree) -> None:
        """A packet, and wait for it where it is wanted."""
        tree.sent += 1
        self._sender.sendto(tree.sent.to_bytes(8, "big"), (tree.group, PORT))
        for site in tree.leaves:
            host = self._hosts[site]
            tree.expected[host].add(tree.sent)
            wait_for(lambda h=host: tree.sent in tree.receivers[h].got, f"packet {tree.sent} of {tree.group} at {host}")


class _Connection:
    """One to the controller, from the repository's host. A command is answered before the next one is read: what is to
    be under way together needs several."""

    def __init__(self, lab: Lab, scheme: SrP2mp) -> None:
        spec = lab.plan.nodes[scheme.controller(lab).name]
        address = str((spec.loopback or spec.interfaces[0].address).ip)
        repository = lab[lab.plan.repository]
        self._sock = repository.call(lambda: socket.create_connection((address, COMMANDS), DEADLINE_S))
        self._answers = self._sock.makefile("rb")

    def ask(self, command: Json) -> None:
        self._sock.sendall(json.dumps(command).encode() + b"\n")

    def answer(self) -> Json:
        answer: Json = json.loads(self._answers.readline())
        return answer

    def close(self) -> None:
        self._answers.close()
        self._sock.close()
