"""Random networks of cores: what BIER and Replication segments promise holds on every one of them.

Routes come from a Dijkstra of this file; that packets take shortest paths is judged by Floyd and Warshall, that copies
are the right ones by RFC 8279 section 6.1, which says otherwise what the core does by section 6.5.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_sim import (
    Hop,
    Receive,
    Router,
    Sent,
    Sim,
    carry,
    delivered,
    frame,
    links,
    nexthop,
    payload,
    port_mac,
    running,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import (
    Bier,
    Encapsulation,
    Ethernet,
    Ethertype,
    IPv4,
    IPv6,
    decode_stack,
    multicast_mac,
    udp_packet,
)

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
TTL = 64


def repeatable(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


# -- graphs and routes -------------------------------------------------------------------------------------------------

Costs = dict[tuple[int, int], int]  # a directed edge: both ways of a link exist, their costs may differ
Routes = dict[int, dict[int, list[int]]]  # node, destination: every next hop on a shortest path, ascending


@st.composite
def graphs(draw: st.DrawFn, most: int = 8) -> Costs:
    """Connected, of 2 to `most` nodes."""
    count = draw(st.integers(2, most))
    pairs = {(draw(st.integers(0, node - 1)), node) for node in range(1, count)}
    for _ in range(draw(st.integers(0, count))):
        a, b = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        if a != b:
            pairs.add((min(a, b), max(a, b)))
    cost = st.integers(1, 4)
    symmetric = draw(st.booleans())
    costs = {}
    for a, b in sorted(pairs):
        costs[a, b] = draw(cost)
        costs[b, a] = costs[a, b] if symmetric else draw(cost)
    return costs


def nodes(costs: Costs) -> list[int]:
    return sorted({node for edge in costs for node in edge})


def neighbours(costs: Costs, node: int) -> list[int]:
    return sorted(b for a, b in costs if a == node)


def dijkstra(costs: Costs, every: Iterable[int]) -> Routes:
    """From each destination backwards; nodes that cannot reach it are left out."""
    every = list(every)
    routes: Routes = {node: {} for node in every}
    for destination in every:
        distance = {destination: 0}
        queue = [(0, destination)]
        while queue:
            far, node = heapq.heappop(queue)
            if far > distance[node]:
                continue
            for (a, b), cost in costs.items():
                if b == node and far + cost < distance.get(a, 1 << 30):
                    distance[a] = far + cost
                    heapq.heappush(queue, (far + cost, a))
        for node in every:
            if node != destination and node in distance:
                routes[node][destination] = sorted(
                    b
                    for (a, b), cost in costs.items()
                    if a == node and b in distance and cost + distance[b] == distance[node]
                )
    return routes


def floyd_warshall(costs: Costs) -> dict[tuple[int, int], int]:
    every = nodes(costs)
    distance = {(a, b): 0 if a == b else costs.get((a, b), 1 << 30) for a in every for b in every}
    for k in every:
        for a in every:
            for b in every:
                distance[a, b] = min(distance[a, b], distance[a, k] + distance[k, b])
    return distance


def name(node: int) -> str:
    return f"n{node}"


def number(router: str) -> int:
    return int(router[1:])


# -- BIER --------------------------------------------------------------------------------------------------------------


@dataclass
class Domain:
    """A BIER sub-domain: its graph, and who has which bit of the one set in use."""

    costs: Costs
    bits: dict[int, int]  # node: its bit, from 1
    bsl: int
    encap: str
    si: int

    @property
    def ethertype(self) -> int:
        return Ethertype.MPLS if self.encap == "mpls" else Ethertype.BIER

    def bift_id(self, node: int) -> int:
        return 1000 + node if self.encap == "mpls" else 77

    def value(self, members: Iterable[int]) -> int:
        return sum(1 << self.bits[node] - 1 for node in members)

    def members(self, value: int) -> set[int]:
        return {node for node, bit in self.bits.items() if value >> bit - 1 & 1}

    def read(self, data: bytes) -> Bier:
        encapsulation = Encapsulation.MPLS if self.encap == "mpls" else Encapsulation.NON_MPLS
        return Bier.decode(payload(data, self.ethertype), self.bsl, encapsulation)[0]


@st.composite
def domains(draw: st.DrawFn, most: int = 8) -> Domain:
    costs = draw(graphs(most))
    bsl = draw(st.sampled_from([64, 128, 256]))
    members = draw(st.lists(st.sampled_from(nodes(costs)), min_size=1, unique=True))
    positions = draw(st.lists(st.integers(1, bsl), min_size=len(members), max_size=len(members), unique=True))
    encap = draw(st.sampled_from(["ethernet", "mpls"]))
    return Domain(costs, dict(zip(members, positions, strict=True)), bsl, encap, draw(st.sampled_from([0, 1, 15])))


def bift(domain: Domain, node: int, routes: dict[int, list[int]], ecmp: str) -> list[str]:
    """The rows of a node's BIFT. `ecmp`: one path each, alternatives (RFC 8279 6.7.1), or ways (6.7.2)."""
    own = domain.bift_id(node)
    ways = 3 if ecmp == "ways" else 1
    rows = []
    for way in range(ways):
        masks: dict[int | None, int] = defaultdict(int)
        for other, bit in domain.bits.items():
            if other == node:
                continue
            via: list[int | None] = [*routes.get(other, ())] or [None]
            for chosen in via if ecmp == "alternatives" else [via[way % len(via)]]:
                masks[chosen] |= 1 << bit - 1
        lines = [
            f"{mask:x} " + (f"nexthop {nexthop(name(to))} as {domain.bift_id(to)}" if to is not None else "drop")
            for to, mask in masks.items()
        ]
        if node in domain.bits:
            lines.append(f"{1 << domain.bits[node] - 1:x} local")
        rows += [f"path {domain.encap} {own} {way} {k} fbm {line}" for k, line in enumerate(lines)]
    bfr_id = domain.si * domain.bsl + domain.bits[node] if node in domain.bits else 60000
    return [f"bift {domain.encap} {own} si {domain.si} bsl {domain.bsl} bfr-id {bfr_id} context 2", *rows]


