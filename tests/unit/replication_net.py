"""A network of replication agents' pure parts in memory: what they would tell their forwarders goes to `sim`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

import networkx as nx
from forwarder_sim import Router, Sim, carry, delivered, frame, port_mac

from testbed.control.bift import Hop, NextHops
from testbed.control.ledger import Ledger
from testbed.control.membership import Member
from testbed.control.node_sids import NodeSids
from testbed.control.program import Place, Program
from testbed.control.replication import Held
from testbed.control.replication_config import KERNEL_NEXTHOP, OVERLAY_IN, Link, ReplicationConfig, Srv6
from testbed.control.replication_rows import ReplicationRows
from testbed.control.sr_nodes import SrNode
from testbed.packet import Ethertype, IPv4, Protocol, Udp, multicast_mac
from testbed.plan.srv6 import KERNEL_MAC, KERNEL_PORT, locator, source

SOURCE, GROUP = IPv4Address("10.64.0.2"), IPv4Address("232.3.0.1")

# RFC 9524 appendix A, figure 1.
EDGES = ((1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (4, 7), (5, 7), (6, 7))


def loopback(number: int) -> IPv4Address:
    return IPv4Address(f"10.255.0.{number}")


def link_address(number: int, other: int) -> IPv4Address:
    """Of a router on its link to another."""
    return IPv4Address(f"10.0.{min(number, other)}{max(number, other)}.{number}")


def config(number: int, edges: Iterable[tuple[int, int]] = EDGES, **values: Any) -> ReplicationConfig:
    others = sorted({a + b - number for a, b in edges if number in (a, b)})
    links = tuple(
        Link(f"to-R{o}", str(link_address(number, o)), str(link_address(o, number)), str(loopback(o))) for o in others
    )
    if values.pop("dataplane", "") == "srv6":
        values["srv6"] = Srv6(str(locator(number)), str(source(number)), KERNEL_PORT, KERNEL_MAC)
    fixed = {"loopback": str(loopback(number)), "number": number, "links": links, "lans": ("host",)}
    return ReplicationConfig(**{**fixed, "forwarder": "", "events": "", "state": "", **values})


def nodes(numbers: Iterable[int], *, srv6: bool = False) -> dict[IPv4Address, SrNode]:
    """What everybody knows of everybody."""
    found = {}
    for number in numbers:
        found[loopback(number)] = SrNode(locator=locator(number)) if srv6 else SrNode(number)
    return found


class Agent:
    """One router's, without its sockets. `lines` are all that it has told until now."""

    def __init__(self, made: ReplicationConfig, known: Mapping[IPv4Address, SrNode]) -> None:
        self.config = made
        self.held = Held()
        self.known = dict(known)
        self.nexthops, self.ledger = NextHops(), Ledger()
        numbers = {
            IPv4Address(link.address): self.nexthops.number(Hop(link.name, IPv4Address(link.peer)))
            for link in made.links
        }
        for link in made.links:
            self.ledger.put(f"port {link.name}", "transport")
        self.ledger.put("port host", f"context {OVERLAY_IN}")
        if made.srv6 is not None:
            self.ledger.put(f"port {KERNEL_PORT}", "")
            self.ledger.put(f"nexthop {KERNEL_NEXTHOP}", f"port {KERNEL_PORT} mac {KERNEL_MAC}")
            self.ledger.put("node", f"source {source(made.number)} fib {KERNEL_NEXTHOP}")
        self.sids = None if made.srv6 else NodeSids(made, self.nexthops, self.ledger)
        self.rows = ReplicationRows(made, numbers, self.ledger)
        self.rows.set_nodes(known)
        if self.sids:
            self.sids.set_nodes(known)

    @property
    def place(self) -> Place:
        neighbours = {IPv4Address(link.address): IPv4Address(link.neighbour) for link in self.config.links}
        return Place(self.config.router, neighbours, self.known.keys(), paths=self.config.srv6 is None)

    def program(self, **request: Any) -> None:
        """Raises Refused."""
        self.held = Program.read(request).carried_out(self.held, self.place)
        self.rows.set_held(self.held)

    def set_members(self, members: set[Member]) -> None:
        self.rows.set_members(members)

    def set_route(self, number: int, others: Iterable[int]) -> None:
        """The router's next hops on the way to a router."""
        if self.sids:
            here = self.config.number
            hops = tuple(sorted(Hop(f"to-R{o}", link_address(o, here)) for o in others))
            self.sids.set_route(loopback(number), hops)

    def changes(self) -> list[str]:
        return [*self.nexthops.changes(), *self.ledger.changes()]


class Net:
    """Agents and their forwarders, an agent's routes being shortest paths."""

    def __init__(self, sim: Sim, edges: Iterable[tuple[int, int]] = EDGES) -> None:
        self.graph = nx.Graph(edges)
        known = nodes(self.graph)
        self.agents = {number: Agent(config(number, self.graph.edges), known) for number in self.graph}
        self.routers = {number: Router(sim, f"R{number}") for number in self.graph}
        self.converge()
        for number, agent in self.agents.items():
            self.routers[number].load(*agent.changes())
            self.neighbours(number)

    def neighbours(self, number: int) -> None:
        for place, link in enumerate(self.agents[number].config.links, start=1):
            self.routers[number].neighbour(place, port_mac(link.name.removeprefix("to-"), f"to-R{number}"))

    def converge(self) -> None:
        """The IGP's work."""
        for number, agent in self.agents.items():
            for other in self.graph:
                if other != number:
                    agent.set_route(other, self.next_hops(number, other))

    def next_hops(self, number: int, other: int) -> set[int]:
        if not nx.has_path(self.graph, number, other):
            return set()
        return {path[1] for path in nx.all_shortest_paths(self.graph, number, other)}

    def tell(self) -> None:
        """What is new, to all forwarders."""
        for number, agent in self.agents.items():
            if lines := agent.changes():
                assert self.routers[number].change("update", lines) == []

    def send(self, root: int) -> dict[int, int]:
        """A packet of the flow from the root's host: how often each router handed it to its own."""
        udp = Udp(5000, 5001).encode(b"data", SOURCE, GROUP)
        packet = IPv4(SOURCE, GROUP, Protocol.UDP, ttl=32).encode(udp)
        receive = {f"R{number}": router.receive for number, router in self.routers.items()}
        hops = carry(receive, f"R{root}", "host", frame(multicast_mac(GROUP), Ethertype.IPV4, packet))
        return {int(name[1:]): count for name, count in delivered(hops).items()}

    def tables(self) -> dict[int, set[str]]:
        return {number: set(router.tables()) for number, router in self.routers.items()}
