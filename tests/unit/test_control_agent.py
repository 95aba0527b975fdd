"""The BIER agent between its sources and its forwarder: in whatever order things are heard, the tables are the same."""

from __future__ import annotations

import contextlib
import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.control import bier_agent, programmer, router_agent
from testbed.control.bfrs import advertisement
from testbed.control.bier_config import OPAQUE_TYPE, BierConfig
from testbed.control.bift import DROP, Hop
from testbed.control.lsdb import Lsdb
from testbed.control.ospf_api import LsaEvent
from testbed.forwarder.rows import NextHop
from testbed.forwarder.rows import Path as Row
from testbed.forwarder.tables import Tables
from testbed.packet.ospf_lsa import MAX_AGE, LinkType, Lsa, LsaType, RouterLink, RouterLsa, opaque_lsa_id

ROUTERS = range(2, 5)
HOPS = [Hop(f"p{n}", IPv4Address(f"10.0.{n}.2")) for n in range(2)]


def loopback(number: int) -> IPv4Address:
    return IPv4Address(f"10.255.0.{number}")


class Heard:
    """In place of the kernel's routes, of ospfd, of the hosts: what they have said and nobody has listened to yet."""

    def __init__(self) -> None:
        self.lsdb = Lsdb()
        self.router_id = loopback(1)
        self.lsas: list[LsaEvent] = []
        self.routes: dict[IPv4Address, tuple[Hop, ...]] = {}
        self.connected = True
        self.members: set[object] = set()

    def changed(self) -> dict[IPv4Address, tuple[Hop, ...]]:
        found, self.routes = self.routes, {}
        return found

    def register(self, opaque_type: int) -> None:
        assert opaque_type == OPAQUE_TYPE

    def adopt(self, members: set[object], t: float) -> None:
        assert not members

    def process(self) -> list[LsaEvent]:
        found, self.lsas = self.lsas, []
        return found

    def flood(self, lsa: Lsa) -> None:
        before = self.lsdb.get(lsa.key)
        if change := self.lsdb.put(lsa):
            self.lsas.append(LsaEvent(0.0, change, lsa, before))