def configure(sim: Sim, domain: Domain, node: int, rows: list[str], to: Iterable[int], ttl: int = TTL) -> Router:
    return Router(sim, name(node)).load(
        f"node ttl {ttl}",
        *links(name(node), map(name, neighbours(domain.costs, node))),
        *("port in context 1", "port host", "flow 2 * * port host"),
        f"flow 1 * * bier {domain.encap} {domain.bift_id(node)} {domain.value(to):x}",
        *rows,
    )


def inject(routers: dict[int, Router], ingress: int, sport: int = 1) -> list[Hop]:
    data = frame(multicast_mac(G4), Ethertype.IPV4, udp_packet(A4, G4, sport, 2, b"data"))
    return carry({name(node): each.receive for node, each in routers.items()}, name(ingress), "in", data)


def edges(hops: Iterable[Hop]) -> list[tuple[int, int, bytes]]:
    return [(number(hop.router), number(hop.to), hop.frame) for hop in hops if hop.to]


def partition(domain: Domain, routes: Routes, ingress: int, to: set[int]) -> Counter[tuple[int, int, int, int]]:
    """RFC 8279 section 6.1: from, to, BitString and TTL of every copy, with the first of several next hops."""
    copies: Counter[tuple[int, int, int, int]] = Counter()
    waiting = [(ingress, frozenset(to), TTL)]
    while waiting:
        node, members, ttl = waiting.pop()
        parts = defaultdict(set)
        for member in members - {node}:
            parts[routes[node][member][0]].add(member)
        for via, part in parts.items():
            copies[node, via, domain.value(part), ttl] += 1
            waiting.append((via, frozenset(part), ttl - 1))
    return copies


def disjoint(values: Iterable[int]) -> bool:
    seen = 0
    for value in values:
        if seen & value:
            return False
        seen |= value
    return True


