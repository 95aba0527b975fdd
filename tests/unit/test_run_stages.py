"""Convergence stages out of a run's events."""

from __future__ import annotations

from typing import Any

from testbed.record import Event
from testbed.run.stages import find_stages


def at(ms: float, kind: str, node: str = "", **detail: Any) -> Event:
    return Event(t=100 + ms / 1000, run="pim-ssm-0", kind=kind, node=node, detail=detail)


CUT = at(0, "fault", action="cut", target="r1-r2")


def test_the_stages_of_a_cut() -> None:
    events = [
        at(-500, "route", "r3"),
        CUT,
        at(0, "outage-start", "s1-st"),
        at(2, "link-down", "r1"),
        at(3, "link-down", "r2"),
        at(10, "route", "r1"),
        at(14, "mroute", "r1"),
        at(15, "outage-end", "s2-st"),  # no start: nothing of this fault's
        at(30, "route", "r3"),
        at(40, "mroute", "r3"),
        at(45, "outage-end", "s1-st"),
        at(60, "mroute", "r4"),
        at(70, "route", "r4"),
    ]
    assert find_stages(reversed(events)) == (
        {
            "fault": "cut r1-r2",
            "t": 100.0,
            "site": "s1-st",
            "link_down_ms": 2.0,
            "link_up_ms": None,
            "route_first_ms": 10.0,
            "route_ms": 70.0,
            "igp_ms": None,
            "mroute_ms": 40.0,
            "outage_start_ms": 0.0,
            "first_probe_ms": 45.0,
        },
    )


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
    assert (first["first_probe_ms"], first["link_up_ms"]) == (5.0, None)
    assert (second["fault"], second["link_up_ms"], second["first_probe_ms"]) == ("restored: r1-r2", 1.0, 30.0)


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
