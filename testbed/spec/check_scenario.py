"""What a well-formed scenario may still get wrong: against its topology, against itself, against what exists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import networkx as nx

from testbed.errors import Problem
from testbed.spec.check_faults import fault_findings
from testbed.spec.check_topology import core_graph
from testbed.spec.document import Document, Finding, Path
from testbed.spec.expand import names_of, sites_of
from testbed.spec.faults import FaultKind
from testbed.spec.limits import (
    ENCAPSULATION_ROOM,
    MAX_SYNCS,
    MAX_TIME,
    MIN_PROBE_INTERVAL,
    PROBE_OVERHEAD,
    TRANSPORT_OVERHEAD,
)
from testbed.spec.names import link_aliases, link_names
from testbed.spec.scenario import Scenario
from testbed.spec.suggest import did_you_mean
from testbed.spec.topology import Repository, Site, Topology
from testbed.units import format_duration, format_rate


@dataclass(frozen=True)
class Known:
    """The names that exist on the floors above: schemes, transports, fault actions.

    `actions` None: they are not asked about. `carries`: by scheme, the transports that it can carry; a scheme that is
    not in it carries all.
    """

    schemes: Collection[str]
    transports: Collection[str]
    actions: Mapping[str, FaultKind] | None = None
    carries: Mapping[str, Collection[str]] = field(default_factory=dict)


def check_scenario(
    scenario: Scenario,
    *,
    schemes: Collection[str],
    transports: Collection[str],
    actions: Mapping[str, FaultKind] | None = None,
) -> list[Problem]:
    """Every problem of a scenario that no file stands behind. `load_scenario(known=...)` finds the same, with lines."""
    return Document(None).problems(scenario_findings(scenario, Known(schemes, transports, actions)))


def scenario_findings(scenario: Scenario, known: Known | None, *, topology: bool = True) -> list[Finding]:
    """Every problem. `known` None: names from the floors above are not asked about. `topology` False: it is
    in error itself, so nothing is asked that depends on it."""
    found = [*_names(scenario, known), *_syncs(scenario), *_how_many(scenario), *_times(scenario), *_probe(scenario)]
    found += fault_findings(scenario, known.actions if known else None, topology=topology)
    found += _background(scenario)
    if topology:
        found += [*_destinations(scenario), *_packets(scenario), *_rate(scenario), *_captures(scenario)]
    return found


def _background(scenario: Scenario) -> Iterator[Finding]:
    asked = scenario.background
    if asked is None:
        return
    if asked.watched > asked.flows:
        what = f"{asked.watched} of {asked.flows} background flows cannot be watched"
        yield Finding(("background", "watched"), what, f"watch {asked.flows} at most")
    if asked.watched and scenario.probe.interval == 0:
        what = "background flows are watched by probes, and the scenario has none"
        yield Finding(("background", "watched"), what, "give probe an interval, or say watched: 0")


def _captures(scenario: Scenario) -> Iterator[Finding]:
    links = link_aliases(scenario.topology)
    for index, name in enumerate(scenario.capture):
        if name not in links:
            yield Finding(("capture", index), f"there is no link {name!r}", did_you_mean(name, links, "links"))


def ideal_tree(topology: Topology, sites: Collection[str]) -> tuple[str, ...]:
    """Names of the links on the shortest paths (by IGP cost) from `sites` to the repository, in topology order.

    Of equal costs a router takes the link that comes first in the topology: the plan numbers links in that order, so
    that this is the lowest next hop, as in the plan's own trees. Unreachable sites are left out; () without a
    repository."""
    source = next((n for n, node in topology.nodes.items() if isinstance(node, Repository)), None)
    if source is None:
        return ()
    graph = core_graph(topology)
    remaining = nx.single_source_dijkstra_path_length(graph, source, weight="cost")
    order = {name: index for index, name in enumerate(link_names(topology))}
    used: dict[str, str] = {}  # by the router that the link leads on from, towards the repository
    for node in sites:
        while node in remaining and node != source and node not in used:
            shortest = [
                (name, peer)
                for _, peer, name in graph.edges(node, keys=True)
                if remaining[peer] + graph.edges[node, peer, name]["cost"] == remaining[node]
            ]
            used[node], node = min(shortest, key=lambda hop: order[hop[0]])
    return tuple(sorted(set(used.values()), key=order.__getitem__))


def _unknown(path: Path, what: str, name: str, known: Collection[str]) -> Iterator[Finding]:
    if name not in known:
        yield Finding(path, f"there is no {what} {name!r}", did_you_mean(name, sorted(known), f"{what}s"))


def _uncarried(scenario: Scenario, transport: str, known: Known) -> Iterator[Finding]:
    if transport not in known.transports:
        return
    for scheme in dict.fromkeys(scheme.name for scheme in scenario.schemes):
        carried = known.carries.get(scheme, known.transports)
        if transport not in carried:
            what = f"scheme {scheme} cannot carry transport {transport}"
            hint = f"it carries {', '.join(sorted(carried))}; leave the name out, and every scheme takes its own"
            yield Finding(("transport", "name"), what, hint)


def _names(scenario: Scenario, known: Known | None) -> Iterator[Finding]:
    if known is not None:
        for index, scheme in enumerate(scenario.schemes):
            yield from _unknown(("schemes", index), "scheme", scheme.name, known.schemes)
        if scenario.transport.name is not None:
            yield from _unknown(("transport", "name"), "transport", scenario.transport.name, known.transports)
            yield from _uncarried(scenario, scenario.transport.name, known)
    seen: set[str] = set()
    for index, scheme in enumerate(scenario.schemes):
        if str(scheme) in seen:
            yield Finding(("schemes", index), f"scheme {scheme} is listed twice", "use repetitions to run it again")
        seen.add(str(scheme))


def _syncs(scenario: Scenario) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, sync in enumerate(scenario.syncs):
        at = ("syncs", index)
        for name in names_of(sync)[:MAX_SYNCS]:
            if name in first:
                what = f"sync name {name} is taken by syncs[{first[name]}]"
                yield Finding((*at, "name"), what, "give each sync its own name")
            first.setdefault(name, index)
        if not sync.to:
            yield Finding((*at, "to"), f"sync {sync.name} goes to no site", "write to: all, or name sites")
        for place, site in enumerate(sync.to if sync.to != "all" else ()):
            if site in sync.to[:place]:
                yield Finding((*at, "to", place), f"sync {sync.name} names {site} twice", "keep one of them")


def _how_many(scenario: Scenario) -> Iterator[Finding]:
    total = 0
    for index, sync in enumerate(scenario.syncs):
        total += sync.count
        if total > MAX_SYNCS >= total - sync.count:
            what = f"with sync {sync.name} there are more than {MAX_SYNCS} syncs"
            hint = "each has processes of its own at every site; flows without a model are background"
            yield Finding(("syncs", index, "count"), what, hint)


def _destinations(scenario: Scenario) -> Iterator[Finding]:
    nodes = scenario.topology.nodes
    known = [name for name, node in nodes.items() if isinstance(node, Site)]
    for index, sync in enumerate(scenario.syncs):
        for place, name in enumerate(sync.to if sync.to != "all" else ()):
            if name not in known:
                at = ("syncs", index, "to", place)
                what = f"sync {sync.name} goes to {name}, which is no site of topology {scenario.topology.name}"
                if name in nodes:
                    what = f"sync {sync.name} goes to {name}, which is a {nodes[name].kind}, no site"
                yield Finding(at, what, did_you_mean(name, known, "sites"))
        if sync.draw is not None and sync.draw > len(sites_of(scenario.topology, sync)):
            what = f"sync {sync.name} draws {sync.draw} of {len(sites_of(scenario.topology, sync))} sites"
            yield Finding(("syncs", index, "draw"), what, "draw fewer, or name more sites in to")
        if sync.deliver_to == "servers":
            sites = {name: nodes.get(name) for name in sites_of(scenario.topology, sync)}
            bare = [name for name, site in sites.items() if isinstance(site, Site) and not site.servers]
            if bare:
                have = "has" if len(bare) == 1 else "have"
                what = f"sync {sync.name} delivers to servers, and {', '.join(bare)} {have} none"
                hint = "set servers: N at these sites in the topology, or deliver_to: storage"
                yield Finding(("syncs", index, "deliver_to"), what, hint)


def _times(scenario: Scenario) -> Iterator[Finding]:
    times: list[tuple[Path, float | None]] = [
        (("transport", "patience"), scenario.transport.patience),
        (("probe", "settle"), scenario.probe.settle),
        (("probe", "interval"), scenario.probe.interval),
    ]
    times += [(("syncs", i, "start"), sync.start) for i, sync in enumerate(scenario.syncs)]
    for index, sync in enumerate(scenario.syncs):
        if sync.count > 1:
            times.append((("syncs", index, "every"), sync.start + sync.every * (sync.count - 1)))
    for path, seconds in times:
        if seconds is not None and not seconds <= MAX_TIME:
            what = f"{seconds:.15g} s is too long; {MAX_TIME / 3600:g} h is the most"
            yield Finding(path, what, "a number without a unit is seconds")


def _mtu(topology: Topology) -> tuple[int, str]:
    """The smallest MTU and the link that has it."""
    default = topology.defaults.link.mtu
    mtus = [link.mtu if link.mtu is not None else default for link in topology.links]
    return min(zip(mtus, link_names(topology), strict=True), key=lambda item: item[0], default=(default, "(none)"))


def _packets(scenario: Scenario) -> Iterator[Finding]:
    mtu, link = _mtu(scenario.topology)
    most = mtu - TRANSPORT_OVERHEAD - ENCAPSULATION_ROOM
    if scenario.transport.block is not None and scenario.transport.block > most:
        what = f"a block of {scenario.transport.block} bytes is too big for the MTU {mtu} of link {link}"
        room = f"{TRANSPORT_OVERHEAD} bytes of headers and {ENCAPSULATION_ROOM} for a scheme's own come on top"
        hint = f"{most} at most: {room}"
        yield Finding(("transport", "block"), what, hint)
    most = mtu - PROBE_OVERHEAD - ENCAPSULATION_ROOM
    if scenario.probe.size > most:
        what = f"a probe of {scenario.probe.size} bytes is too big for the MTU {mtu} of link {link}"
        yield Finding(("probe", "size"), what, f"{most} at most")


def _rate(scenario: Scenario) -> Iterator[Finding]:
    topology, asked = scenario.topology, scenario.transport.rate
    if asked is None:
        return
    sites = [site for sync in scenario.syncs for site in sites_of(topology, sync)]
    on_the_way = set(ideal_tree(topology, sites))
    default = topology.defaults.link.rate
    rates = [
        (rate, name)
        for link, name in zip(topology.links, link_names(topology), strict=True)
        if name in on_the_way and (rate := link.rate if link.rate is not None else default) is not None
    ]
    narrowest = min(rates, default=None)
    if narrowest is not None and asked > narrowest[0]:
        what = f"a rate of {format_rate(asked)} is above link {narrowest[1]} on the way, {format_rate(narrowest[0])}"
        hint = "lower it, or leave it out: utilisation then follows the narrowest link"
        yield Finding(("transport", "rate"), what, hint)


def _probe(scenario: Scenario) -> Iterator[Finding]:
    interval = scenario.probe.interval
    if 0 < interval < MIN_PROBE_INTERVAL:
        what = f"a probe every {format_duration(interval)} is more than this machine can time"
        hint = f"{format_duration(MIN_PROBE_INTERVAL)} is the least; 0 for no probes"
        yield Finding(("probe", "interval"), what, hint)