class TestBier:
    @repeatable(100)
    @given(domain=domains(), data=st.data())
    def test_copies_are_those_of_the_overview(self, sim: Sim, domain: Domain, data: st.DataObject) -> None:
        every = nodes(domain.costs)
        routes = dijkstra(domain.costs, every)
        to = set(data.draw(st.lists(st.sampled_from(sorted(domain.bits)), min_size=1, unique=True)))
        ingress = data.draw(st.sampled_from(every))
        routers = {node: configure(sim, domain, node, bift(domain, node, routes[node], "one"), to) for node in every}
        hops = inject(routers, ingress)
        found: Counter[tuple[int, int, int, int]] = Counter()
        for a, b, copy in edges(hops):
            header = domain.read(copy)
            found[a, b, header.bits.value, header.ttl] += 1
            assert header.bift_id == domain.bift_id(b)
            wanted = Ethernet(port_mac(name(b), f"to-{name(a)}"), port_mac(name(a), f"to-{name(b)}"), domain.ethertype)
            assert Ethernet.decode(copy)[0] == wanted
        assert found == partition(domain, routes, ingress, to)
        assert delivered(hops) == dict.fromkeys(map(name, to), 1)

    @repeatable(100)
    @given(domain=domains(), data=st.data())
    def test_whatever_the_ecmp(self, sim: Sim, domain: Domain, data: st.DataObject) -> None:
        """Each BFER once and by a shortest path, whichever kind each router does and whatever the entropy."""
        every = nodes(domain.costs)
        routes = dijkstra(domain.costs, every)
        to = set(data.draw(st.lists(st.sampled_from(sorted(domain.bits)), min_size=1, unique=True)))
        ingress = data.draw(st.sampled_from(every))
        kind = st.sampled_from(["one", "alternatives", "ways"])
        routers = {
            node: configure(sim, domain, node, bift(domain, node, routes[node], data.draw(kind)), to) for node in every
        }
        shortest = floyd_warshall(domain.costs)
        for sport in range(1, 5):
            hops = inject(routers, ingress, sport)
            assert delivered(hops) == dict.fromkeys(map(name, to), 1)
            headers = [(a, b, domain.read(copy)) for a, b, copy in edges(hops)]
            self.check_copies(domain, ingress, to, headers)
            for member in to:
                steps = [(a, b) for a, b, header in headers if member in domain.members(header.bits.value)]
                assert sum(domain.costs[step] for step in steps) == shortest[ingress, member]
            assert [(hop.router, hop.port) for hop in inject(routers, ingress, sport)] == [
                (hop.router, hop.port) for hop in hops
            ]

    def check_copies(self, domain: Domain, ingress: int, to: set[int], headers: list[tuple[int, int, Bier]]) -> None:
        """What comes in goes out or stays, nothing twice; a TTL says how far it has come."""
        into: dict[int, list[Bier]] = defaultdict(list)
        out: dict[int, list[Bier]] = defaultdict(list)
        for a, b, header in headers:
            out[a].append(header)
            into[b].append(header)
            assert a not in domain.members(header.bits.value)
        assert all(count == 1 for count in Counter((a, b, h.bits.value) for a, b, h in headers).values())
        for link in {(a, b) for a, b, _ in headers}:
            assert disjoint(header.bits.value for a, b, header in headers if (a, b) == link)
        for node in nodes(domain.costs):
            own = domain.value({node} & to)
            came = domain.value(to) if node == ingress else 0
            came += sum(header.bits.value for header in into[node])
            assert disjoint(header.bits.value for header in out[node])
            assert came == own + sum(header.bits.value for header in out[node])
            for header in out[node]:
                before = [each.ttl for each in into[node] if each.bits.value & header.bits.value]
                assert header.ttl == (before[0] - 1 if before else TTL)

    @repeatable(100)
    @given(domain=domains(), data=st.data())
    def test_never_twice_whatever_the_tables(self, sim: Sim, domain: Domain, data: st.DataObject) -> None:
        """RFC 8279 6.8: links fail, routers know of it or not yet; loops may come, duplicates do not.

        Whoever is not reached is accounted for, and a loop ends when the TTL does.
        """
        every = nodes(domain.costs)
        pairs = sorted({(min(edge), max(edge)) for edge in domain.costs})
        down = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=3))
        alive = {edge: cost for edge, cost in domain.costs.items() if (min(edge), max(edge)) not in down}
        dearer = {edge: data.draw(st.integers(1, 9)) for edge in alive}
        views = [dijkstra(costs, every) for costs in (domain.costs, alive, dearer)]
        to = set(data.draw(st.lists(st.sampled_from(sorted(domain.bits)), min_size=1, unique=True)))
        ingress, ttl = data.draw(st.sampled_from(every)), data.draw(st.integers(1, 20))
        kind = st.sampled_from(["one", "alternatives", "ways"])
        routers = {}
        for node in every:
            routes = data.draw(st.sampled_from(views))[node]
            rows = bift(domain, node, routes, data.draw(kind))
            routers[node] = configure(sim, domain, node, rows, to, ttl)
        for a, b in down:
            for here, there in ((a, b), (b, a)):
                port = f"to-{name(there)}"
                routers[here].interface(port, port_mac(name(here), port), state="down")
        before = sum(sum(each.state()["drops"].values()) for each in routers.values())
        hops = inject(routers, ingress)
        dropped = sum(sum(each.state()["drops"].values()) for each in routers.values()) - before
        reached = delivered(hops)
        assert set(reached) <= set(map(name, to))
        assert not reached or max(reached.values()) == 1
        assert bool(dropped) == (set(reached) != set(map(name, to)))
        headers = [domain.read(copy) for _, _, copy in edges(hops)]
        assert len(headers) <= len(to) * ttl
        for wave in range(1, ttl + 1):
            assert disjoint(header.bits.value for header in headers if header.ttl == wave)

    def test_a_loop_of_two(self, sim: Sim) -> None:
        """The smallest: each believes that the way is through the other. It bounces until its TTL ends."""
        costs = {(0, 1): 1, (1, 0): 1, (1, 2): 1, (2, 1): 1}
        domain = Domain(costs, {2: 5}, 64, "mpls", 0)
        stale = {0: {2: [1]}, 1: {2: [0]}, 2: {}}
        routers = {n: configure(sim, domain, n, bift(domain, n, stale[n], "one"), {2}, 10) for n in range(3)}
        before = routers[0].state()["drops"].get("bier-ttl", 0), routers[1].state()["drops"].get("bier-ttl", 0)
        hops = inject(routers, 0)
        assert [domain.read(copy).ttl for _, _, copy in edges(hops)] == list(range(10, 0, -1))
        assert not delivered(hops)
        after = routers[0].state()["drops"].get("bier-ttl", 0), routers[1].state()["drops"].get("bier-ttl", 0)
        assert sum(after) == sum(before) + 1


