"""What the schemes over Replication segments share (RFC 9524): the replication agents, however they are programmed."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable

from testbed.control.commands import Answer
from testbed.control.replication_config import COMMANDS, Link, ReplicationConfig, Srv6
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.plan.frr import Underlay
from testbed.plan.srv6 import KERNEL_MAC, KERNEL_PORT, locator, source
from testbed.plan.types import Plan
from testbed.schemes import agents
from testbed.schemes.base import SchemeEvent

AGENT = "replication-agent"


class ReplicationAgents:
    """A forwarder and a replication agent in every router of a lab. `dataplane`: sr-mpls or srv6."""

    def __init__(self, dataplane: str) -> None:
        self.dataplane = dataplane
        self.underlay = Underlay(ospf_api=True, srv6=dataplane == "srv6")

    def start(self, lab: Lab) -> None:
        agents.start_all(lab, AGENT, lambda node: self.start_agent(lab, node))

    def start_agent(self, lab: Lab, node: Node) -> subprocess.Popen[bytes]:
        """Also again, after its death."""
        config(lab.plan, node.name, self.dataplane).write(node.folder / "run" / f"{AGENT}.json")
        return agents.start_agent(node, AGENT)

    def wait_ready(self, lab: Lab) -> None:
        """Every router knows every other's SID, and has a way there."""
        routers = len(lab.plan.routers)
        others = 0 if self.dataplane == "srv6" else routers - 1  # there the kernels lead to SIDs

        def missing(node: Node) -> str:
            state = self.ask(node, node, {"op": "state"})
            counts = state["counts"]
            if state["programmed"] and counts["routers"] == routers and counts["node SIDs"] == others:
                return ""
            return f"{node.name} knows {counts['routers']} of {routers} routers, and the way to {counts['node SIDs']}"

        agents.every_router(lab, missing, "segment routing")

    def ask(self, asker: Node, agent: Node, words: Answer) -> Answer:
        """A command to an agent, through the network. Raises OSError; ValueError if it is refused."""
        return agents.command(asker, agent, COMMANDS, words)

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return agents.events(lab, AGENT)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        found = {}
        for node in lab.routers:
            counts = self.ask(node, node, {"op": "state"})["counts"]
            found[node.name] = {
                "Replication segments": counts["segments"],
                "branches": counts["branches"],
                "Node-SIDs": counts["node SIDs"],
                "flows (root)": counts["flows"],
                "local memberships": counts["memberships"],
            }
        return found

    def control(self, lab: Lab) -> dict[str, int]:
        """What all agents were told and answered, and how often they changed their forwarders' rows by themselves."""
        total: Counter[str] = Counter()
        for node in lab.routers:
            counts = self.ask(node, node, {"op": "state"})["counts"]
            total["messages"] += counts["received"] + counts["sent"]
            total["bytes"] += counts["received_bytes"] + counts["sent_bytes"]
        kinds = [event.kind for event in self.events(lab)]
        return {**total, "programs": kinds.count("programmed"), "row updates": kinds.count("rows")}


def config(plan: Plan, router: str, dataplane: str) -> ReplicationConfig:
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
    )
