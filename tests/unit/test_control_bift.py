"""The BIFTs that an agent computes: RFC 8279's example, and that changes in any order lead to the same tables."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from testbed.control.bift import DROP, LOCAL, Bfer, Bifts, Domain, Hop, NextHops, as_mapping
from testbed.forwarder.rows import Bift, End, Path, parse_row
from testbed.packet import Encapsulation


def loopback(number: int) -> IPv4Address:
    return IPv4Address(f"10.255.0.{number}")


A, C, E = (Hop(f"b-{name}", IPv4Address(f"10.0.0.{n}")) for n, name in enumerate("ace", start=1))


def at_b(**domain: object) -> Bifts:
    """Router B of RFC 8279 figure 1: D=1, F=2, E=3, A=4; B has no BFR-id."""
    values = {"sd": 0, "bsl": 64, "encapsulation": Encapsulation.NON_MPLS, "first_bift_id": 100} | domain
    bifts = Bifts(Domain(**values), NextHops())  # type: ignore[arg-type]
    if bifts.domain.encapsulation is Encapsulation.NON_MPLS:
        for hop in (A, C, E):
            bifts.set_neighbour(hop.via, 100)
    for bfr_id, hop in {1: C, 2: C, 3: E, 4: A}.items():
        bifts.set_bfr(loopback(bfr_id), bfr_id)
        bifts.set_route(loopback(bfr_id), [hop])
    return bifts


def test_figure_5_at_b() -> None:
    bifts = at_b()
    numbers = {hop: number for number, hop in bifts._nexthops.known()}
    assert as_mapping(bifts) == {(0, 0, numbers[C]): 0b0011, (0, 0, numbers[E]): 0b0100, (0, 0, numbers[A]): 0b1000}
    assert bifts.entries == 4


def test_a_set_identifier_for_every_bsl_bfers() -> None:
    """RFC 8279 section 3: at BSL 256, BFR-id 497 is bit 241 of SI 1."""
    assert [Bfer.of(bfr_id, 256) for bfr_id in (27, 235, 497)] == [Bfer(0, 26), Bfer(0, 234), Bfer(1, 240)]


def test_lines_are_the_forwarders_language_and_come_once() -> None:
    bifts = at_b(bfr_id=5, context=2)
    rows = [parse_row(line) for line in bifts.changes()]
    (bift,) = [row for row in rows if isinstance(row, Bift)]
    assert (bift.id, bift.bsl, bift.bfr_id, bift.context) == (100, 64, 5, 2)
    assert {row.fbm.value: row.index for row in rows if isinstance(row, Path)}[0b10000] == LOCAL
    assert bifts.changes() == []


def test_only_what_changed_is_said() -> None:
    bifts = at_b()
    bifts.changes()
    bifts.set_route(loopback(2), [E])  # the link C-F broke; the rest stays
    lines = bifts.changes()
    assert len(lines) == 2
    assert {row.fbm.value for row in map(parse_row, lines) if isinstance(row, Path)} == {0b0001, 0b0110}


def test_no_route_is_a_null_next_hop_and_no_bfr_is_nothing() -> None:
    bifts = at_b()
    bifts.changes()
    bifts.set_route(loopback(4), [])
    bifts.set_bfr(loopback(1), 0)
    lines = bifts.changes()
    assert any(line.endswith("fbm 8 drop") for line in lines)
    assert any("fbm 2 nexthop" in line for line in lines)
    for bfr_id in (2, 3, 4):
        bifts.set_bfr(loopback(bfr_id), 0)
    assert bifts.changes() == ["del bift ethernet 100"]


def test_mpls_labels_are_the_neighbours() -> None:
    bifts = at_b(encapsulation=Encapsulation.MPLS)
    assert all(" drop" in line for line in bifts.changes() if line.startswith("path"))
    bifts.set_neighbour(C.via, 5000)
    assert [line.split(" as ")[1] for line in bifts.changes()] == ["5000"]
    bifts.set_neighbour(C.via, None)
    assert [line.endswith("drop") for line in bifts.changes()] == [True]


def test_behind_a_tunnel_it_is_the_far_end_that_counts() -> None:
    """Two BFERs through one neighbour and two tunnels: two F-BMs, each with the far end's BIFT-id."""
    bifts = at_b(encapsulation=Encapsulation.MPLS)
    for bfr_id, label in ((1, 1000), (2, 2000)):
        bifts.set_neighbour(loopback(bfr_id), label)
        bifts.set_route(loopback(bfr_id), [Hop(C.port, C.via, loopback(bfr_id))])
    assert bifts.entries == 2
    hops = dict(bifts._nexthops.known())
    lines = {f" tunnel {loopback(n)}": n for n in (1, 2)}
    assert [line.endswith(tuple(lines)) for line in bifts._nexthops.changes()] == [False, False, False, True, True]
    paths = [row for row in map(parse_row, bifts.changes()) if isinstance(row, Path) and not isinstance(row.to, End)]
    assert {(row.fbm.value, row.as_id, hops[row.index].tunnel) for row in paths} == {
        (0b01, 1000, loopback(1)),
        (0b10, 2000, loopback(2)),
    }
    bifts.set_neighbour(loopback(2), None)
    assert [line.endswith("fbm 2 drop") for line in bifts.changes()] == [True]