# -- Replication segments ----------------------------------------------------------------------------------------------


@dataclass
class Tree:
    """A P2MP tree: which nodes replicate to which, and who are the leaves."""

    root: int
    leaves: set[int]
    downstream: dict[int, list[int]]  # of every node with a segment; the one downstream may be many hops away

    def role(self, node: int) -> str:
        if node == self.root:
            return "head"
        if node not in self.leaves:
            return "transit"
        return "bud context 2" if self.downstream[node] else "leaf context 2"

    def depth(self, node: int) -> int:
        """Replications above a node, the head's not counted."""
        if node in self.downstream[self.root]:
            return 0
        return 1 + next(self.depth(up) for up, down in self.downstream.items() if node in down)


def tree_of(routes: Routes, root: int, leaves: set[int], also: set[int]) -> Tree:
    """The union of the shortest paths; who is no branch, leaf or in `also` needs no segment."""
    parent: dict[int, int] = {}
    for leaf in leaves:
        node = root
        while node != leaf:
            step = routes[node][leaf][0]
            if step not in parent:
                parent[step] = node
            node = step
    # several shortest paths may meet: a parent was chosen for each node once, so this is a tree
    children: dict[int, set[int]] = defaultdict(set)
    for node in leaves:
        while node != root:
            children[parent[node]].add(node)
            node = parent[node]
    kept = {root, *leaves} | {node for node, down in children.items() if len(down) > 1 or node in also}

    def below(node: int) -> list[int]:
        return [each for child in sorted(children[node]) for each in ([child] if child in kept else below(child))]

    return Tree(root, leaves, {node: below(node) for node in kept})


@st.composite
def trees(draw: st.DrawFn) -> tuple[Costs, Routes, Tree]:
    costs = draw(graphs())
    every = nodes(costs)
    routes = dijkstra(costs, every)
    root = draw(st.sampled_from(every))
    others = [node for node in every if node != root]
    leaves = set(draw(st.lists(st.sampled_from(others), min_size=1, unique=True)))
    return costs, routes, tree_of(routes, root, leaves, draw(st.sets(st.sampled_from(every))))


