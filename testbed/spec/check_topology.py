"""What a well-formed topology may still get wrong, all of it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import networkx as nx

from testbed.errors import Problem
from testbed.spec.document import Document, Finding
from testbed.spec.limits import MAX_DELAY, MAX_LOSS, MAX_MULTICAST_INTERFACES, MAX_RATE, MIN_RATE
from testbed.spec.names import (
    generated_hosts,
    interface_name,
    link_names,
    longest_router_name,
    router_interfaces,
)
from testbed.spec.suggest import did_you_mean
from testbed.spec.topology import Controller, Link, LinkDefaults, Repository, Site, Topology
from testbed.units import format_duration, format_rate


def check_topology(topology: Topology) -> list[Problem]:
    """Every problem of a topology that no file stands behind."""
    return Document(None).problems(topology_findings(topology))


def topology_findings(topology: Topology, *, whole: bool = True) -> list[Finding]:
    """Every problem. `whole` False: parts were unreadable, so ask nothing that depends on all of it."""
    found = [
        *_link_values(topology),
        *_link_ends(topology),
        *_link_names(topology),
        *_nodes(topology),
        *_interfaces(topology),
    ]
    if whole:
        found += [*_population(topology), *_reach(topology)]
    return found


def routers(topology: Topology) -> list[str]:
    """Nodes that become routers: all but controllers."""
    return [name for name, node in topology.nodes.items() if not isinstance(node, Controller)]


def core_graph(topology: Topology) -> nx.MultiGraph[str]:
    """Routers and links, keyed by link name; edge data `link` (a Link) and `cost`."""
    graph: nx.MultiGraph[str] = nx.MultiGraph()
    known = routers(topology)
    graph.add_nodes_from(known)
    for link, name in zip(topology.links, link_names(topology), strict=True):
        if link.a in graph and link.b in graph and link.a != link.b:
            cost = link.cost if link.cost is not None else topology.defaults.link.cost
            graph.add_edge(link.a, link.b, key=name, link=link, cost=cost)
    return graph


def _link_values(topology: Topology) -> Iterator[Finding]:
    defaults = topology.defaults.link
    inherited = any(link.delay is None and link.jitter is None for link in topology.links)
    yield from _impairments(defaults, defaults, ("defaults", "link"), "by default a link", inherited)
    for index, (link, name) in enumerate(zip(topology.links, link_names(topology), strict=True)):
        yield from _impairments(link, defaults, ("links", index), f"link {name}")


def _impairments(
    link: Link | LinkDefaults, defaults: LinkDefaults, at: tuple[str | int, ...], who: str, inherited: bool = False
) -> Iterator[Finding]:
    """Only values that are written at `at` are its fault; what it inherits is reported once, at the defaults,
    and only where a link has `inherited` delay and jitter together."""
    if link.rate is not None and link.rate < MIN_RATE:
        what = f"{who} has a rate of {format_rate(link.rate)}; the least is {format_rate(MIN_RATE)}"
        yield Finding((*at, "rate"), what, "a number without a unit is bits per second; write for example 500Mbit")
    if link.rate is not None and link.rate > MAX_RATE:
        what = f"{who} has a rate of {format_rate(link.rate)}; the most is {format_rate(MAX_RATE)}"
        yield Finding((*at, "rate"), what, "scale the rate and the model down together")
    if link.delay is not None and link.delay > MAX_DELAY:
        what = f"{who} has a delay of {format_duration(link.delay)}; the most is {format_duration(MAX_DELAY)}"
        yield Finding((*at, "delay"), what, "a number without a unit is seconds; write for example 5ms")
    if link.loss is not None and link.loss > MAX_LOSS:
        what = f"{who} loses {link.loss:.4g} of its packets; no routing adjacency survives more than {MAX_LOSS:g}"
        yield Finding((*at, "loss"), what, "write 0.1% or 0.001; to break a link, use a fault on the timeline")
    delay = link.delay if link.delay is not None else defaults.delay
    jitter = link.jitter if link.jitter is not None else defaults.jitter
    if jitter > delay and (inherited if link is defaults else link.delay is not None or link.jitter is not None):
        place = "jitter" if link.jitter is not None else "delay"
        what = f"{who} has a jitter of {format_duration(jitter)} on a delay of {format_duration(delay)}"
        yield Finding((*at, place), what, "jitter varies the delay both ways, so it cannot exceed it")
    if link.loss_burst is not None and 0 < link.loss_burst < 1:
        what = f"{who} loses {link.loss_burst:g} packets in a row in the mean"
        yield Finding((*at, "loss_burst"), what, "write 1 or more; 0 for losses that know nothing of each other")
    if link.reorder and not delay:
        what = f"{who} reorders packets and has no delay"
        yield Finding((*at, "reorder"), what, "a packet overtakes those that are delayed: give the link a delay")
    mtu = link.mtu if link.mtu is not None else defaults.mtu
    if link.queue is not None and link.queue < mtu:
        what = f"{who} has a queue of {link.queue} bytes, less than one packet of its MTU {mtu}"
        yield Finding((*at, "queue"), what, "leave queue out to have it sized from rate, delay and MTU")


def _link_ends(topology: Topology) -> Iterator[Finding]:
    known = routers(topology)
    for index, (link, name) in enumerate(zip(topology.links, link_names(topology), strict=True)):
        at = ("links", index)
        for key, end in (("a", link.a), ("b", link.b)):
            if isinstance(topology.nodes.get(end), Controller):
                what = f"link {name} leads to {end}, which is a controller"
                yield Finding((*at, key), what, f"links join routers; nodes.{end}.at says where a controller hangs")
            elif end not in topology.nodes:
                what = f"link {name} leads to {end}, and there is no such node"
                yield Finding((*at, key), what, did_you_mean(end, known, "nodes"))
        if link.a == link.b:
            yield Finding(at, f"link {name} joins {link.a} to itself", "a link needs two different ends")


def _link_names(topology: Topology) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, (link, name) in enumerate(zip(topology.links, link_names(topology), strict=True)):
        at = ("links", index) if link.name is None else ("links", index, "name")
        if not name or any(c.isspace() or not c.isprintable() for c in name):
            yield Finding(at, f"{name!r} is no name for a link", "use visible characters without spaces")
        elif name in first:
            what = f"link name {name} is taken by links[{first[name]}]"
            yield Finding(at, what, "give one of them another name")
        first.setdefault(name, index)


def _nodes(topology: Topology) -> Iterator[Finding]:
    hosts = generated_hosts(topology)
    for name, node in topology.nodes.items():
        if name in hosts:
            what = f"{name} is also the name of a host behind {hosts[name]}"
            hint = "every repository x has a host x-src, every site x has x-st and servers x-g1, x-g2, ...: rename one"
            yield Finding(("nodes", name), what, hint)
        if isinstance(node, Controller) and node.at not in routers(topology):
            role = "a controller" if node.at in topology.nodes else "no node of this topology"
            what = f"controller {name} is at {node.at}, which is {role}"
            yield Finding(("nodes", name, "at"), what, did_you_mean(node.at, routers(topology), "routers"))
    if topology.rp is not None and topology.rp not in routers(topology):
        role = "a controller" if topology.rp in topology.nodes else "no node of this topology"
        what = f"the rendezvous point {topology.rp} is {role}"
        yield Finding(("rp",), what, did_you_mean(topology.rp, routers(topology), "routers"))


def _interfaces(topology: Topology) -> Iterator[Finding]:
    for router, count in router_interfaces(topology).items():
        longest = longest_router_name(count)
        if len(router) > longest:
            last = interface_name(router, max(count - 1, 0))
            what = f"{router} is too long a name: its interface {last} has {len(last)} characters, Linux allows 15"
            hint = f"with {count} interface{'s' * (count != 1)} a router's name has at most {longest} characters"
            yield Finding(("nodes", router), what, hint)
        if count > MAX_MULTICAST_INTERFACES:
            what = f"{router} has {count} multicast interfaces (links, hosts, controllers)"
            limit = f"Linux forwards multicast on {MAX_MULTICAST_INTERFACES} at most (MAXVIFS less PIM's own)"
            yield Finding(("nodes", router), what, f"{limit}: spread them over two routers")


def _population(topology: Topology) -> Iterator[Finding]:
    kinds = Counter(type(node) for node in topology.nodes.values())
    if kinds[Repository] != 1:
        named = [n for n, node in topology.nodes.items() if isinstance(node, Repository)]
        what = f"there are {len(named)} repositories ({', '.join(named)})" if named else "there is no repository"
        hint = "exactly one node has kind: repository; it is where models come from"
        yield Finding(("nodes", named[1]) if named else ("nodes",), what, hint)
    if not kinds[Site]:
        yield Finding(("nodes",), "there is no site", "give at least one node kind: site; models go there")


def _reach(topology: Topology) -> Iterator[Finding]:
    graph = core_graph(topology)
    sources = [n for n, node in topology.nodes.items() if isinstance(node, Repository)]
    if len(sources) != 1:
        return
    reached = nx.node_connected_component(graph, sources[0])
    for island in nx.connected_components(graph):
        if island & reached:
            continue
        names = [n for n in topology.nodes if n in island]
        sites = [n for n in names if isinstance(topology.nodes[n], Site)]
        what = f"{', '.join(names)} cannot reach the repository {sources[0]}"
        if sites and len(names) > 1:
            what += f" (site{'s' * (len(sites) > 1)} {', '.join(sites)})"
        yield Finding(("nodes", (sites or names)[0]), what, "add a link from there towards the repository")
