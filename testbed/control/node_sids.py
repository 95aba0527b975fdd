"""SR-MPLS unicast: rows for the Node-SIDs of all routers, kept in step with the kernel's routes (RFC 8402, RFC 8660).

A Node-SID follows the IGP because its row follows the route to the router's loopback address. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from testbed.control.bift import Hop, NextHops
from testbed.control.ledger import Ledger
from testbed.control.replication_config import SRGB, ReplicationConfig, adjacency_label
from testbed.control.sr_nodes import SrNode


class NodeSids:
    """Label rows of one router, put into its ledger: its own Node-SID, its adjacency SIDs, everybody's Node-SIDs.

    Of several next hops of equal cost one is taken, another for another router: a label leads to one neighbour.
    """

    def __init__(self, config: ReplicationConfig, nexthops: NextHops, ledger: Ledger) -> None:
        self._own, self._nexthops, self._ledger = config.router, nexthops, ledger
        self._neighbours = {IPv4Address(link.peer): IPv4Address(link.neighbour) for link in config.links}
        self._nodes: dict[IPv4Address, SrNode] = {}
        self._hops: dict[IPv4Address, tuple[Hop, ...]] = {}
        ledger.put(f"label {SRGB + config.number}", "pop")
        for place, link in enumerate(config.links):
            number = nexthops.number(Hop(link.name, IPv4Address(link.peer)))
            ledger.put(f"label {adjacency_label(place)}", f"pop nexthop {number}")

    @property
    def count(self) -> int:
        """Node-SIDs of other routers that lead somewhere."""
        return sum(1 for router in self._nodes if self._hops.get(router))

    def set_nodes(self, nodes: Mapping[IPv4Address, SrNode]) -> None:
        """All routers that have Node-SIDs; this router's own is not for here."""
        gone = {router for router, node in self._nodes.items() if nodes.get(router) != node}
        changed = [router for router in nodes if nodes[router] != self._nodes.get(router)]
        for router in gone:  # indices are given up before they are taken
            self._put(router, None)
        self._nodes = {router: node for router, node in nodes.items() if router != self._own}
        for router in changed:
            self.set_route(router, self._hops.get(router, ()))

    def set_route(self, router: IPv4Address, hops: tuple[Hop, ...]) -> None:
        """The next hops of the kernel's route to a loopback address; none: there is no route."""
        self._hops[router] = hops
        node = self._nodes.get(router)
        if node is None or node.index is None:
            return
        if not hops:
            self._put(router, None)
            return
        hop = hops[node.index % len(hops)]
        last = node.php and self._neighbours.get(hop.via) == router
        operation = "pop" if last else f"swap {SRGB + node.index}"
        self._put(router, f"{operation} nexthop {self._nexthops.number(hop)}")

    def _put(self, router: IPv4Address, words: str | None) -> None:
        node = self._nodes.get(router)
        if node is not None and node.index is not None:
            self._ledger.put(f"label {SRGB + node.index}", words)
