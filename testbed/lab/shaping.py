"""What a link is like, as qdiscs: TBF for the rate, netem above it for delay, jitter and loss.

A packet is delayed first and waits for the rate afterwards; what is late by chance (jitter) may so be overtaken by
what was sent after it. netem loses whole buffers: of TCP, which hands over segments by the dozen, up to 64 KiB at once.
"""

from __future__ import annotations

from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_tbf

from testbed import plan
from testbed.plan.shape import netem_limit

_MOST = 2**32 - 1
_ROOT = 2**32 - 1
_NETEM, _NETEM_CLASS, _TBF = 0x10000, 0x10001, 0x20000


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


def needs_netem(shape: plan.Shape) -> bool:
    """Whether the shape asks for more than a rate."""
    return bool(shape.delay or shape.jitter or shape.loss)


def shape_interface(ip: IPRoute, index: int, shape: plan.Shape, *, netem: bool) -> None:
    """Set the qdiscs of one interface. `netem`: also where the shape asks for a rate only.

    Raises pyroute2's NetlinkError (an unknown qdisc is ENOENT).
    """
    if netem:
        ip.tc("add", "netem", index, **_netem(shape))
    if shape.rate is not None:
        ip.tc("add", "tbf", index, **_tbf(shape, netem))


def reshape_interface(ip: IPRoute, index: int, shape: plan.Shape, *, netem: bool) -> None:
    """Change the qdiscs of one interface to another shape; what waits in them stays. `netem`: it has one.

    Raises pyroute2's NetlinkError.
    """
    if netem:
        ip.tc("change", "netem", index, **_netem(shape))
    above = _NETEM_CLASS if netem else _ROOT
    if shape.rate is not None:
        ip.tc("replace", "tbf", index, **_tbf(shape, netem))
    elif any(qdisc["handle"] == _TBF and qdisc["parent"] == above for qdisc in ip.get_qdiscs(index=index)):
        ip.tc("del", index=index, handle=_TBF, parent=above)


def _netem(shape: plan.Shape) -> dict[str, Any]:
    return {
        "handle": _NETEM,
        "delay": round(shape.delay * 1e6),
        "jitter": round(shape.jitter * 1e6),
        "loss": shape.loss * 100,
        "limit": netem_limit(shape),
    }


def _tbf(shape: plan.Shape, below_netem: bool) -> dict[str, Any]:
    assert shape.rate is not None
    parent = {"parent": _NETEM_CLASS} if below_netem else {}
    # The rate in bytes a second.
    return {"handle": _TBF, "rate": shape.rate // 8, "burst": shape.burst, "limit": shape.queue, **parent}
