"""A link's rate and queue, as a qdisc at each end: TBF. Everything else is an engine's (testbed.lab.impairments)."""

from __future__ import annotations

from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_tbf

from testbed import plan

_MOST = 2**32 - 1
ROOT = 2**32 - 1
_TBF = 0x20000


class _Tbf:
    """pyroute2's TBF with a rate of 64 bits (linux/pkt_sched.h: TCA_TBF_RATE64): its own has 32 bits of bytes a second,
    that is 34 Gb/s. Entered in pyroute2's table of disciplines, it serves every `IPRoute.tc` and every answer."""

    parent = sched_tbf.parent
    fix_request = staticmethod(sched_tbf.fix_request)

    class options(sched_tbf.options):  # type: ignore[misc]
        nla_map = (*sched_tbf.options.nla_map, ("TCA_TBF_RATE64", "uint64"))

    @staticmethod
    def get_parameters(asked: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = sched_tbf.get_parameters(asked)
        parameters = told["attrs"][0][1]
        if parameters["rate"] > _MOST:
            told["attrs"].append(["TCA_TBF_RATE64", parameters["rate"]])
            parameters["rate"] = _MOST
        return told


plugins["tbf"] = _Tbf


def set_rate(ip: IPRoute, index: int, shape: plan.Shape, parent: int = ROOT) -> None:
    """Give an interface the rate and the queue of a shape, or none; what waits in the queue stays.

    `parent`: the class of a qdisc that is there already and has the TBF below it. Raises pyroute2's NetlinkError.
    """
    if shape.rate is not None:
        # The rate in bytes a second.
        parameters = {"rate": shape.rate // 8, "burst": shape.burst, "limit": shape.queue}
        ip.tc("replace", "tbf", index, handle=_TBF, parent=parent, **parameters)
    elif any(qdisc["handle"] == _TBF and qdisc["parent"] == parent for qdisc in ip.get_qdiscs(index=index)):
        ip.tc("del", index=index, handle=_TBF, parent=parent)
