"""Shortest paths and trees on a plan: what OSPF and PIM will choose, computed beforehand.

Equal costs are common, so the choice among them matters: it is the next hop with the lowest address, at every
router for itself, which is what FRR's pimd takes for RPF when PIM's own multipath is off.
Unicast over equal costs is spread by the kernel, a flow at a time; its path here is one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from testbed.errors import Problem, RequestError
from testbed.plan.graph import distances, graph_of
from testbed.plan.types import Interface, Node, Plan


@dataclass(frozen=True, slots=True, order=True)
class DirectedLink:
    """A link as packets cross it: from node `src` to node `dst`."""

    link: str
    src: str
    dst: str


def unicast_path(
    plan: Plan, src: str, dst: str, without: Collection[str] = frozenset()
) -> tuple[Interface, ...]:
    """The way from one node to another: the interface that each node on it leaves by, in order.

    `without` names links that are down. Raises RequestError where there is no way.
    """
    (path,) = _paths_to(plan, dst, [src], without).values()
    return path


def next_hops(plan: Plan, dst: str, without: Collection[str] = frozenset()) -> dict[str, frozenset[str]]:
    """For each node that can reach `dst`, the names of the interfaces on its shortest paths there: the route that
    OSPF puts into its kernel (RFC 2328 16.1, equal costs included). `dst` itself has none.
    """
    remaining = distances(graph_of(plan.nodes, plan.links.values(), without), dst)
    return {
        name: frozenset(i.name for i in _shortest(plan.nodes[name], remaining, without)) for name in remaining
    }


def ideal_tree(
    plan: Plan, source: str, destinations: Iterable[str], without: Collection[str] = frozenset()
) -> tuple[DirectedLink, ...]:
    """The tree that PIM's Joins build from the destinations towards the source (RFC 7761 4.5.5): every router
    sends its Join along its own shortest path to the source. Each link appears once, in the direction of the data.

    LAN links belong to it where source and destinations are hosts. In the order of the plan's links.
    Raises RequestError naming every destination that cannot be reached.
    """
    order = {name: i for i, name in enumerate(plan.links)}
    paths = _paths_to(plan, source, destinations, without).values()
    tree = {DirectedLink(hop.link, src=hop.peer_node, dst=hop.node) for path in paths for hop in path}
    return tuple(sorted(tree, key=lambda branch: order[branch.link]))


def sites_behind(plan: Plan, destinations: Iterable[str]) -> dict[str, int]:
    """How many sites' copies each link between routers carries in the repository's ideal tree, in link order."""
    sites: dict[str, set[str]] = {}
    for destination, path in _paths_to(plan, plan.repository, destinations).items():
        for hop in path:
            sites.setdefault(hop.link, set()).add(plan.nodes[destination].site or destination)
    return {name: len(sites[name]) for name, link in plan.links.items() if name in sites and not link.is_lan}


def busiest_link(plan: Plan, destinations: Iterable[str]) -> str:
    """The link between routers whose loss hurts most sites: of those that every destination can do without, the
    one that carries most sites in the ideal tree, the first of equals. Where no link can be spared, of all links.

    Raises RequestError where nothing crosses a link between routers.
    """
    wanted = list(destinations)
    carried = sites_behind(plan, wanted)
    if not carried:
        problem = Problem("no link between routers carries the tree", where="busiest_link", hint="name a link instead")
        raise RequestError([problem])
    spare = {name: count for name, count in carried.items() if _can_spare(plan, wanted, name)}
    candidates = spare or carried
    return max(candidates, key=lambda name: candidates[name])


def bottleneck_rate(plan: Plan, destinations: Iterable[str], *, shared: bool = True) -> int | None:
    """What a destination can be sent over the links of the repository's ideal tree, all at once and all alike, in
    bit/s; None where none of them is shaped. `shared`: one copy on each link, so it is the rate of the slowest one;
    else a link is divided among the destinations behind it.
    """
    paths = _paths_to(plan, plan.repository, destinations).values()
    copies = Counter(hop.link for path in paths for hop in path)
    shaped = ((plan.links[name].shape.rate, 1 if shared else number) for name, number in copies.items())
    return min((rate // number for rate, number in shaped if rate is not None), default=None)


def _can_spare(plan: Plan, destinations: Iterable[str], link: str) -> bool:
    reach = distances(graph_of(plan.nodes, plan.links.values(), {link}), plan.repository)
    return all(destination in reach for destination in destinations)


def _paths_to(
    plan: Plan, target: str, starts: Iterable[str], without: Collection[str] = frozenset()
) -> dict[str, tuple[Interface, ...]]:
    """For each start, the interfaces that a packet to `target` leaves by, each router choosing for itself."""
    wanted = list(starts)
    if unknown := [name for name in (target, *wanted) if name not in plan.nodes]:
        raise RequestError([Problem(f"there is no node {name!r}", where="plan") for name in unknown])
    remaining = distances(graph_of(plan.nodes, plan.links.values(), without), target)
    if lost := [name for name in wanted if name not in remaining]:
        where = "without " + ", ".join(sorted(without)) if without else "plan"
        raise RequestError([Problem(f"{name} and {target} cannot reach each other", where=where) for name in lost])
    next_hop: dict[str, Interface] = {}

    def walk(node: str) -> Iterator[Interface]:
        while node != target:
            if node not in next_hop:
                hops = _shortest(plan.nodes[node], remaining, without)
                next_hop[node] = min(hops, key=lambda hop: hop.peer_address)
            hop = next_hop[node]
            yield hop
            node = hop.peer_node

    return {start: tuple(walk(start)) for start in wanted}


def _shortest(node: Node, remaining: dict[str, int], without: Collection[str]) -> Iterator[Interface]:
    """The interfaces of a node on its shortest paths, given every node's remaining distance."""
    for interface in node.interfaces:
        if interface.link not in without and remaining[interface.peer_node] + interface.cost == remaining[node.name]:
            yield interface
