"""Convergence stages out of a run's events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testbed.record import Event
from testbed.run.stages import SLACK_S, find_stages


def at(ms: float, kind: str, node: str = "", **detail: Any) -> Event:
    return Event(t=100 + ms / 1000, run="pim-ssm-0", kind=kind, node=node, detail=detail)


CUT = at(0, "fault", action="cut", target="r1-r2")


def lsa(ms: float, node: str, origin: str, kind: int = 1) -> Event:
    return at(ms, "lsa", node, type=kind, id="10.255.0.1", router=origin, own=node == origin)


def adjacency(ms: float, node: str, before: str, after: str) -> Event:
    return at(ms, "neighbour", node, **{"ifname": "eth0", "from": before, "to": after})


def bfd(ms: float, node: str, before: str, after: str) -> Event:
    return at(ms, "bfd", node, **{"ifname": "eth0", "from": before, "to": after})


# A cut between r1 and r2, seen by carrier; r3 and r4 change for it; s1-st is back after 45 ms.
COURSE = [
    at(-500, "route", "r3"),
    CUT,
    at(0, "outage-start", "s1-st"),
    at(2, "link-down", "r1"),
    at(3, "link-down", "r2"),
    adjacency(3.5, "r1", "Full", "Deleted"),
    adjacency(4, "r2", "Full", "Deleted"),
    lsa(5, "r1", "r1"),
    lsa(6, "r2", "r2"),
    lsa(7, "r3", "r1"),
    lsa(8, "r4", "r1"),
    lsa(9, "r3", "r2"),
    at(10, "route", "r1"),
    at(14, "mroute", "r1"),
    at(15, "outage-end", "s2-st"),  # no start: nothing of this fault's
    at(30, "route", "r3"),
    lsa(31, "r5", "r1"),  # heard, and of no consequence
    at(40, "mroute", "r3"),
    at(45, "outage-end", "s1-st"),
    at(60, "mroute", "r4"),
    at(70, "route", "r4"),
]


def test_the_stages_of_a_cut() -> None:
    (row,) = find_stages(reversed(COURSE), repaired=lambda host, fault, until: 0.030)
    routers = row.pop("routers")
    costs = row.pop("costs")
    assert (costs["before_ms"], costs["detection_ms"], costs["igp_ms"]) == (0.0, 2.0, 28.0)
    assert (costs["routers_ms"], costs["unexplained_ms"]) == (10.0, 5.0)  # what the kernel's mroute waited for is PIM's
    assert row == {
        "fault": "cut r1-r2",
        "t": 100.0,
        "site": "s1-st",
        "detection_ms": 2.0,
        "detected_by": "carrier",
        "neighbour_ms": 4.0,
        "lsa_sent_ms": 6.0,
        "lsa_ms": 9.0,
        "route_first_ms": 10.0,
        "route_ms": 70.0,
        "igp_ms": 30.0,
        "mroute_ms": 40.0,
        "outage_start_ms": 0.0,
        "first_probe_ms": 45.0,
    }
    assert [r["router"] for r in routers] == ["r1", "r2", "r3", "r4"]  # r5 changed nothing
    assert routers[0] == {
        "router": "r1",
        "detected_by": "carrier",
        "detection_ms": 2.0,
        "neighbour_ms": 3.5,
        "lsa_sent_ms": 5.0,
        "route_first_ms": 10.0,
        "route_ms": 10.0,
        "mroute_first_ms": 14.0,
        "mroute_ms": 14.0,
    }
    assert routers[2] == {
        "router": "r3",
        "lsa_ms": 7.0,
        "route_first_ms": 30.0,
        "route_ms": 30.0,
        "mroute_first_ms": 40.0,
        "mroute_ms": 40.0,
    }


def test_the_stages_come_in_their_order() -> None:
    (row,) = find_stages(COURSE, repaired=lambda host, fault, until: 0.030)
    chain = ["detection_ms", "neighbour_ms", "lsa_sent_ms", "lsa_ms", "igp_ms", "mroute_ms", "first_probe_ms"]
    assert [row[key] for key in chain] == sorted(row[key] for key in chain)


def test_a_site_goes_by_the_routers_that_it_depends_on() -> None:
    (row,) = find_stages(COURSE, concerned=lambda host, until: {"r1", "r4"}, repaired=lambda *_: 0.010)
    assert (row["lsa_ms"], row["mroute_ms"]) == (8.0, 14.0)


def test_a_scheme_has_stages_of_its_own() -> None:
    events = [*COURSE, at(33, "tree-computed", "ctl"), at(41, "programmed", "r3"), at(46.5, "programmed", "r1")]
    (row,) = find_stages(events, own=("tree-computed", "programmed"))
    # r1 heard that it was done when the first packet had come already: it is counted, and what comes later is not.
    assert (row["tree_computed_ms"], row["programmed_ms"]) == (33.0, 46.5)
    assert "mroute_ms" not in row
    (late,) = find_stages([*COURSE, at(48, "programmed", "r1")], own=("programmed",))
    assert late["programmed_ms"] is None
    assert {"router": "ctl", "tree_computed_first_ms": 33.0, "tree_computed_ms": 33.0} in row["routers"]


def test_a_fault_that_leaves_the_carrier_is_detected_by_bfd_or_by_hellos() -> None:
    silent = [CUT, bfd(133, "r1", "up", "down"), adjacency(134, "r1", "Full", "Deleted")]
    (row,) = find_stages(silent)
    assert (row["detection_ms"], row["detected_by"], row["neighbour_ms"]) == (133.0, "bfd", 134.0)
    told_then_logged = [CUT, adjacency(133, "r1", "Full", "Deleted"), bfd(134, "r1", "up", "down")]
    (row,) = find_stages(told_then_logged)
    assert (row["detection_ms"], row["detected_by"]) == (133.0, "bfd")
    monitor_late = [CUT, adjacency(2, "r1", "Full", "Deleted"), at(3, "link-down", "r1", ifname="eth0")]
    (row,) = find_stages(monitor_late)
    assert (row["detection_ms"], row["detected_by"]) == (2.0, "carrier")
    unwatched = [CUT, adjacency(4000, "r1", "Full", "Deleted"), lsa(4001, "r1", "r1"), at(4002, "route", "r1")]
    (row,) = find_stages(unwatched)
    assert (row["detection_ms"], row["detected_by"], row["neighbour_ms"]) == (4000.0, "hello", 4000.0)
    (row,) = find_stages([CUT, bfd(5, "r1", "init", "up"), adjacency(6, "r1", "Loading", "Full")])
    assert (row["detection_ms"], row["detected_by"]) == (None, "")


def test_lsas_of_other_types_do_not_carry_the_fault() -> None:
    (row,) = find_stages([CUT, lsa(5, "r1", "r1"), lsa(6, "r2", "r1", kind=10), at(7, "route", "r1")])
    assert (row["lsa_sent_ms"], row["lsa_ms"]) == (5.0, 5.0)


def test_a_restoration_is_detected_by_what_comes_back() -> None:
    events = [
        CUT,
        at(1000, "fault-restored"),
        at(1002, "link-up", "r1"),
        lsa(1003, "r1", "r1"),  # its stub network is back, its neighbour is not
        adjacency(2000, "r1", "Exchange", "Full"),
        lsa(2001, "r1", "r1"),
        lsa(2003, "r3", "r1"),
        at(2010, "route", "r3"),
        at(2011, "bift", "r3"),
    ]
    row = find_stages(events, own=("bift",))[1]
    assert (row["detection_ms"], row["detected_by"]) == (2.0, "carrier")
    assert (row["neighbour_ms"], row["lsa_sent_ms"], row["lsa_ms"]) == (1000.0, 1001.0, 1003.0)
    assert (row["route_ms"], row["bift_ms"]) == (1010.0, 1011.0)


def test_the_routers_stand_once_for_each_fault() -> None:
    events = [CUT, at(2, "link-down", "r1")]
    for host in ("s1-st", "s2-st"):
        events += [at(1, "outage-start", host), at(9, "outage-end", host)]
    first, second = find_stages(events)
    assert [r["router"] for r in first["routers"]] == ["r1"]
    assert "routers" not in second


def test_the_igps_repair_is_asked_for_each_host_within_the_faults_window() -> None:
    asked = []

    def repaired(host: str, fault: float, until: float) -> float | None:
        asked.append((host, fault, until))
        return {"s1-st": 0.0301234, "s2-st": None}[host]

    events = [CUT, at(4000, "fault-restored")]
    for host in ("s1-st", "s2-st"):
        events += [at(1, "outage-start", host), at(50, "outage-end", host)]
    assert [row["igp_ms"] for row in find_stages(events, repaired=repaired)] == [30.123, None, None]
    assert asked == [("s1-st", 100.0, 104.0), ("s2-st", 100.0, 104.0)]


def test_every_host_it_interrupted_has_a_row_in_the_order_asked_for() -> None:
    events = [CUT]
    for host in ("s1-st", "s2-st"):
        events += [at(1, "outage-start", host), at(9, "outage-end", host)]
    assert [row["site"] for row in find_stages(events, ["s2-st", "s1-st"])] == ["s2-st", "s1-st"]
    assert [row["site"] for row in find_stages(events)] == ["s1-st", "s2-st"]


def test_a_fault_that_interrupted_nobody_has_its_row_too() -> None:
    (row,) = find_stages([CUT, at(5, "mroute", "r1")])
    assert (row["site"], row["mroute_ms"], row["first_probe_ms"]) == ("", 5.0, None)


def test_the_restoration_has_a_window_of_its_own() -> None:
    events = [
        CUT,
        at(-1, "outage-start", "s1-st"),  # in flight when the link was cut
        at(5, "outage-end", "s1-st"),
        at(1000, "fault-restored", text="r1-r2"),
        at(1001, "link-up", "r1"),
        at(1020, "outage-start", "s1-st"),
        at(1030, "outage-end", "s1-st"),
    ]
    first, second = find_stages(events)
    assert (first["first_probe_ms"], first["detection_ms"]) == (5.0, None)
    assert (second["fault"], second["detection_ms"], second["first_probe_ms"]) == ("restored: r1-r2", 1.0, 30.0)


def test_an_outage_may_end_after_the_window_and_may_never_end() -> None:
    events = [CUT, at(1, "outage-start", "s1-st"), at(1000, "fault-restored"), at(1500, "outage-end", "s1-st")]
    assert find_stages(events)[0]["first_probe_ms"] == 1500.0
    assert find_stages(events[:2])[0]["first_probe_ms"] is None


def test_several_outages_of_one_fault_are_one_row() -> None:
    events = [CUT]
    for start, end in ((1, 5), (7, 9)):
        events += [at(start, "outage-start", "s1-st"), at(end, "outage-end", "s1-st")]
    (row,) = find_stages(events)
    assert (row["outage_start_ms"], row["first_probe_ms"]) == (1.0, 9.0)


NODES = st.sampled_from(["r1", "r2", "r3"])
SOME = st.one_of(
    st.builds(lsa, st.floats(-5, 12_000), NODES, NODES),
    st.builds(adjacency, st.floats(-5, 12_000), NODES, st.just("Full"), st.just("Down")),
    st.builds(at, st.floats(-5, 12_000), st.sampled_from(["link-down", "route", "mroute"]), NODES),
    st.builds(at, st.floats(-5, 12_000), st.sampled_from(["outage-start", "outage-end"]), st.just("s1-st")),
)


@given(st.lists(SOME, max_size=40))
def test_whatever_happens_a_stage_comes_no_later_than_what_it_led_to(events: list[Event]) -> None:
    for row in find_stages([CUT, *events]):
        chain = [row[key] for key in ("neighbour_ms", "lsa_sent_ms", "lsa_ms", "route_ms")]
        if None not in chain:
            assert chain == sorted(chain)
        if row["lsa_ms"] is not None:  # what arrived was sent before, as far as we heard of it
            assert row["lsa_sent_ms"] is None or row["lsa_sent_ms"] <= row["lsa_ms"]
        times = [value for key, value in row.items() if key.endswith("_ms") and value is not None]
        assert all(value >= -1000 * SLACK_S for value in times)
        for router in row.get("routers", ()):
            assert router.get("route_first_ms", 0) <= router.get("route_ms", 0)
            assert router.keys() & {"detection_ms", "route_ms", "mroute_ms"}, "a router that changed nothing"
