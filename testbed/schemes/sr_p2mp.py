"""SR-P2MP: trees of Replication segments (RFC 9524), computed and programmed by a controller on a node of the topology.

A sync's destinations are a policy <Root, Tree-ID> (docs/sr-p2mp.md): one command to the controller, answered when the
root sends into the tree.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from testbed.control.commands import Answer, ask
from testbed.control.p2mp.config import COMMANDS, ControllerConfig
from testbed.control.p2mp.instances import ORDERS
from testbed.control.p2mp.plans import MODES
from testbed.control.p2mp.trees import ALGORITHMS
from testbed.control.replication_config import PLANES
from testbed.errors import LabError, Problem, RequestError
from testbed.lab.lab import Lab
from testbed.lab.messages import Reading
from testbed.lab.node import Node
from testbed.lab.waiting import until
from testbed.plan.frr import PimFeatures
from testbed.plan.paths import DirectedLink
from testbed.plan.types import Plan, Role
from testbed.schemes import agents
from testbed.schemes.base import Flow, SchemeEvent, group
from testbed.schemes.ingress_replication import router_id
from testbed.schemes.options import chosen
from testbed.schemes.replication import ReplicationAgents
from testbed.spec.scenario import OptionValue

CONTROLLER = "p2mp-controller"
DEADLINE = 60.0
PATIENCE = 15.0  # seconds for a command: the controller itself gives up earlier, and says why


class SrP2mp:
    """Options: dataplane sr-mpls or srv6, branches pinned or loose, algorithm spt or steiner, standby none or disjoint,
    order parallel or bottom-up; controller: a node's name (else a controller node, else the repository's host)."""

    name = "sr-p2mp"
    features: PimFeatures | None = None
    multicast = True
    stages: tuple[str, ...] = ("rows", "lsa-heard", "computed", "programmed", "switched")

    def __init__(self, options: dict[str, OptionValue]) -> None:
        options = dict(options)
        self._where = str(options.pop("controller", ""))
        choices: dict[str, tuple[OptionValue, ...]] = {
            "dataplane": PLANES,
            "branches": MODES,
            "algorithm": tuple(ALGORITHMS),
            "standby": ("none", "disjoint"),
            "order": ORDERS,
        }
        self._choice = {key: str(value) for key, value in chosen(self.name, options, choices).items()}
        self.agents = ReplicationAgents(self._choice["dataplane"], loose=self._choice["branches"] == "loose")
        self.underlay = self.agents.underlay

    def flow(self, number: int) -> Flow:
        return Flow(number, group("232.3.0.0", number), ssm=True)

    def start(self, lab: Lab) -> None:
        node = self.controller(lab)
        self.agents.start(lab)
        self.start_controller(lab, node)

    def start_controller(self, lab: Lab, node: Node) -> None:
        """Also again, after its death."""
        ospf = router_id(lab.plan, _own_router(lab.plan, node.name))
        config = ControllerConfig(node.name, ospf, f"/var/log/{CONTROLLER}.jsonl", order=self._choice["order"])
        config.write(node.folder / "run" / f"{CONTROLLER}.json")
        lab.keep(node.name, CONTROLLER, partial(_run_controller, node))

    def controller(self, lab: Lab) -> Node:
        """Where it runs. Raises RequestError."""
        named = [node.name for node in lab.plan.nodes.values() if node.role is Role.CONTROLLER]
        name = self._where or next(iter(named), lab.plan.repository)
        if name not in lab.plan.nodes:
            raise RequestError(
                [Problem(f"scheme {self.name}: there is no node {name}", hint=f"nodes: {', '.join(lab.plan.nodes)}")]
            )
        return lab[name]

    def wait_ready(self, lab: Lab) -> None:
        """Agents know each other, and the controller is connected to all of them."""
        self.agents.wait_ready(lab)

        def missing() -> str:
            try:
                state = self.ask(lab, {"op": "state"})
            except OSError as error:
                return f"the controller does not answer: {error}"
            if state["settled"] and state["agents"] == len(lab.plan.routers) and not state["away"]:
                return ""
            return f"the controller knows {state['agents']} agents, without a connection: {state['away']}"

        until(missing, DEADLINE, "the SR-P2MP controller")

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        plan = lab.plan
        edges = {node.site: node.name for node in plan.sites}
        leaves = sorted({router_id(plan, edges[plan.nodes[host].site]) for host in hosts})
        policy: Answer = {"root": router_id(plan, plan.repository_edge), "tree": flow.number}
        if leaves:
            address = plan.nodes[source].interfaces[0].address.ip
            paths: list[Answer] = [{"preference": 100, "algorithm": self._choice["algorithm"]}]
            if self._choice["standby"] == "disjoint":
                paths.append({"preference": 50, "algorithm": self._choice["algorithm"], "disjoint_from": 100})
            command = {
                "op": "policy",
                "leaves": leaves,
                "flows": [{"source": str(address), "group": flow.group}],
                "candidate_paths": paths,
                "branches": self._choice["branches"],
            }
        else:
            command = {"op": "remove"}

        def unreachable() -> str:
            try:
                answer = self.ask(lab, command | policy, asker=source)
            except (OSError, ValueError) as error:
                raise LabError(f"the controller did not set up the flow {flow.group}: {error}") from error
            return ", ".join(answer.get("unreachable", ()))

        # A leaf that is cut off for a moment, as when a starved host takes a neighbour for dead, is waited for.
        until(unreachable, DEADLINE, f"a tree for {flow.group}", pause=0.2)

    def ask(self, lab: Lab, words: Answer, asker: str = "") -> Answer:
        """A command to the controller, through the network. Raises OSError; ValueError if it is refused."""
        node = self.controller(lab)
        spec = lab.plan.nodes[node.name]
        address = str((spec.loopback or spec.interfaces[0].address).ip)
        return lab[asker or node.name].call(partial(ask, (address, COMMANDS), words, PATIENCE))

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        return self.agents.tree(lab, flow)

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        yield from self.agents.events(lab)
        yield from agents.events([self.controller(lab)], CONTROLLER)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        return self.agents.state(lab)

    def control(self, lab: Lab) -> Reading:
        """What the controller tells agents is counted by these."""
        return self.agents.control(lab)


def _run_controller(node: Node) -> subprocess.Popen[bytes]:
    with (node.folder / "log" / f"{CONTROLLER}.log").open("ab") as log:
        command = [sys.executable, "-m", "testbed.control.p2mp.controller", f"/run/{CONTROLLER}.json"]
        return node.popen(command, stdout=log, stderr=log)


def _own_router(plan: Plan, node: str) -> str:
    """Whose LSDB a controller on this node reads."""
    spec = plan.nodes[node]
    return node if spec.role.is_router else spec.interfaces[0].peer_node
