"""Areas, agents and connections for tests of the SR-P2MP controller: everything but the controller, without sockets."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from testbed.control.p2mp.graph import Adjacency, Graph
from testbed.control.program import Place, Program
from testbed.control.replication import Held, Segment, SegmentId
from testbed.control.replication_config import PREFIX_TYPE
from testbed.forwarder.rows import Role
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, RouterLink, RouterLsa, opaque_lsa_id
from testbed.packet.ospf_sr import PrefixSid, SrPrefix, encode_sr_prefixes

Json = dict[str, Any]


BASE = IPv4Address("10.255.0.0")


class Area:
    """Routers, whose ids follow `base`, and links between them; both directions of a link have their own cost."""

    def __init__(self, routers: int, links: Iterable[tuple[int, int, int, int]], base: IPv4Address = BASE) -> None:
        """`links`: two routers, counted from 1, the cost from the one to the other, and back."""
        self.base = base
        self.routers = [self.router(number) for number in range(1, routers + 1)]
        self.links: list[tuple[Adjacency, Adjacency]] = []
        for place, (a, b, there, back) in enumerate(links):
            one, other = (IPv4Address(0x0A000000 + 2 * place + end) for end in (0, 1))
            ends = self.router(a), self.router(b)
            self.links.append((Adjacency(*ends, one, other, there), Adjacency(*ends[::-1], other, one, back)))
        self.down: set[int] = set()

    @classmethod
    def random(
        cls, routers: int, extra: int, rng: random.Random, cost: int = 9, base: IPv4Address = BASE
    ) -> Area:
        """A random tree, and `extra` links more, parallel ones perhaps."""
        pairs = [(rng.randrange(1, number), number) for number in range(2, routers + 1)]
        pairs += (tuple(rng.sample(range(1, routers + 1), 2)) for _ in range(extra))  # type: ignore[misc]
        return cls(routers, [(a, b, rng.randint(1, cost), rng.randint(1, cost)) for a, b in pairs], base)

    def router(self, number: int) -> IPv4Address:
        return self.base + number

    def up(self) -> Iterator[tuple[Adjacency, Adjacency]]:
        return (link for place, link in enumerate(self.links) if place not in self.down)

    def graph(self) -> Graph:
        found: dict[IPv4Address, list[Adjacency]] = {each: [] for each in self.routers}
        for link in self.up():
            for adjacency in link:
                found[adjacency.tail].append(adjacency)
        return Graph(found)

    def lsas(self, sequence: int = 1) -> Iterator[Lsa]:
        """What ospfd would have: every router's router-LSA, and its agent's Node-SID."""
        for number, here in enumerate(self.routers, 1):
            links = []
            for adjacency in (each for link in self.up() for each in link if each.tail == here):
                network = IPv4Network((adjacency.local, 31), strict=False)
                links += [
                    RouterLink(LinkType.POINT_TO_POINT, adjacency.head, adjacency.local, adjacency.cost),
                    RouterLink(LinkType.STUB, network.network_address, network.netmask, adjacency.cost),
                ]
            yield Lsa(LsaType.ROUTER, here, here, RouterLsa(tuple(links)).encode(), sequence)
            body = encode_sr_prefixes([SrPrefix(IPv4Network(here), (PrefixSid(number),))])
            yield Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(PREFIX_TYPE, 0), here, body, sequence)

    def place(self, here: IPv4Address) -> Place:
        neighbours = {each.local: each.head for link in self.links for each in link if each.tail == here}
        return Place(here, neighbours, self.routers, paths=False)


class Connection:
    """Requests on their way to an agent, and answers on their way back."""

    def __init__(self) -> None:
        self.requests: deque[Json] = deque()
        self.answers: deque[tuple[int, str | None]] = deque()


class FakeAgents:
    """What routers hold, and what it makes of a packet."""

    def __init__(self, area: Area) -> None:
        self.area = area
        self.held: dict[IPv4Address, Held] = {each: Held() for each in area.routers}

    def program(self, here: IPv4Address, request: Json) -> None:
        """As the real one does. Raises testbed.control.program.Refused."""
        program = Program.read({key: value for key, value in request.items() if key not in ("op", "seq")})
        self.held[here] = program.carried_out(self.held[here], self.area.place(here))

    def arrivals(self, segment_id: SegmentId, *, down: bool = True) -> tuple[Counter[IPv4Address], list[str]]:
        """Where a packet of an instance's root arrives, how often, and what goes wrong on its way. It goes by SIDs, as
        packets do. `down`: links that are down carry nothing."""
        graph = self.area.graph()
        reachable = graph.reachable(segment_id.root)
        found: Counter[IPv4Address] = Counter()
        faults = []
        todo = deque([(segment_id.root, self.held[segment_id.root].segments.get(segment_id), 0)])
        while todo:
            here, segment, hops = todo.popleft()
            if segment is None or hops > len(self.area.routers):
                faults.append(f"{here}: no segment" if segment is None else f"{here}: a loop")
                continue
            if segment.role in (Role.LEAF, Role.BUD):
                found[here] += 1
            for branch in segment.branches:
                pinned = branch.link is not None
                passes = (here, branch.link, branch.node) in graph.links if pinned else branch.node in reachable
                if passes or not down:
                    todo.append((branch.node, self._by_sid(branch.node, branch.sid), hops + 1))
        return found, faults

    def _by_sid(self, here: IPv4Address, sid: int) -> Segment | None:
        return next((each for each in self.held[here].segments.values() if each.sid == sid), None)