REPLICATION = 17000


def node_sid(node: int, at: int) -> int:
    return 16000 + 20 * at + node


def sid(node: int) -> IPv6Address:
    return IPv6Address(f"2001:db8:cccc:{node}:f::")


def edge_rows(node: int, tree: Tree) -> list[str]:
    rows = ["port in context 1", "port host", "flow 1 * * segment 1", "flow 2 * * port host"]
    return [*rows, f"segment 1 {tree.role(node)}"] if node in tree.downstream else rows[:2]


def mpls(sim: Sim, costs: Costs, routes: Routes, tree: Tree, pinned: bool) -> dict[int, Router]:
    """Node SIDs with penultimate hop popping everywhere; segments where the tree has them."""
    routers = {}
    for node in nodes(costs):
        rows = [*links(name(node), map(name, neighbours(costs, node))), *edge_rows(node, tree)]
        for other, (via, *_) in routes[node].items():
            operation = "pop" if via == other else f"swap {node_sid(other, via)}"
            rows.append(f"label {node_sid(other, node)} {operation} nexthop {nexthop(name(via))}")
        if node in tree.downstream and node != tree.root:
            rows.append(f"label {REPLICATION + node} replicate 1")
        for k, down in enumerate(tree.downstream.get(node, ())):
            if pinned and (node, down) in costs:
                rows.append(f"branch 1 {k} labels {REPLICATION + down} nexthop {nexthop(name(down))}")
            else:
                rows.append(f"branch 1 {k} labels {node_sid(down, node)},{REPLICATION + down}")
        routers[node] = Router(sim, name(node)).load(*rows)
    return routers


def srv6(sim: Sim, costs: Costs, routes: Routes, tree: Tree) -> tuple[dict[int, Router], dict[str, Receive]]:
    """Branches to neighbours are pinned, others take the kernel's way, which `routed` stands for."""
    routers = {}
    for node in nodes(costs):
        rows = [*links(name(node), map(name, neighbours(costs, node))), *edge_rows(node, tree)]
        rows += ["port kernel", "nexthop 999 port kernel mac 02:00:00:00:fe:01", f"node source 2001:db8::{node + 1}"]
        if node in tree.downstream and node != tree.root:
            rows.append(f"sid {sid(node)} replicate 1")
        for k, down in enumerate(tree.downstream.get(node, ())):
            to = nexthop(name(down)) if (node, down) in costs else 999
            rows.append(f"branch 1 {k} sid {sid(down)} nexthop {to}")
        routers[node] = Router(sim, name(node)).load(*rows)
    return routers, {name(node): routed(node, routes, tree, router) for node, router in routers.items()}


def routed(node: int, routes: Routes, tree: Tree, router: Router) -> Receive:
    """The core of a node and the routing of its kernel."""

    def kernel(packet: bytes) -> tuple[str, bytes]:
        header, rest = IPv6.decode(packet)
        destination = int(header.dst) >> 64 & 0xFFFF
        assert destination != node, "a SID that the kernel got and the core should have had"
        via = name(routes[node][destination][0])
        src, dst = port_mac(name(node), f"to-{via}"), port_mac(via, f"to-{name(node)}")
        onward = replace(header, hop_limit=header.hop_limit - 1).encode(rest)
        return f"to-{via}", Ethernet(dst, src, Ethertype.IPV6).encode(onward)

    def receive(port: str, data: bytes) -> Sent:
        sent = router.receive(port, data)
        if port != "in" and int(IPv6.decode(data[14:])[0].dst) >> 64 & 0xFFFF != node:
            assert sent == []
            return [kernel(data[14:])]
        return [kernel(each[14:]) if out == "kernel" else (out, each) for out, each in sent]

    return receive


def hops_down(costs: Costs, routes: Routes, tree: Tree, leaf: int) -> int:
    """The hops that kernels take on the way to a leaf: those between nodes of the tree that are no neighbours."""
    count, node = 0, tree.root
    while node != leaf:
        down = next(each for each in tree.downstream[node] if each == leaf or _leads(tree, each, leaf))
        adjacent = (node, down) in costs
        while node != down:
            node = down if adjacent else routes[node][down][0]
            count += not adjacent
    return count