class Told:
    """In place of the forwarder: the lines that are in force."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, ...], str] = {}
        self.connection = None

    def update(self, lines: Any) -> None:
        for line in lines:
            words = line.removeprefix("del ").split()
            length = {"bift": 3, "path": 5, "nexthop": 2}.get(words[0], len(words))
            if line.startswith("del "):
                gone = [key for key in self.lines if key[: len(words)] == tuple(words)]
                gone += [key for key in self.lines if words[0] == "bift" and key[:3] == ("path", *words[1:])]
                assert gone
                for key in gone:
                    del self.lines[key]
            else:
                self.lines[tuple(words[:length])] = line
        masks: dict[tuple[int, int], int] = {}
        for path in self.tables().all(Row):  # at no moment is a BFER in two places
            assert not masks.get((path.bift, path.way), 0) & path.fbm.value
            masks[path.bift, path.way] = masks.get((path.bift, path.way), 0) | path.fbm.value

    def tables(self) -> Tables:
        return Tables.parse("\n".join(self.lines.values()))

    def meaning(self) -> set[tuple[object, ...]]:
        """The BIFTs, without the numbers that next hops happen to have."""
        rows = self.tables().all(NextHop)
        hops = {hop.id: (hop.port, hop.to, *((hop.tunnel,) if hop.tunnel else ())) for hop in rows}
        return {
            (
                path.bift,
                path.way,
                path.fbm.value,
                hops.get(path.index, path.index),
                isinstance(path.to, int),
                path.as_id,
            )
            for path in self.tables().all(Row)
        }


class Bench:
    """An agent with nothing around it."""

    def __init__(self, folder: Path, encapsulation: str, ways: int) -> None:
        self.heard, self.told = Heard(), Told()
        self.mpls = encapsulation == "mpls"
        config = BierConfig("10.255.0.1", (), (), "", str(folder / "events"), bsl=64, bfr_id=9, ways=ways)
        config = BierConfig(
            **{name: getattr(config, name) for name in config.__slots__} | {"encapsulation": encapsulation}
        )
        with pytest.MonkeyPatch.context() as patch:
            for name in ("Routes", "Membership", "OspfApi", "CommandServer"):
                patch.setattr(router_agent, name, lambda *_, **__: self.heard)
            patch.setattr(programmer, "Forwarder", lambda *_: self.told)
            self.agent = bier_agent.BierAgent(config)
        self.agent.learned = True

    def advertise(self, router: int, bfr_id: int, age: int = 0) -> None:
        body = advertisement(loopback(router), 0, bfr_id, 1000 * router if self.mpls else None, 64, 1)
        self.flood(Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(OPAQUE_TYPE, 0), loopback(router), body, age=age))

    def interfaces(self, router: int, hops: tuple[Hop, ...]) -> None:
        links = tuple(RouterLink(LinkType.POINT_TO_POINT, loopback(1), hop.via, 10) for hop in hops)
        self.flood(Lsa(LsaType.ROUTER, loopback(router), loopback(router), RouterLsa(links).encode()))

    def flood(self, lsa: Lsa) -> None:
        self.heard.flood(lsa)
        if self.heard.lsas:
            self.agent._lsas_came()

    def wake(self) -> None:
        self.agent._read_routes()
        self.agent.program()

    def read(self) -> None:
        self.agent.read_lsas()
        self.agent.program()

    def settle(self) -> None:
        """As if there had been no news of BFRs for long."""
        if self.agent.tunnels.due is not None:
            self.agent.tunnels.due = 0.0
        self.agent.program()

    def close(self) -> None:
        self.agent._events.close()
        self.agent._selector.close()


ROUTER = st.sampled_from(ROUTERS)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("advertise"), ROUTER, st.sampled_from([0, 1, 2, 3, 70])),
        st.tuples(st.just("flush"), ROUTER, st.none()),
        st.tuples(st.just("interface"), st.sampled_from(range(len(HOPS))), st.none() | ROUTER),
        st.tuples(st.just("route"), ROUTER, st.sets(st.sampled_from(HOPS), max_size=2).map(lambda s: tuple(sorted(s)))),
        st.sampled_from([("read", 0, None), ("wake", 0, None), ("restart", 0, True), ("restart", 0, False)]),
    ),
    max_size=40,
)


# Where it all begins, unless hypothesis leaves it out: everybody is known and has a route.
STANDING: list[tuple[str, int, Any]] = [
    *(("advertise", router, router) for router in ROUTERS),
    *(("interface", number, 2 + number) for number in range(len(HOPS))),
    *(("route", router, (HOPS[router % 2],)) for router in ROUTERS),
    ("read", 0, None),
    ("wake", 0, None),
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.booleans(), EVENTS, st.sampled_from([("ethernet", 1), ("ethernet", 2), ("mpls", 1)]))
def test_any_order_of_hearing_leads_to_the_same_tables(
    standing: bool, events: list[tuple[str, int, Any]], kind: tuple[str, int]
) -> None:
    ids: dict[int, int] = {}
    owners: dict[int, int] = {}  # of the hops' addresses
    routes: dict[int, tuple[Hop, ...]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Bench(Path(folder), *kind)) as bench,
        contextlib.closing(Bench(Path(folder), *kind)) as scratch,
    ):
        for what, number, value in (STANDING if standing else []) + events:
            if what == "advertise":
                ids[number] = value
                bench.advertise(number, value)
            elif what == "flush":  # without a farewell it is remembered, with one it is over
                if not ids.get(number):
                    ids.pop(number, None)
                bench.advertise(number, ids.get(number, 0), age=MAX_AGE)
            elif what == "interface":
                for router in {owners.pop(number, None), value} - {None}:
                    if router == value:
                        owners[number] = value
                    assert router is not None
                    bench.interfaces(router, tuple(HOPS[n] for n, owner in owners.items() if owner == router))
            elif what == "route":
                routes[number] = value
                bench.heard.routes[loopback(number)] = value
            elif what == "restart":
                bench.agent.programmer.programmed = False
                if value:  # it began anew, and has nothing
                    bench.told.lines.clear()
            else:
                getattr(bench, what)()
        bench.wake()
        bench.read()
        for router, bfr_id in ids.items():
            scratch.advertise(router, bfr_id)
        for router in ROUTERS:
            scratch.interfaces(router, tuple(HOPS[n] for n, owner in owners.items() if owner == router))
        scratch.read()
        scratch.heard.routes = {loopback(router): hops for router, hops in routes.items()}
        scratch.wake()
        bench.settle()
        scratch.settle()
        assert bench.told.meaning() == scratch.told.meaning()


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path, "ethernet", 1)
    made.advertise(2, 5)
    made.interfaces(2, (HOPS[0],))
    made.read()
    yield made
    made.close()


def paths(bench: Bench) -> dict[int, object]:
    """F-BM -> where it goes."""
    return {row[2]: row[3] if row[4] else DROP for row in bench.told.meaning()}  # type: ignore[misc]


def test_routes_do_not_wait_for_lsas(bench: Bench) -> None:
    bench.advertise(3, 6)
    bench.heard.routes[loopback(2)] = (HOPS[0],)
    bench.wake()
    assert bench.heard.lsas
    assert paths(bench)[1 << 4] == (HOPS[0].port, HOPS[0].via)
    bench.read()
    assert paths(bench)[1 << 5] == DROP


def test_a_route_to_somebody_unknown_is_explained_by_the_lsas_that_wait(bench: Bench) -> None:
    """A link comes back: the router LSA that has it came before the route that leads over it."""
    bench.interfaces(2, (HOPS[0], HOPS[1]))
    bench.heard.routes[loopback(2)] = (HOPS[1],)
    bench.wake()
    assert not bench.heard.lsas
    assert paths(bench)[1 << 4] == (HOPS[1].port, HOPS[1].via)


def test_lsas_wait_for_quiet_and_not_for_ever(bench: Bench) -> None:
    bench.advertise(3, 6)
    agent = bench.agent
    assert agent._lsas_at is not None
    agent._routes_at = agent._lsas_at + 0.05
    assert agent._lsas_due() == agent._routes_at + router_agent.QUIET
    agent._routes_at = agent._lsas_at + 3600
    assert agent._lsas_due() == agent._lsas_at + router_agent.PATIENCE
    bench.read()
    assert agent._lsas_due() is None
