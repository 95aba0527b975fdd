"""From what a fault asks for to what it hits: the names of the plan, and where the tree runs at this moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from testbed.errors import LabError
from testbed.lab.lab import Lab
from testbed.plan.paths import busiest_link
from testbed.plan.types import Plan
from testbed.run.faults import ACTIONS
from testbed.run.measure import Stream
from testbed.run.tree import most_sites
from testbed.schemes import Scheme
from testbed.spec.faults import DaemonTarget, Fault, Target
from testbed.spec.names import find_link

CONTROLLER = "p2mp-controller"


class NoTarget(LabError):
    """There is nothing here that the fault could hit."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where faults happen: a lab, its scheme, and what is sent through it."""

    lab: Lab
    scheme: Scheme
    streams: Sequence[Stream] = field(default_factory=tuple)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where the streams go; without any, every site's storage."""
        plan = self.lab.plan
        sent = tuple(host for stream in self.streams for host in stream.hosts)
        return sent or tuple(host.name for site in plan.sites for host in plan.destinations(site.name, "storage"))


def resolve(scene: Scene, fault: Fault) -> tuple[Target, str]:
    """The target by names alone, and how it was found, "" where it was named. Raises NoTarget, RequestError."""
    target, plan = fault.target, scene.lab.plan
    if target.daemon is not None:
        return _daemon(scene, target.daemon)
    if target.role == "controller":
        return Target(node=_controller(scene.lab)), "where the controller runs"
    if target.busiest_link:
        return Target(link=busiest_link(plan, scene.hosts)), "the plan's ideal tree"
    if target.most_sites is not None:
        name, how = most_sites(scene.lab, scene.scheme, scene.streams, scene.hosts, target.most_sites)
        return (Target(link=name) if target.most_sites == "link" else Target(node=name)), how
    if target.link_names:
        names = [found[0] if (found := find_link(plan.topology, name)) else name for name in target.link_names]
        return (Target(link=names[0]) if target.link else Target(links=tuple(names))), ""
    return target, ""


def impairable(plan: Plan, faults: Iterable[Fault]) -> frozenset[str]:
    """The links that need an impairment engine for what faults do to them later; of a target that is not known yet, all
    between routers."""
    found: set[str] = set()
    for fault in faults:
        action = ACTIONS[fault.action]
        if action.impairs(action.parameters.model_validate(fault.parameters)):
            named = [each[0] for name in fault.target.link_names if (each := find_link(plan.topology, name))]
            found.update(named or [name for name, link in plan.links.items() if not link.is_lan])
    return frozenset(found)


def _daemon(scene: Scene, asked: DaemonTarget) -> tuple[Target, str]:
    lab = scene.lab
    if asked.name == "controller" or asked.role == "controller":
        node, how = asked.node or _controller(lab), "where the controller runs" if asked.node is None else ""
    else:
        assert asked.node is not None  # other roles have become names
        node, how = asked.node, ""
    present = lab.daemon_names(node)
    real = {"forwarder": "mcfwd", "controller": CONTROLLER}.get(asked.name, asked.name)
    if asked.name == "agent":
        real = next((name for name in present if name.endswith("-agent")), asked.name)
    if real not in present:
        raise NoTarget(
            f"scheme {scene.scheme.name} has no {asked.name} on {node}; there: {', '.join(present) or 'none'}"
        )
    return Target(daemon=DaemonTarget(name=real, node=node)), how


def _controller(lab: Lab) -> str:
    for node in lab.nodes:
        if CONTROLLER in lab.daemon_names(node):
            return node
    raise NoTarget("this scheme has no controller")
