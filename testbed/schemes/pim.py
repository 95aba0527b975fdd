"""PIM-SM (RFC 7761) by FRR's pimd and the kernel: source-specific (`pim-ssm`) or with a rendezvous point (`pim-sm`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any

from testbed.lab import fib, vty
from testbed.lab.lab import Lab
from testbed.lab.messages import Counted, Reading
from testbed.lab.node import Node
from testbed.lab.waiting import until
from testbed.plan.frr import PimFeatures, Underlay
from testbed.plan.paths import DirectedLink
from testbed.schemes.base import Flow, SchemeEvent, group, refuse_options
from testbed.spec.scenario import OptionValue

DEADLINE = 60.0


class _Pim:
    """What both modes share: their neighbours, their state, their messages."""

    name: str
    features: PimFeatures | None
    underlay = Underlay()
    multicast = True
    stages: tuple[str, ...] = ("mroute",)

    def __init__(self, options: dict[str, OptionValue]) -> None:
        refuse_options(self.name, options)

    def start(self, lab: Lab) -> None:
        """pimd is one of FRR's daemons, and was started with them."""

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        """Receivers join, and that is all."""

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        assert flow.group is not None
        address, group = lab.plan.nodes[source].interfaces[0].address.ip, IPv4Address(flow.group)
        return {hop for node in lab.routers for hop in fib.multicast(lab, node.name, address, group)}

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return ()

    def wait_ready(self, lab: Lab) -> None:
        """Every PIM neighbour on every core link (a Join goes only to a known neighbour, RFC 7761 4.5.5)."""
        waiting = list(lab.routers)

        def missing() -> str:
            while waiting:
                if what := _missing_neighbours(waiting[-1]):
                    return f"{what} ({len(waiting)} routers)"
                waiting.pop()
            return ""

        until(missing, DEADLINE, "PIM")

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        return {node.name: _router_state(node) for node in _alive(lab)}

    def control(self, lab: Lab) -> Reading:
        found: dict[Counted, int] = {}
        for node in _alive(lab):
            for name, interface in _interfaces(_ask(node, "show ip pim interface traffic json")):
                for key, value in interface.items():
                    if key.endswith("Tx") and isinstance(value, int):
                        found[Counted("pim", key.removesuffix("Tx"), node.name, name)] = value
        return dict(sorted(found.items()))


class PimSsm(_Pim):
    """(S,G) trees straight from IGMPv3 joins; no rendezvous point, no shared tree (RFC 7761 4.8, RFC 4607)."""

    name = "pim-ssm"
    features: PimFeatures | None = PimFeatures(mode="ssm")

    def flow(self, number: int) -> Flow:
        return Flow(number, group("232.1.0.0", number), ssm=True)


class PimSm(_Pim):
    """Any-source: receivers join (*,G) at a static rendezvous point, the first hop registers there, and the last hop
    switches to the source's own tree with its first packet (RFC 7761 4.2.1, 4.4)."""

    name = "pim-sm"
    features: PimFeatures | None = PimFeatures(mode="sm")

    def flow(self, number: int) -> Flow:
        return Flow(number, group("239.1.0.0", number), ssm=False)


def _alive(lab: Lab) -> list[Node]:
    """The routers whose pimd was not killed."""
    return [node for node in lab.routers if (node.name, "pimd") in lab.daemons]


def _ask(node: Node, command: str) -> dict[str, Any]:
    answer = vty.ask_json(node.folder / "run/frr/pimd.vty", command)
    return answer if isinstance(answer, dict) else {}


def _interfaces(answer: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """FRR 8.4 answers by interface; 10.x may put a VRF around that."""
    for name, value in answer.items():
        if isinstance(value, dict):
            if any(isinstance(inner, dict) for inner in value.values()):
                yield from _interfaces(value)
            else:
                yield name, value


def _missing_neighbours(node: Node) -> str:
    neighbours = _ask(node, "show ip pim neighbor json")
    lacking = [i.name for i in node.spec.interfaces if not i.is_lan and not neighbours.get(i.name)]
    return f"{node.name} has no neighbour on {', '.join(lacking)}" if lacking else ""


def _router_state(node: Node) -> dict[str, int]:
    """Entries of pimd's upstream table by kind, and of the kernel's cache (the counters of Run.state)."""
    counts: Counter[str] = Counter()
    for sources in _ask(node, "show ip pim upstream json").values():
        if isinstance(sources, dict):
            for source in sources:
                counts["(*,G)" if source == "*" else "(S,G)"] += 1
    return dict(counts)
