"""What the schemes over Replication segments share (RFC 9524): the replication agents, however they are programmed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from testbed.control.commands import Answer
from testbed.control.program import Program
from testbed.control.replication import Held, SegmentId
from testbed.control.replication_config import COMMANDS, Link, ReplicationConfig, Srv6
from testbed.lab import fib
from testbed.lab.lab import Lab
from testbed.lab.messages import Counted, Reading
from testbed.lab.node import Node
from testbed.plan.frr import Underlay
from testbed.plan.paths import DirectedLink
from testbed.plan.srv6 import KERNEL_MAC, KERNEL_PORT, locator, source
from testbed.plan.types import Plan
from testbed.schemes import agents
from testbed.schemes.base import Flow, SchemeEvent

AGENT = "replication-agent"
# What an agent counts, so that what did not happen is told as 0.
_COUNTED = ("LSAs originated", "LSAs received", "commands", "answers", "bytes")
_NOT_SENT = ("LSAs received", "bytes")
_UPDATES = {"rows": "row updates", "programmed": "programs"}  # events, and what is counted of them


class ReplicationAgents:
    """A forwarder and a replication agent in every router of a lab. `dataplane`: sr-mpls or srv6. `loose`: whether
    branches may be, for which Node-SIDs are needed with sr-mpls."""

    def __init__(self, dataplane: str, *, loose: bool = True) -> None:
        self.dataplane = dataplane
        self._loose = loose
        self.underlay = Underlay(ospf_api=True, srv6=dataplane == "srv6")

    def start(self, lab: Lab) -> None:
        agents.start_all(lab, lab.routers, AGENT, COMMANDS, lambda node: self.start_agent(lab, node))

    def start_agent(self, lab: Lab, node: Node) -> subprocess.Popen[bytes]:
        """Also again, after its death."""
        config(lab.plan, node.name, self.dataplane, self._loose).write(node.folder / "run" / f"{AGENT}.json")
        return agents.start_agent(node, AGENT)

    def wait_ready(self, lab: Lab) -> None:
        """Every router knows every other's SID, and has a way there."""
        routers = len(lab.plan.routers)
        others = routers - 1 if self._loose and self.dataplane == "sr-mpls" else 0

        def missing(node: Node) -> str:
            state = self.ask(node, node, {"op": "state"})
            counts = state["counts"]
            if state["programmed"] and counts["routers"] == routers and counts["node SIDs"] == others:
                return ""
            return f"{node.name} knows {counts['routers']} of {routers} routers, and the way to {counts['node SIDs']}"

        agents.wait_for_all(lab.routers, missing, "segment routing")

    def ask(self, asker: Node, agent: Node, words: Answer) -> Answer:
        """A command to an agent, through the network. Raises OSError; ValueError if it is refused."""
        return agents.command(asker, agent, COMMANDS, words)

    def tree(self, lab: Lab, flow: Flow) -> set[DirectedLink]:
        """Along the segments of the instance that is active at the repository's router (RFC 9524 section 2); a loose
        branch as its routers' kernels lead it."""
        plan = lab.plan
        names = {str(node.loopback.ip): node.name for node in plan.routers if node.loopback is not None}
        states: dict[str, Held] = {}
        found: set[DirectedLink] = set()

        def held(router: str) -> Held:
            if router not in states:
                said = self.ask(lab[router], lab[router], {"op": "state"})
                program = Program.read({key: said[key] for key in ("segments", "policies")})
                states[router] = Held({each.id: each for each in program.segments},
                                      {each.id: each for each in program.policies})
            return states[router]

        def follow(router: str, segment_id: SegmentId, seen: frozenset[str]) -> None:
            segment = held(router).segments.get(segment_id)
            for branch in segment.branches if segment is not None else ():
                at, downstream = router, names[str(branch.node)]
                if branch.link is not None:
                    ports = {each.address.ip: each.name for each in plan.nodes[router].interfaces}
                    hop = fib.link_of(lab, router, ports.get(branch.link, ""))
                    found.update([hop] if hop is not None else [])
                else:
                    for stop in (*branch.path, branch.node):
                        found.update(fib.path(lab, at, stop) or ())
                        at = names[str(stop)]
                if downstream not in seen:
                    follow(downstream, segment_id, seen | {downstream})

        root = plan.repository_edge
        for policy in held(root).policies.values():
            if policy.segment is not None and any(str(group) == flow.group for _, group in policy.flows):
                follow(root, policy.segment, frozenset({root}))
        return found

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return agents.events(lab.routers, AGENT)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        found = {}
        for node in lab.routers:
            if (node.name, AGENT) not in lab.daemons:
                continue  # killed
            counts = self.ask(node, node, {"op": "state"})["counts"]
            found[node.name] = {
                "Replication segments": counts["segments"],
                "branches": counts["branches"],
                "Node-SIDs": counts["node SIDs"],
                "flows (root)": counts["flows"],
                "local memberships": counts["memberships"],
            }
        return found

    def control(self, lab: Lab) -> Reading:
        """Their LSAs where they began and where they arrived, and the commands that programmed them, with the answers.

        And how often an agent changed its forwarder's rows, which is no message on any link.
        """
        found: dict[Counted, int] = {}
        for node in lab.routers:
            if (node.name, AGENT) in lab.daemons:
                told = dict.fromkeys(_COUNTED, 0) | self.ask(node, node, {"op": "state"})["control"]
                for kind, count in told.items():
                    found[Counted("replication", kind, node.name, sent=kind not in _NOT_SENT)] = count
        for event in self.events(lab):
            if event.kind in _UPDATES:
                key = Counted("replication", _UPDATES[event.kind], event.router, sent=False)
                found[key] = found.get(key, 0) + 1
        return found


def config(plan: Plan, router: str, dataplane: str, loose: bool) -> ReplicationConfig:
    """What the agent of a router is told."""
    node = plan.nodes[router]
    assert node.loopback is not None  # every router has one
    links = []
    for interface in node.interfaces:
        neighbour = plan.nodes[interface.peer_node].loopback
        if neighbour is not None:
            link = Link(interface.name, str(interface.address.ip), str(interface.peer_address), str(neighbour.ip))
            links.append(link)
    return ReplicationConfig(
        loopback=str(node.loopback.ip),
        number=node.number,
        links=tuple(links),
        lans=tuple(interface.name for interface in node.interfaces if interface.is_lan),
        forwarder="/run/mcfwd.sock",
        events=f"/var/log/{AGENT}.jsonl",
        state=f"/run/{AGENT}-state.json",
        srv6=Srv6(str(locator(node.number)), str(source(node.number)), KERNEL_PORT, KERNEL_MAC)
        if dataplane == "srv6"
        else None,
        mtu=min(link.mtu for link in plan.links.values() if not link.is_lan),
        loose=loose,
    )
