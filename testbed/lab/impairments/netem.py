"""netem: the kernel's own, a qdisc at each end of a link, above the TBF.

A packet is delayed first and waits for the rate afterwards. netem loses whole buffers; on our links, whose interfaces
send one segment at a time, each is one packet. Its chances have no seed that every kernel could be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import nla
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_netem
from pyroute2.netlink.rtnl.tcmsg.common import percent2u32

from testbed import plan
from testbed.lab.impairments.base import Direction, Impaired
from testbed.lab.links import connect, index_of
from testbed.lab.node import Node
from testbed.plan.shape import burst_chances, netem_limit

_HANDLE, _CLASS = 0x10000, 0x10001


class _WithBursts:
    """pyroute2's netem, and losses in bursts (linux/pkt_sched.h: TCA_NETEM_LOSS, NETEM_LOSS_GE)."""

    parent = sched_netem.parent

    class options(sched_netem.options):  # type: ignore[misc]
        nla_map = tuple(
            (name, "loss" if name == "TCA_NETEM_LOSS" else kind) for name, kind in sched_netem.options.nla_map
        )

        class loss(nla):  # type: ignore[misc]
            nla_map = (("NETEM_LOSS_UNSPEC", "none"), ("NETEM_LOSS_GI", "none"), ("NETEM_LOSS_GE", "gemodel"))

            class gemodel(nla):  # type: ignore[misc]
                fields = (("p", "I"), ("r", "I"), ("h", "I"), ("k1", "I"))

    @staticmethod
    def get_parameters(asked: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = sched_netem.get_parameters(asked)
        if (gemodel := asked.get("gemodel")) is not None:
            chances = {name: percent2u32(value) for name, value in gemodel.items()}
            told["attrs"].append(["TCA_NETEM_LOSS", {"attrs": [["NETEM_LOSS_GE", chances]]}])
        return told


plugins["netem"] = _WithBursts


class Netem:
    """See base.Engine."""

    name = "netem"
    rate_parent = _CLASS

    def __init__(self, links: Mapping[str, plan.Link], nodes: Mapping[str, Node]) -> None:
        self.links = links
        self._nodes = nodes

    def refuse(self, shape: plan.Shape) -> list[str]:
        if shape.seed is not None:
            return ["chances with a seed: the kernel draws its own, other ones in each run"]
        return []

    def start(self) -> None:
        pass

    def connect(self, link: plan.Link, a: Node, b: Node) -> None:
        connect(link, a, b)

    def shape(self, node: Node, interface: plan.Interface, shape: plan.Shape) -> None:
        def work(ip: IPRoute) -> None:
            index = index_of(ip, interface.name)
            present = any(qdisc["handle"] == _HANDLE for qdisc in ip.get_qdiscs(index=index))
            ip.tc("change" if present else "add", "netem", index, handle=_HANDLE, **_parameters(shape))

        node.netlink(work)

    def wait_ready(self) -> None:
        pass

    def wait_empty(self, link: str) -> None:
        """The kernel empties the queues of an interface before it is down."""

    def read(self) -> dict[Direction, Impaired]:
        """netem counts what it lost together with what it dropped; its limit is such that it drops nothing."""
        found = {}
        for link in self.links.values():
            for end in (link.a, link.b):
                found[link.name, end.node] = Impaired(self._drops(end), None, None, 0)
        return found

    def why_dead(self) -> str:
        return ""

    def stop(self) -> None:
        pass

    def _drops(self, end: plan.Interface) -> int:
        def work(ip: IPRoute) -> int:
            drops = {
                qdisc["handle"]: int(qdisc.get_attr("TCA_STATS2").get_attr("TCA_STATS_QUEUE")["drops"])
                for qdisc in ip.get_qdiscs(index=index_of(ip, end.name))
            }
            # What the TBF below drops is counted by netem, too.
            return drops.pop(_HANDLE) - sum(drops.values())

        return self._nodes[end.node].netlink(work)


def _parameters(shape: plan.Shape) -> dict[str, Any]:
    """As pyroute2 wants them: times in microseconds, chances in per cent."""
    told: dict[str, Any] = {
        "delay": round(shape.delay * 1e6),
        "jitter": round(shape.jitter * 1e6),
        "duplicate": shape.duplicate * 100,
        "limit": netem_limit(shape),
    }
    if shape.reorder:
        told |= {"prob_reorder": shape.reorder * 100, "gap": 1}
    if shape.loss_burst:
        to_bad, to_good = burst_chances(shape.loss, shape.loss_burst)
        told["gemodel"] = {"p": to_bad * 100, "r": to_good * 100, "h": 0, "k1": 0}
    else:
        told["loss"] = shape.loss * 100
    return told
