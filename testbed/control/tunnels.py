"""Routes as BIER takes them: where a next hop is no BFR, a tunnel to the first BFR behind it (RFC 8279 section 6.9).

A tunnel follows unicast: its first hop is a next hop of the kernel's route to its far end. Which BFR that end is, the
BIER-SPF tree says. Where tree and kernel do not agree for a moment, the BFER itself is the end: the RFC's simpler
variant. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from testbed.control.bfrs import Bfr
from testbed.control.bift import Hop
from testbed.control.lsdb import Change
from testbed.control.spf import Branches, Graph
from testbed.packet.ospf_lsa import Lsa

QUIET = 0.3  # seconds without news of BFRs: while a domain starts, most of those that are none are about to be

Hops = tuple[Hop, ...]


class Tunnels:
    """Between a router's routes and its BIFTs: `set_route`, `set_bfrs` and `update` take what is heard, `changes()`
    gives the next hops that may be others than before.

    Where all next hops are BFRs, it passes routes on as they are, and looks at no LSA.
    """

    def __init__(self, router: IPv4Address) -> None:
        self._router = router
        self._graph = Graph()
        self._routes: dict[IPv4Address, Hops] = {}
        self._near: Mapping[IPv4Address, int] = {}
        self._routers: dict[IPv4Address, IPv4Address] = {}  # of the BFRs, by BFR-prefix
        self._prefixes: dict[IPv4Address, IPv4Address] = {}  # and the other way round
        self._branches: Branches | None = None  # None: not known at present
        self._around: set[IPv4Address] = set()  # BFR-prefixes behind a next hop that is no BFR
        self._changed: set[IPv4Address] = set()
        self.due: float | None = None
        """When to ask for `changes()` though nothing has happened."""

    @property
    def in_use(self) -> bool:
        """Whether there is a prefix behind a next hop that is no BFR, as of the last `changes()`."""
        return bool(self._around)

    def set_route(self, prefix: IPv4Address, hops: Iterable[Hop]) -> None:
        """The next hops of the kernel's route to a prefix; none: there is no route."""
        self._routes[prefix] = tuple(hops)
        self._changed.add(prefix)

    def set_bfrs(self, bfrs: Iterable[Bfr], near: Mapping[IPv4Address, int], t: float) -> None:
        """All BFRs, and the addresses that are theirs. `t`: CLOCK_MONOTONIC."""
        prefixes = {bfr.router: bfr.prefix for bfr in bfrs}
        if near.keys() == self._near.keys() and prefixes == self._prefixes:
            return
        at_once = not self._near or not self._near.keys() <= near.keys()  # at first, or somebody is none any more
        self._near, self._prefixes = near, prefixes
        self._routers = {prefix: router for router, prefix in prefixes.items()}
        self._branches = None
        self.due = t if at_once else t + QUIET

    def update(self, change: Change, lsa: Lsa) -> bool:
        """An LSA that came; whether it may matter."""
        if not self._graph.update(change, lsa):
            return False
        self._branches = None
        self._changed |= self._around
        return bool(self._around)

    def changes(self, t: float) -> Iterable[tuple[IPv4Address, Hops]]:
        """Prefixes and what leads to them now. `t`: CLOCK_MONOTONIC."""
        if self.due is not None and t >= self.due:
            self.due = None
            self._changed.update(self._routes)
        if not self._changed:
            return []
        around = {prefix for prefix in self._changed if self._needs_tunnel(prefix)}
        self._around = self._around - self._changed | around
        wanted = self._changed | self._around  # a tunnel depends on the route to its end, too
        self._changed = set()
        return [(prefix, self._hops(prefix)) for prefix in wanted]

    def _needs_tunnel(self, prefix: IPv4Address) -> bool:
        return prefix in self._routers and any(hop.via not in self._near for hop in self._routes[prefix])

    def _hops(self, prefix: IPv4Address) -> Hops:
        hops = self._routes[prefix]
        if prefix not in self._around:
            return hops
        return tuple(hop if hop.via in self._near else self._tunnel(hop, prefix) for hop in hops)

    def _tunnel(self, hop: Hop, prefix: IPv4Address) -> Hop:
        """Through `hop`, to the first BFR on the way to the one with this prefix."""
        if self._branches is None:
            self._branches = self._graph.branches(self._router, self._prefixes)
        first = self._graph.owner(hop.via)
        end = self._branches.get(first, {}).get(self._routers[prefix]) if first else None
        far = self._prefixes[end] if end else prefix
        return replace(hop, tunnel=far if hop in self._routes.get(far, ()) else prefix)