HOPS = [Hop(f"p{n}", IPv4Address(f"10.0.1.{n}")) for n in range(3)]
HOPS.append(Hop("p3", IPv4Address("10.0.1.9"), IPv4Address("10.0.1.3")))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("bfr"), st.integers(1, 6), st.integers(0, 140)),
        st.tuples(st.just("route"), st.integers(1, 6), st.frozensets(st.sampled_from(HOPS), max_size=3)),
        st.tuples(st.just("neighbour"), st.integers(0, 3), st.sampled_from([None, 100, 200])),
        st.tuples(st.just("tell"), st.just(0), st.just(0)),
    )
)


@given(EVENTS, st.integers(1, 3))
def test_what_was_told_is_what_is(events: list[tuple[str, int, object]], ways: int) -> None:
    """However BFR-ids and routes come and go, the lines told so far describe the tables of the final state."""
    bifts = Bifts(Domain(0, 64, Encapsulation.NON_MPLS, 100, bfr_id=141, ways=ways), NextHops())
    told: dict[tuple[str, ...], str] = {}
    ids: dict[int, int] = {}
    routes: dict[int, frozenset[Hop]] = {}
    near: dict[IPv4Address, int | None] = {}
    for kind, number, value in [*events, ("tell", 0, 0)]:
        if kind == "bfr" and (not value or value not in ids.values()):
            ids[number] = value  # type: ignore[assignment]
            bifts.set_bfr(loopback(number), value)  # type: ignore[arg-type]
        elif kind == "route":
            routes[number] = value  # type: ignore[assignment]
            bifts.set_route(loopback(number), value)  # type: ignore[arg-type]
        elif kind == "neighbour":
            near[HOPS[number].bfr] = value  # type: ignore[assignment]
            bifts.set_neighbour(HOPS[number].bfr, value)  # type: ignore[arg-type]
        elif kind == "tell":
            for line in bifts.changes():
                words = line.split()
                if words[0] == "del":
                    keys = [key for key in told if key[: len(words) - 1] == tuple(words[1:])]
                    keys += [key for key in told if words[1] == "bift" and key[:3] == ("path", *words[2:])]
                    assert keys
                    for key in keys:
                        del told[key]
                else:
                    told[tuple(words[: 3 if words[0] == "bift" else 5])] = line
    numbers = dict(bifts._nexthops.known())
    for way in range(ways):
        for number, bfr_id in ids.items():
            if not bfr_id:
                continue
            bfer = Bfer.of(bfr_id, 64)
            holders = [
                row
                for row in map(parse_row, told.values())
                if isinstance(row, Path) and row.bift == 100 + bfer.si and row.way == way
                if row.fbm.value >> bfer.bit & 1
            ]
            assert len(holders) == 1
            hops = sorted(routes.get(number, frozenset()))
            if hops:
                hop = hops[way % len(hops)]
                assert numbers[holders[0].index] == hop
                assert (holders[0].to is End.DROP) == (near.get(hop.bfr) is None)
                first = near.get(hop.bfr)
                if first is not None:
                    assert (holders[0].as_id or holders[0].bift) == first + bfer.si
            else:
                assert holders[0].index == DROP
