"""What a link is like, as qdiscs: TBF for the rate, netem above it for delay, jitter and loss.

A packet is delayed first and waits for the rate afterwards; what is late by chance (jitter) may so be overtaken by
what was sent after it. netem loses whole buffers: of TCP, which hands over segments by the dozen, up to 64 KiB at once.
"""

from __future__ import annotations

from pyroute2 import IPRoute

from testbed import plan
from testbed.plan.shape import netem_limit


def needs_netem(shape: plan.Shape) -> bool:
    """Whether the shape asks for more than a rate."""
    return bool(shape.delay or shape.jitter or shape.loss)


def shape_interface(ip: IPRoute, index: int, shape: plan.Shape, *, impaired: bool) -> None:
    """Set the qdiscs of one interface. Raises pyroute2's NetlinkError (an unknown qdisc is ENOENT)."""
    parent: dict[str, int] = {}
    if impaired and needs_netem(shape):
        ip.tc(
            "add",
            "netem",
            index,
            handle=0x10000,
            delay=round(shape.delay * 1e6),
            jitter=round(shape.jitter * 1e6),
            loss=shape.loss * 100,
            limit=netem_limit(shape),
        )
        parent = {"parent": 0x10001}
    if shape.rate is not None:
        ip.tc(
            "add",
            "tbf",
            index,
            handle=0x20000,
            rate=shape.rate // 8,  # bytes a second
            burst=shape.burst,
            limit=shape.queue,
            **parent,
        )
