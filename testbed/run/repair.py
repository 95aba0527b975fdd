"""When the IGP had repaired a site's path after a fault: the routes that the path needs, and when the last one came.

The definition. A site's packets depend on a *way*: a prefix, and the routers whose routes to it they follow. After a
fault there is a new shortest path along the way. The IGP has repaired it when the last router on that path has the
kernel route it needs: one over shortest paths only, and over the path's own next link among them. A router that had
such a route all along needed no repair; a path of nothing but such routers was repaired after 0 s.

Which way a scheme's packets depend on is the scheme's affair:

- PIM builds its tree from the sites towards the source, by the unicast routes to it (RPF, RFC 7761 4.5.5):
  `way_to_source`;
- what the source's side sends towards a site by the prefix of its router (BIER's BFR-prefix, RFC 8279 6.9) follows
  the routes to that: `way_to_site`;
- with SRv6 those are the IPv6 routes to the locator of the site's router (RFC 8986 3.1): `way_to_locator`;
- unicast follows the routes to the destination's own network: `way_to_host`.

Pure: a plan and the kernel monitor's events in, times out. The routes before the first event are the plan's, for a run
starts with a converged IGP. When a link goes down the kernel drops the routes over it without a word; they count as
there until they change, which is right, since they are not over shortest paths any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testbed.errors import RequestError
from testbed.plan.paths import next_hops, unicast_path
from testbed.plan.srv6 import locator
from testbed.plan.types import Interface, Plan
from testbed.record import Event


@dataclass(frozen=True, slots=True)
class Way:
    """From router `start` to router `end`, each router by its own route to `prefix`, which `end` is connected to."""

    start: str
    end: str
    prefix: str


def way_to_source(plan: Plan, host: str) -> Way:
    """The way that PIM's Joins take from a destination's edge router to the repository."""
    return Way(_edge(plan, host), plan.repository_edge, str(plan.nodes[plan.repository].interfaces[0].address.network))


def way_to_site(plan: Plan, host: str) -> Way:
    """The way that packets take from the repository's edge router to a destination's, by its loopback."""
    edge = _edge(plan, host)
    loopback = plan.nodes[edge].loopback
    assert loopback is not None  # every router has one
    return Way(plan.repository_edge, edge, str(loopback.network))


def way_to_locator(plan: Plan, host: str) -> Way:
    """The same way, by the locator of the destination's edge router."""
    edge = _edge(plan, host)
    return Way(plan.repository_edge, edge, str(locator(plan.nodes[edge].number)))


def way_to_host(plan: Plan, host: str) -> Way:
    """The way that packets take from the repository's edge router to a destination, by its own network."""
    return Way(plan.repository_edge, _edge(plan, host), str(plan.nodes[host].interfaces[0].address.network))


class Repairs:
    """Answers for one run; `ways` by destination host."""

    def __init__(self, plan: Plan, ways: Mapping[str, Way], events: Iterable[Event]) -> None:
        self._plan, self._ways = plan, ways
        self._carrier: list[Event] = []
        self._faults: list[Event] = []
        self._gaps: list[Event] = []
        self._routes: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in sorted(events, key=lambda e: e.t):
            if event.kind in ("link-down", "link-up"):
                self._carrier.append(event)
            elif event.kind in ("fault", "fault-restored"):
                self._faults.append(event)
            elif event.kind == "overrun":
                self._gaps.append(event)
            elif event.kind == "route":
                self._routes[event.node, event.detail["dst"]].append(event)

    def repaired(self, host: str, fault: float, until: float) -> float | None:
        """Seconds after `fault` (0: the path needed no repair) at which the IGP had repaired the host's path, going
        by the links that are down at `until`.

        None if that was not seen by `until`, which comes of a path that is not there any more, or of notifications
        that the monitor lost.
        """
        way = self._ways.get(host)
        if way is None:
            return None
        down = self._down(until)
        try:
            path = unicast_path(self._plan, way.start, way.end, down)
        except RequestError:
            return None
        routers = {hop.node for hop in path}
        if any(gap.node in routers and fault <= gap.t < until for gap in self._gaps):
            return None
        before, after = next_hops(self._plan, way.end), next_hops(self._plan, way.end, down)
        times = [
            self._right_since(hop, way.prefix, before.get(hop.node, frozenset()), after[hop.node], fault, until)
            for hop in path
        ]
        seen = [t for t in times if t is not None]
        return max(seen, default=fault) - fault if len(seen) == len(times) else None

    def concerned(self, host: str, until: float) -> frozenset[str] | None:
        """The routers on the host's way with the links that are down at `until`, and the nodes that are no routers (a
        controller may have its part). None where there is no way."""
        way = self._ways.get(host)
        if way is None:
            return None
        try:
            path = unicast_path(self._plan, way.start, way.end, self._down(until))
        except RequestError:
            return None
        others = (node.name for node in self._plan.nodes.values() if not node.role.is_router)
        return frozenset([way.start, *(hop.node for hop in path), way.end, *others])

    def _right_since(
        self, hop: Interface, prefix: str, before: frozenset[str], shortest: frozenset[str], fault: float, until: float
    ) -> float | None:
        """From when on, up to `until`, the router's route led over `hop` and shortest paths only; None: it does not."""
        since = fault if hop.name in before <= shortest else None
        for event in self._routes[hop.node, prefix]:
            if event.t >= until:
                break
            names = frozenset(event.detail["ifname"].split(",")) if event.detail["op"] == "add" else frozenset()
            if not (hop.name in names <= shortest):
                since = None
            elif since is None:
                since = max(fault, event.t)
        return since

    def _down(self, until: float) -> frozenset[str]:
        """The links that have no carrier at a moment, at one end at least, and those that a fault keeps from use though
        they have: silent ones, and what is drained."""
        links = {(i.node, i.name): i.link for node in self._plan.nodes.values() for i in node.interfaces}
        state: dict[tuple[str, str], bool] = {}
        for event in self._carrier:
            if event.t < until:
                state[event.node, event.detail["ifname"]] = event.kind == "link-down"
        held: dict[object, list[str]] = {}  # by fault
        for event in self._faults:
            if event.t < until:
                held[event.detail.get("id")] = event.detail.get("without", [])
        return frozenset(links[end] for end, down in state.items() if down and end in links).union(*held.values())


def _edge(plan: Plan, host: str) -> str:
    return plan.nodes[host].interfaces[0].peer_node
