"""BIER (RFC 8279, RFC 8296): mcfwd forwards, an agent beside FRR in each router keeps its BIFTs (docs/bier.md)."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address

from testbed.control.bier_config import COMMANDS, BierConfig
from testbed.errors import LabError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.forwarder.rows import BierAction, End
from testbed.forwarder.state import State
from testbed.lab import fib
from testbed.lab.lab import Lab
from testbed.lab.messages import Counted, Reading
from testbed.lab.node import Node
from testbed.packet import Encapsulation
from testbed.packet.bitstring import LENGTHS
from testbed.plan.frr import PimFeatures, Underlay
from testbed.plan.paths import DirectedLink
from testbed.plan.types import Plan
from testbed.schemes import agents
from testbed.schemes.base import Flow, SchemeEvent, group
from testbed.schemes.options import chosen
from testbed.spec.scenario import OptionValue
from testbed.spec.topology import Router

AGENT = "bier-agent"
TUNNEL_OVERHEAD = 24  # octets: IPv4 and GRE
_LABELS = 100_000  # MPLS: where the routers' label ranges begin
_OPTIONS: dict[str, tuple[OptionValue, ...]] = {  # the first of each is the default
    "encapsulation": ("ethernet", "mpls"),
    "bsl": (256, *(bsl for bsl in LENGTHS if bsl != 256)),
    "signalling": ("push", "igmp"),
    "ways": (1, 2, 4, 8),
}
# What an agent counts (control/tally.py), so that what did not happen is told as 0.
_COUNTED = ("LSAs originated", "LSAs received", "flow commands", "join commands", "leave commands", "bytes")
_NOT_SENT = ("LSAs received", "bytes")


class Bier:
    """Options: encapsulation ethernet (0xAB37) or mpls; bsl; signalling push (the sync tells the BFIR its BFERs) or
    igmp (the sites' routers do, as their hosts join); ways (equal-cost BIFTs, RFC 8279 section 6.7.2)."""

    name = "bier"
    features: PimFeatures | None = None
    underlay = Underlay(ospf_api=True)
    multicast = True
    stages: tuple[str, ...] = ("bift",)

    def __init__(self, options: dict[str, OptionValue]) -> None:
        choice = chosen(self.name, options, _OPTIONS)
        self._encapsulation, self._signalling = str(choice["encapsulation"]), str(choice["signalling"])
        self._bsl, self._ways = int(choice["bsl"]), int(choice["ways"])

    def flow(self, number: int) -> Flow:
        return Flow(number, group("232.2.0.0", number), ssm=True)

    def start(self, lab: Lab) -> None:
        """A forwarder and an agent in every BFR, all at once."""
        agents.start_all(lab, bfrs_of(lab), AGENT, COMMANDS, lambda node: self._start_agent(lab, node))

    def wait_ready(self, lab: Lab) -> None:
        """Every BFR has a path to every BFER in its forwarder."""
        ids = bfr_ids(lab.plan)

        def missing(node: Node) -> str:
            others = len(ids) - (node.name in ids)
            state = agents.command(node, node, COMMANDS, {"op": "state"})
            if state["programmed"] and state["bfers"] == others and state["entries"] == len(ids):
                return ""
            found = f"knows {state['bfers']} of {others} BFERs and reaches {state['entries']} of {len(ids)}"
            return f"{node.name} {found}"

        agents.wait_for_all(bfrs_of(lab), missing, "BIER")

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
            agents.tell(lab[source], lab[lab.plan.repository_edge], COMMANDS, command)
        except ValueError as error:
            raise LabError(f"the BFIR did not take the flow {flow.group}: {error}") from error

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        """As the BFIR's flow and every BFR's BIFT have it (RFC 8279 section 6.5), of several ways the first. Tunnels
        are no links of ours: where one is on the way, its part is missing."""
        assert flow.group is not None
        states: dict[str, State] = {}
        found: set[DirectedLink] = set()

        def follow(router: str, bift: tuple[Encapsulation, int], bits: int) -> None:
            if router not in states:
                with Forwarder(ForwarderDaemon(lab[router]).socket) as forwarder:
                    states[router] = forwarder.state()
            state = states[router]
            for path in (each.row for each in state.bifts[bift].paths if each.row.way == 0):
                served = bits & path.fbm.value
                if not served or isinstance(path.to, End):
                    continue
                hop = fib.link_of(lab, router, state.nexthops[path.to].row.port)
                if hop is not None and hop not in found:
                    found.add(hop)
                    follow(hop.dst, (bift[0], path.as_id or bift[1]), served)

        root, group = lab.plan.repository_edge, IPv4Address(flow.group)
        with Forwarder(ForwarderDaemon(lab[root]).socket) as forwarder:
            states[root] = forwarder.state()
        for row in (each.row for each in states[root].flows if each.row.group == group):
            for action in row.actions:
                if isinstance(action, BierAction):
                    follow(root, (action.encapsulation, action.bift), action.bits.value)
        return found

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return agents.events(bfrs_of(lab), AGENT)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        found = {}
        for node in bfrs_of(lab):
            if (node.name, AGENT) not in lab.daemons or (node.name, "mcfwd") not in lab.daemons:
                continue  # killed
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

    def control(self, lab: Lab) -> Reading:
        """BIER's own: its LSAs where they began and where they arrived, and commands about flows (docs/bier.md).

        And how often an agent changed its forwarder's tables, which is no message on any link.
        """
        found: dict[Counted, int] = {}
        for node in bfrs_of(lab):
            if (node.name, AGENT) in lab.daemons:
                told = dict.fromkeys(_COUNTED, 0) | agents.command(node, node, COMMANDS, {"op": "state"})["control"]
                for kind, count in told.items():
                    found[Counted("bier", kind, node.name, sent=kind not in _NOT_SENT)] = count
        for event in self.events(lab):
            if event.kind == "bift":
                key = Counted("bier", "BIFT updates", event.router, sent=False)
                found[key] = found.get(key, 0) + 1
        return found

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
            state=f"/run/{AGENT}-state.json",
            bsl=self._bsl,
            encapsulation=self._encapsulation,
            first_bift_id=_LABELS + 256 * config.number if mpls else 1,
            max_si=max_si,
            bfr_id=ids.get(node.name, 0),
            mtu=bier_mtu(lab.plan),
            ways=self._ways,
            signalling=self._signalling,
        ).write(node.folder / "run" / f"{AGENT}.json")
        return agents.start_agent(node, AGENT)


def supports_bier(plan: Plan, router: str) -> bool:
    """Whether a router is a BFR: all are but core routers whose topology says otherwise."""
    node = plan.topology.nodes[router]
    return not isinstance(node, Router) or node.bier


def bfrs_of(lab: Lab) -> list[Node]:
    """The routers that support BIER."""
    return [node for node in lab.routers if supports_bier(lab.plan, node.name)]


def bier_mtu(plan: Plan) -> int:
    """The longest BIER packet that every link carries, in a tunnel where there may be one (RFC 8296 section 3)."""
    mtu = min(link.mtu for link in plan.links.values() if not link.is_lan)
    tunnels = not all(supports_bier(plan, node.name) for node in plan.routers)
    return mtu - TUNNEL_OVERHEAD if tunnels else mtu


def bfr_ids(plan: Plan) -> dict[str, int]:
    """BFR-ids by router: the sites' edges first, densely (RFC 8279 section 2), then the repository's, the BFIR."""
    edges = [*(node.name for node in plan.sites), plan.repository_edge]
    return {name: number for number, name in enumerate(dict.fromkeys(edges), start=1)}
