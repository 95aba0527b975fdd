"""BIER (RFC 8279, RFC 8296): mcfwd forwards, an agent beside FRR in each router keeps its BIFTs (docs/bier.md)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from testbed.control.bier_config import COMMANDS, BierConfig
from testbed.errors import LabError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.packet.bitstring import LENGTHS
from testbed.plan.frr import PimFeatures, Underlay
from testbed.plan.types import Plan
from testbed.schemes import agents
from testbed.schemes.base import Flow, SchemeEvent
from testbed.schemes.options import chosen
from testbed.spec.scenario import OptionValue

AGENT = "bier-agent"
_LABELS = 100_000  # MPLS: where the routers' label ranges begin
_OPTIONS: dict[str, tuple[OptionValue, ...]] = {  # the first of each is the default
    "encapsulation": ("ethernet", "mpls"),
    "bsl": (256, *(bsl for bsl in LENGTHS if bsl != 256)),
    "signalling": ("push", "igmp"),
    "ways": (1, 2, 4, 8),
}


class Bier:
    """Options: encapsulation ethernet (0xAB37) or mpls; bsl; signalling push (the sync tells the BFIR its BFERs) or
    igmp (the sites' routers do, as their hosts join); ways (equal-cost BIFTs, RFC 8279 section 6.7.2)."""

    name = "bier"
    features: PimFeatures | None = None
    underlay = Underlay(ospf_api=True)

    def __init__(self, options: dict[str, OptionValue]) -> None:
        choice = chosen(self.name, options, _OPTIONS)
        self._encapsulation, self._signalling = str(choice["encapsulation"]), str(choice["signalling"])
        self._bsl, self._ways = int(choice["bsl"]), int(choice["ways"])

    def flow(self, number: int) -> Flow:
        return Flow(number, f"232.2.0.{number}", ssm=True)

    def start(self, lab: Lab) -> None:
        """A forwarder and an agent in every router, all at once."""
        agents.start_all(lab, AGENT, lambda node: self._start_agent(lab, node))

    def wait_ready(self, lab: Lab) -> None:
        """Every router has a path to every BFER in its forwarder."""
        ids = bfr_ids(lab.plan)

        def missing(node: Node) -> str:
            others = len(ids) - (node.name in ids)
            state = agents.command(node, node, COMMANDS, {"op": "state"})
            if state["programmed"] and state["bfers"] == others and state["entries"] == len(ids):
                return ""
            return f"{node.name} knows {state['bfers']} of {others} BFERs"

        agents.every_router(lab, missing, "BIER")

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        """Tell the BFIR which BFERs the flow is for, from the source and through the network (RFC 8279 section 4.3)."""
        if self._signalling == "igmp":
            return
        ids = bfr_ids(lab.plan)
        edges = {node.site: node.name for node in lab.plan.sites}
        bfers = sorted({ids[edges[lab.plan.nodes[host].site]] for host in hosts})
        address = lab.plan.nodes[source].interfaces[0].address.ip
        command = {"op": "flow", "source": str(address), "group": flow.group, "bfers": bfers}
        try:
            agents.command(lab[source], lab[lab.plan.repository_edge], COMMANDS, command)
        except (OSError, ValueError) as error:
            raise LabError(f"the BFIR did not take the flow {flow.group}: {error}") from error

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return agents.events(lab, AGENT)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        found = {}
        for node in lab.routers:
            state = agents.command(node, node, COMMANDS, {"op": "state"})
            with Forwarder(ForwarderDaemon(node).socket) as forwarder:
                bifts = forwarder.state().bifts
            found[node.name] = {
                "BIFT entries": state["entries"],
                "F-BMs": sum(len(bift.paths) for bift in bifts.values()),
                "flows (BFIR)": state["flows"],
                "local memberships": state["members"],
            }
        return found

    def control(self, lab: Lab) -> dict[str, dict[str, int]]:
        kinds = [event.kind for event in self.events(lab)]
        return {"bier": {"BIFT updates": kinds.count("bift")}}

    def _start_agent(self, lab: Lab, node: Node) -> subprocess.Popen[bytes]:
        config, ids = node.spec, bfr_ids(lab.plan)
        assert config.loopback is not None  # every router has one
        cores = [interface for interface in config.interfaces if not interface.is_lan]
        mpls = self._encapsulation == "mpls"
        max_si = (max(ids.values()) - 1) // self._bsl
        BierConfig(
            loopback=str(config.loopback.ip),
            transport=tuple(interface.name for interface in cores),
            lans=tuple(interface.name for interface in config.interfaces if interface.is_lan),
            forwarder="/run/mcfwd.sock",
            events=f"/var/log/{AGENT}.jsonl",
            bsl=self._bsl,
            encapsulation=self._encapsulation,
            first_bift_id=_LABELS + 256 * config.number if mpls else 1,
            max_si=max_si,
            bfr_id=ids.get(node.name, 0),
            mtu=min(link.mtu for link in lab.plan.links.values() if not link.is_lan),
            ways=self._ways,
            signalling=self._signalling,
        ).write(node.folder / "run" / f"{AGENT}.json")
        return agents.start_agent(node, AGENT)


def bfr_ids(plan: Plan) -> dict[str, int]:
    """BFR-ids by router: the sites' edges first, densely (RFC 8279 section 2), then the repository's, the BFIR."""
    edges = [*(node.name for node in plan.sites), plan.repository_edge]
    return {name: number for number, name in enumerate(dict.fromkeys(edges), start=1)}