def _leads(tree: Tree, node: int, leaf: int) -> bool:
    return any(each == leaf or _leads(tree, each, leaf) for each in tree.downstream[node])


DATA = frame(multicast_mac(G4), Ethertype.IPV4, udp_packet(A4, G4, 1, 2, b"data"))


class TestReplication:
    @repeatable(80)
    @given(drawn=trees(), pinned=st.booleans())
    def test_mpls(self, sim: Sim, drawn: tuple[Costs, Routes, Tree], pinned: bool) -> None:
        """Each leaf once; each node of the tree processes its Replication-SID once; a replication takes one hop."""
        costs, routes, tree = drawn
        routers = mpls(sim, costs, routes, tree, pinned)
        hops = carry({name(node): each.receive for node, each in routers.items()}, name(tree.root), "in", DATA)
        assert delivered(hops) == dict.fromkeys(map(name, tree.leaves), 1)
        arrived: Counter[int] = Counter()
        for _, b, copy in edges(hops):
            entries, inner = decode_stack(payload(copy, Ethertype.MPLS))
            assert inner == udp_packet(A4, G4, 1, 2, b"data", 63)
            if len(entries) == 1:
                assert entries[0].ttl == TTL - tree.depth(entries[0].label - REPLICATION)
                arrived[b] += entries[0].label == REPLICATION + b
        assert arrived == dict.fromkeys(set(tree.downstream) - {tree.root}, 1)
        for hop in hops:
            if not hop.to:
                assert IPv4.decode(payload(hop.frame, Ethertype.IPV4))[0].ttl == 62
        for node in tree.downstream:
            (segment,) = routers[node].state()["segments"]
            assert segment["in"]["packets"] == 1
            assert segment["delivered"]["packets"] == (node in tree.leaves)

    @repeatable(80)
    @given(drawn=trees())
    def test_srv6(self, sim: Sim, drawn: tuple[Costs, Routes, Tree]) -> None:
        """The same over SRv6: the hop limit at a leaf is lower by the replications and the kernels' hops."""
        costs, routes, tree = drawn
        routers, receive = srv6(sim, costs, routes, tree)
        hops = carry(receive, name(tree.root), "in", DATA)
        assert delivered(hops) == dict.fromkeys(map(name, tree.leaves), 1)
        for _, b, copy in edges(hops):
            header, inner = IPv6.decode(payload(copy, Ethertype.IPV6))
            assert inner == udp_packet(A4, G4, 1, 2, b"data", 63)
            if header.dst == sid(b) and b in tree.leaves:
                assert header.hop_limit == TTL - tree.depth(b) - hops_down(costs, routes, tree, b)
        for node in tree.downstream:
            (segment,) = routers[node].state()["segments"]
            assert segment["in"]["packets"] == 1

    @repeatable(60)
    @given(drawn=trees(), bits=st.permutations(range(1, 17)))
    def test_the_planes_agree(self, sim: Sim, drawn: tuple[Costs, Routes, Tree], bits: list[int]) -> None:
        """The same receivers by BIER, over MPLS labels and over SRv6, and the same packets."""
        costs, routes, tree = drawn
        domain = Domain(costs, dict(zip(nodes(costs), bits, strict=False)), 64, "ethernet", 0)
        bier = {
            node: configure(sim, domain, node, bift(domain, node, routes[node], "one"), tree.leaves)
            for node in nodes(costs)
        }
        found = [self.outside(inject(bier, tree.root))]
        routers = mpls(sim, costs, routes, tree, False)
        receive = {name(node): each.receive for node, each in routers.items()}
        found.append(self.outside(carry(receive, name(tree.root), "in", DATA)))
        found.append(self.outside(carry(srv6(sim, costs, routes, tree)[1], name(tree.root), "in", DATA)))
        assert found[0] == found[1] == found[2]
        assert {router for router, _ in found[0]} == set(map(name, tree.leaves))

    def outside(self, hops: list[Hop]) -> list[tuple[str, bytes]]:
        return sorted((hop.router, hop.frame) for hop in hops if not hop.to)
