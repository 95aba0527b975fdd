"""Which engine a lab has: the one that was asked for, or the one that can."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from testbed import plan
from testbed.errors import MachineError, Problem, RequestError
from testbed.lab.capabilities import has_qdisc
from testbed.lab.impairments.base import Engine
from testbed.lab.impairments.delayline import Delayline
from testbed.lab.impairments.netem import Netem
from testbed.lab.node import Node
from testbed.lab.registry import Registry
from testbed.spec.types import Impairments


def choose(
    wanted: Impairments,
    links: Mapping[str, plan.Link],
    impairable: Collection[str],
    nodes: Mapping[str, Node],
    registry: Registry,
    seed: str,
) -> Engine | None:
    """The engine of those links that need one or are to be `impairable`; None: no link is.

    `auto`: netem where the kernel has it and it honours every shape (it has no seeds), else delayline. Raises
    RequestError with everything that the engine refuses, MachineError where the one asked for is not to be had.
    """
    held = {name: link for name, link in links.items() if link.shape.impaired or name in impairable}
    if not held:
        return None
    netem = Netem(held, nodes)
    delayline = Delayline(held, nodes, registry, seed)
    if wanted == "delayline" or (wanted == "auto" and (_refusals(netem) or not has_qdisc("netem"))):
        engine: Engine = delayline
    elif has_qdisc("netem"):
        engine = netem
    else:
        raise MachineError(
            "this kernel has no netem", "modprobe sch_netem, or take the other engine: --impairments delayline"
        )
    if problems := _refusals(engine):
        raise RequestError(problems)
    return engine


def _refusals(engine: Engine) -> list[Problem]:
    return [
        Problem(f"{engine.name} does not do {reason}", where=f"link {name}")
        for name, link in engine.links.items()
        for reason in engine.refuse(link.shape)
    ]
