"""FRR's configuration files, rendered from the plan: one file a daemon, no integrated vtysh configuration.

Addresses are not in them: the lab sets those through netlink before a daemon starts. Neither is logging: that is
the command line's. Every setting stands in the file that the daemon reads at its start, because an interface
that is enabled first and given its timers afterwards loses its first neighbour to "RouterDeadInterval mismatch".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed.errors import MachineError, Problem, RequestError
from testbed.plan.timers import Timers
from testbed.plan.types import Node, Plan

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "frr"

# What the templates were tried with, oldest and newest.
OLDEST = (8, 4)
TRIED = ((8, 4), (10, 3))

ASM_GROUPS = IPv4Network("239.0.0.0/8")

Version = tuple[int, int]

# In the order in which they are started.
FRR_DAEMONS = ("mgmtd", "zebra", "bfdd", "ospfd", "ospf6d", "pimd")


@dataclass(frozen=True, slots=True)
class PimFeatures:
    """What a scheme wants of pimd. `ssm`: IGMPv3 and (S,G) only; 232.0.0.0/8 is FRR's own SSM range.

    `sm`: the router `rp` (the plan's, if None) is the static rendezvous point of `groups`. Last-hop routers
    switch to the source's tree with the first packet, which is FRR's default.
    """

    mode: Literal["ssm", "sm"]
    rp: str | None = None
    groups: IPv4Network = ASM_GROUPS


@dataclass(frozen=True, slots=True)
class Underlay:
    """What a scheme wants of the unicast routing beside plain OSPFv2.

    `ospf_api`: ospfd serves its OSPF API, to whoever can reach TCP port 2607 of the router. `srv6`: every router has a
    locator (plan/srv6.py), which OSPFv3 advertises and the kernels of all others route.
    """

    ospf_api: bool = False
    srv6: bool = False


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """A router's /etc/frr: `files` by name, and the daemons to start, in this order (zebra serves all others).

    `options`: what a daemon's command line has besides what all daemons' have. `srv6`: the router's kernel has a
    locator, which these files count on.
    """

    files: Mapping[str, str]
    daemons: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    srv6: bool = False


def parse_version(text: str) -> Version:
    """`zebra --version` -> (8, 4). Raises MachineError for a version that is too old or cannot be read."""
    match = re.search(r"version (\d+)\.(\d+)", text)
    if match is None:
        raise MachineError(f"FRR does not say its version: {text[:80]!r}", "is `/usr/lib/frr/zebra --version` FRR's?")
    version = int(match[1]), int(match[2])
    if version < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise MachineError(f"FRR {match[1]}.{match[2]} is too old", f"install FRR {needed} or newer (Debian 12 has it)")
    return version


def render(
    plan: Plan,
    node_name: str,
    *,
    scheme_features: PimFeatures | None,
    timers: Timers,
    frr_version: Version,
    underlay: Underlay = Underlay(),
) -> RouterConfig:
    """Everything under a router's /etc/frr. `scheme_features` None: no multicast routing, no pimd.

    Raises RequestError for a node that is no router, or an RP that is none.
    """
    node = _router(plan, node_name)
    timers = timers.on(sum(not link.is_lan for link in plan.links.values()))
    daemons = _daemons(scheme_features, underlay, timers, frr_version)
    context = {
        "node": node,
        "timers": timers,
        "pim": scheme_features,
        "rp_address": _rp_address(plan, scheme_features),
        "newer": frr_version >= (10, 0),
        "srv6": underlay.srv6,
    }
    templates = [f"{daemon}.conf" for daemon in daemons] + ["vtysh.conf"]
    files = {name: _environment().get_template(f"{name}.j2").render(context) for name in templates}
    return RouterConfig(files, daemons, _options(underlay), underlay.srv6)


def _options(underlay: Underlay) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    if underlay.ospf_api:
        options["ospfd"] = ("--apiserver",)
    if underlay.srv6:
        # Else zebra withdraws an IPv6 route before it puts the new one in, and packets in between have none.
        options["zebra"] = ("--v6-rr-semantics",)
    return options


def _daemons(pim: PimFeatures | None, underlay: Underlay, timers: Timers, version: Version) -> tuple[str, ...]:
    wanted = {
        # From FRR 10 on, mgmtd holds the configuration of zebra and of the library (interfaces, for one).
        "mgmtd": version >= (10, 0),
        "zebra": True,
        "bfdd": timers.bfd is not None,
        "ospfd": True,
        "ospf6d": underlay.srv6,
        "pimd": pim is not None,
    }
    return tuple(name for name in FRR_DAEMONS if wanted[name])


def _router(plan: Plan, name: str) -> Node:
    node = plan.nodes.get(name)
    if node is None or not node.role.is_router:
        raise RequestError([Problem(f"{name!r} is not a router", where="plan", hint="hosts run no routing daemons")])
    return node


def _rp_address(plan: Plan, pim: PimFeatures | None) -> IPv4Address | None:
    if pim is None or pim.mode != "sm":
        return None
    loopback = _router(plan, pim.rp or plan.rp).loopback
    assert loopback is not None  # every router has one
    return loopback.ip


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
