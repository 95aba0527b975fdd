"""Where the tree runs at this moment, and which link or router carries most sites."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from testbed.errors import LabError, TestbedError
from testbed.lab.lab import Lab
from testbed.plan.graph import distances, graph_of
from testbed.plan.paths import DirectedLink, ideal_tree
from testbed.plan.types import Plan, Role
from testbed.run import counters
from testbed.run.measure import Stream
from testbed.schemes import Scheme

WINDOW_S = 0.2  # over which counters are seen to grow
SHARE = 0.2  # of the busiest direction's growth: what grew less carries no model


def most_sites(
    lab: Lab, scheme: Scheme, streams: Sequence[Stream], hosts: Sequence[str], what: Literal["link", "router"]
) -> tuple[str, str]:
    """The link between routers, or the core router, that carries most sites, and how that was found. As with the plan's
    busiest link, of those that every destination can do without, if there are any; the first of equals.

    Raises LabError where nothing carries any.
    """
    plan = lab.plan
    for tree, how in _sources(lab, scheme, streams, hosts):
        carried = sites_by_link(plan, tree, hosts) if what == "link" else sites_by_router(plan, tree, hosts)
        if carried:
            spare = {name: count for name, count in carried.items() if can_spare(plan, hosts, name, what)}
            candidates = spare or carried
            return max(candidates, key=lambda name: candidates[name]), how
    raise LabError(f"no {what} carries the tree to any site")


def sites_by_link(plan: Plan, tree: Collection[DirectedLink], hosts: Iterable[str]) -> dict[str, int]:
    """How many sites are behind each link between routers, in the plan's order, going from the repository along the
    tree. What the tree does not lead to from there is not counted."""
    behind = _behind(plan, tree, hosts)
    counts = {hop.link: len(behind.get(hop, ())) for hop in tree}
    return {name: counts[name] for name, link in plan.links.items() if counts.get(name) and not link.is_lan}


def sites_by_router(plan: Plan, tree: Collection[DirectedLink], hosts: Iterable[str]) -> dict[str, int]:
    """How many sites each core router carries."""
    found: dict[str, set[str]] = {}
    for hop, sites in _behind(plan, tree, hosts).items():
        found.setdefault(hop.dst, set()).update(sites)
    cores = [node.name for node in plan.routers if node.role is Role.CORE]
    return {name: len(found[name]) for name in cores if found.get(name)}


def can_spare(plan: Plan, hosts: Iterable[str], name: str, what: Literal["link", "router"]) -> bool:
    """Whether every destination can be reached without a link, or without the links of a router."""
    without = {name} if what == "link" else {each.link for each in plan.nodes[name].interfaces}
    reach = distances(graph_of(plan.nodes, plan.links.values(), without), plan.repository)
    return all(host in reach for host in hosts)


def grown(before: counters.Snapshot, after: counters.Snapshot, plan: Plan) -> frozenset[DirectedLink]:
    """The directions that carried what can only be a model: those that grew by a good part of what the busiest did."""
    growth = {key: each.bytes for key, each in counters.difference(before, after).items()}
    most = max(growth.values(), default=0)
    ends = {
        (name, a.node): b.node for name, link in plan.links.items() for a, b in ((link.a, link.b), (link.b, link.a))
    }
    busy = [key for key, size in growth.items() if size and size >= SHARE * most]
    return frozenset(DirectedLink(link, src, ends[link, src]) for link, src in busy)


def _sources(
    lab: Lab, scheme: Scheme, streams: Sequence[Stream], hosts: Sequence[str]
) -> Iterable[tuple[frozenset[DirectedLink], str]]:
    """What may tell where the tree runs, the best first. Where nothing is sent, only the plan knows."""

    def told() -> frozenset[DirectedLink]:
        trees = [scheme.tree(lab, stream.flow, stream.source, stream.hosts) for stream in streams]
        return frozenset(hop for tree in trees for hop in tree)

    def counted() -> frozenset[DirectedLink]:
        before = counters.read_counters(lab.plan, lab.pid_of)
        time.sleep(WINDOW_S)
        return grown(before, counters.read_counters(lab.plan, lab.pid_of), lab.plan)

    def planned() -> frozenset[DirectedLink]:
        return frozenset(ideal_tree(lab.plan, lab.plan.repository, hosts))

    sources: list[tuple[Callable[[], frozenset[DirectedLink]], str]] = [
        (told, f"the state of {scheme.name}"),
        (counted, "the growth of the links' counters"),
        (planned, "the plan's ideal tree"),
    ]
    for source, how in sources if streams else sources[-1:]:
        try:
            yield source(), how
        except (TestbedError, OSError, ValueError):  # a daemon that is down cannot tell
            continue


def _behind(
    plan: Plan, tree: Collection[DirectedLink], hosts: Iterable[str]
) -> Mapping[DirectedLink, frozenset[str]]:
    """By link of the tree, as far as it can be walked from the repository: the sites that it leads to."""
    edges = {node.site: node.name for node in plan.sites}
    reached = {plan.nodes[host].site for host in hosts}
    wanted = {edge: site for site, edge in edges.items() if site is not None and site in reached}
    onward: dict[str, list[DirectedLink]] = {}
    for hop in tree:
        onward.setdefault(hop.src, []).append(hop)
    found: dict[DirectedLink, frozenset[str]] = {}

    def walk(node: str, way: frozenset[str]) -> frozenset[str]:
        sites = {wanted[node]} if node in wanted else set()
        for hop in onward.get(node, ()):
            if hop.dst not in way:  # a tree that is being repaired may have a loop
                if hop not in found:
                    found[hop] = walk(hop.dst, way | {hop.dst})
                sites |= found[hop]
        return frozenset(sites)

    walk(plan.repository_edge, frozenset({plan.repository_edge}))
    return found
