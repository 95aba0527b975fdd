"""What an outage went to, on courses made up of known times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.record import Event
from testbed.run.costs import PARTS, Course, find_costs
from testbed.run.stages import find_stages

FAULT = 100.0


def t(ms: float) -> float:
    return FAULT + ms / 1000


def at(ms: float, kind: str, node: str = "ctl", **detail: Any) -> Event:
    return Event(t(ms), "sr-p2mp-1", kind, node, detail)


def confirmed(router: str, sent: float, received: float, applied: float, back: float, kind: str = "confirmed") -> Event:
    whose = {"root" if kind == "switched" else "router": router}
    return at(back, kind, **whose, sent=t(sent), received=t(received), applied=t(applied))


def computed(ms: float) -> Event:
    return at(ms, "computed", wall_s=0.0015, cpu_s=0.001)


COURSE = Course(t(0), t(1), t(40), travel_s=0.002, probes_s=0.001, detected=t(3), repaired=None, state=None)

# The leaf is programmed, then a router, then the root; another leaf was ready before, and keeps nobody waiting.
CHAIN = [
    at(9, "lsa-heard", lsa="x"),
    at(10, "graph", since=t(9)),
    computed(12),
    confirmed("leaf-2", 12, 13, 14, 15),
    confirmed("leaf-1", 12.5, 15.5, 16.5, 19.5),
    confirmed("router", 20, 22, 23, 25),
    confirmed("root", 26, 28, 31, 33),
    confirmed("root", 26, 28, 31, 33, "switched"),
    # The old instance goes, a second later: not of this course, but nobody was ever faster.
    confirmed("leaf-1", 1030, 1031, 1032, 1032.5),
]


def parts(told: dict[str, Any]) -> dict[str, float]:
    return {part: told[f"{part}_ms"] for part in PARTS}


def test_a_controllers_messages_are_followed_back_to_the_lsa_that_it_heard() -> None:
    told = find_costs(COURSE, CHAIN)
    assert parts(told) == pytest.approx(
        {
            "before": 1,
            "detection": 2,
            "igp": 6,  # 3 to 9
            "controller": 3.5 + 0.5 + 1,  # the LSA to the leaf's message; from each confirmation to the next message
            "distance": (1 + 0.5) + (2 + 2) + 2,  # there and back; at the root only there
            "held": 2 + 2.5,  # the leaf's, that once came after 1 and 0.5
            "routers": 1 + 1 + 3,
            "packet": 3,  # 2 on its way, and the wait to be sent
            "unexplained": 6,
        }
    )
    assert (told["rounds"], told["computing_ms"], told["computing_cpu_ms"]) == (3, 1.5, 1.0)


def test_packets_that_were_back_before_the_root_was_told_owe_it_nothing() -> None:
    rows = at(20, "rows", "r1", since=t(11))
    told = find_costs(replace(COURSE, end=t(25), repaired=t(12), state=rows), CHAIN)
    assert "rounds" not in told
    assert parts(told) == pytest.approx(
        {"before": 1, "detection": 2, "igp": 8, "controller": 0, "distance": 0, "held": 0, "routers": 9,
         "packet": 3, "unexplained": 2}
    )  # fmt: skip


def test_packets_may_be_back_before_the_routers_agent_has_said_so() -> None:
    told = find_costs(replace(COURSE, end=t(30)), CHAIN)
    assert told["rounds"] == 3
    assert told["routers_ms"] == pytest.approx(1 + 1 + 2)
    assert told["packet_ms"] == told["unexplained_ms"] == 0


def test_a_route_that_came_after_the_agents_last_word_is_the_igps() -> None:
    rows = at(20, "rows", "r1", since=t(11))
    told = find_costs(replace(COURSE, repaired=t(38), state=rows), [])
    assert (told["igp_ms"], told["routers_ms"], told["packet_ms"]) == pytest.approx((8 + 18, 9, 2))
    # One that the monitor saw after packets were back was there before.
    told = find_costs(replace(COURSE, repaired=t(44), state=rows), [])
    assert (told["igp_ms"], told["unexplained_ms"]) == pytest.approx((8, 17))


def test_a_kernels_route_waits_for_the_igp_and_what_nothing_is_known_of_is_unexplained() -> None:
    told = find_costs(replace(COURSE, repaired=t(20), state=at(35, "mroute", "r1")), [])
    assert (told["igp_ms"], told["routers_ms"], told["packet_ms"], told["unexplained_ms"]) == pytest.approx(
        (17, 15, 3, 2)
    )
    told = find_costs(replace(COURSE, detected=None), [])
    assert (told["packet_ms"], told["unexplained_ms"]) == pytest.approx((3, 36))


TIMES, WHOSE = ("sent", "received", "applied"), {"router": "r", "root": "r"}
moments = st.floats(0, 60).map(t)
messages = st.builds(
    lambda kind, times: Event(times[3], "x", kind, "ctl", {**dict(zip(TIMES, times[:3], strict=True)), **WHOSE}),
    st.sampled_from(["confirmed", "switched"]),
    st.lists(moments, min_size=4, max_size=4).map(sorted),
)
others = st.one_of(
    moments.map(lambda m: Event(m, "x", "computed", "ctl", {"wall_s": 0.001, "cpu_s": 0.001})),
    st.tuples(moments, moments).map(lambda m: Event(max(m), "x", "graph", "ctl", {"since": min(m)})),
)


@given(
    st.lists(st.one_of(messages, others), max_size=12),
    st.lists(moments, min_size=2, max_size=2).map(sorted),
    st.one_of(st.none(), moments),
    st.one_of(st.none(), moments),
    st.floats(0, 0.02),
)
def test_the_parts_are_the_time_from_the_fault_to_the_packet_whatever_happened(
    events: list[Event], span: list[float], detected: float | None, repaired: float | None, travel: float
) -> None:
    course = Course(FAULT, span[0], span[1], travel, 0.001, detected, repaired, None)
    told = parts(find_costs(course, sorted(events, key=lambda e: e.t)))
    assert sum(told.values()) == pytest.approx((span[1] - FAULT) * 1000, abs=0.01)
    assert min(told.values()) >= 0
    assert told["before"] == pytest.approx((span[0] - FAULT) * 1000, abs=0.001)


def test_a_row_of_the_stages_has_them_where_a_fault_interrupted_a_site() -> None:
    cut = Event(t(0), "x", "fault", "", {"action": "cut", "link": "a-b"})
    back = Event(t(2000), "x", "fault-restored", "", {"action": "cut", "link": "a-b"})
    outage = [
        Event(t(1), "x", "outage-start", "s1-st"), Event(t(40), "x", "outage-end", "s1-st", {"travel_ms": 2.0}),
        Event(t(1), "x", "outage-start", "s2-st"),
        Event(t(2001), "x", "outage-start", "s3-st"), Event(t(2009), "x", "outage-end", "s3-st", {"travel_ms": 2.0}),
    ]  # fmt: skip
    noticed = Event(t(3), "x", "link-down", "a")
    rows = find_stages([cut, back, noticed, *outage, *CHAIN], own=("rows", "switched"), probes_s=0.001)
    assert {row["site"]: "costs" in row for row in rows} == {"s1-st": True, "s2-st": False, "s3-st": False}
    assert rows[0]["costs"] == find_costs(COURSE, CHAIN)
