"""When the IGP had repaired a site's path: a small network, its routes as the monitor would tell them."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.plan.build import make_plan
from testbed.plan.paths import next_hops
from testbed.plan.types import Plan
from testbed.record import Event
from testbed.run.repair import Repairs, Way, way_to_host, way_to_locator, way_to_site, way_to_source
from testbed.spec.topology import Topology

FAULT, UNTIL = 100.0, 110.0


def plan_of(nodes: dict[str, str], links: list[str]) -> Plan:
    """`links`: `a-b` or `a-b:cost`."""
    made: list[dict[str, Any]] = []
    for link in links:
        ends, _, cost = link.partition(":")
        a, b = ends.split("-")
        made.append({"a": a, "b": b, "cost": int(cost or 10)})
    kinds = {name: {"kind": kind} for name, kind in nodes.items()}
    return make_plan(Topology.model_validate({"name": "t", "nodes": kinds, "links": made}))


# A ring: s1 hangs on r3, reached by r2; the other way round, by r4, is longer.
ROUTERS = {f"r{i}": "router" for i in (1, 2, 3, 4)}
RING = plan_of(
    {"repo": "repository", **ROUTERS, "s1": "site", "s2": "site"},
    ["repo-r1", "r1-r2", "r2-r3", "r3-r4", "r4-r1:15", "r3-s1", "r4-s2"],
)
SOURCE = way_to_source(RING, "s1-st")


def name_of(node: str, peer: str, plan: Plan = RING) -> str:
    return next(i.name for i in plan.nodes[node].interfaces if i.peer_node == peer)


def event(ms: float, kind: str, node: str, **detail: Any) -> Event:
    return Event(FAULT + ms / 1000, "pim-ssm-1", kind, node, detail)


def carrier(ms: float, kind: str, a: str, b: str) -> list[Event]:
    return [event(ms, kind, node, ifname=name_of(node, peer)) for node, peer in ((a, b), (b, a))]


def route(ms: float, node: str, *peers: str, prefix: str = SOURCE.prefix, plan: Plan = RING) -> Event:
    """The route of `node` to the prefix now leads to `peers`; to nobody: it is gone."""
    names = ",".join(name_of(node, peer, plan) for peer in peers)
    return event(ms, "route", node, op="add" if peers else "del", dst=prefix, via="", ifname=names)


def repaired(*events: Event, way: Way = SOURCE, until: float = UNTIL) -> float | None:
    found = Repairs(RING, {"s1-st": way}, reversed(events)).repaired("s1-st", FAULT, until)
    return None if found is None else round(found * 1000, 6)


CUT = carrier(2, "link-down", "r1", "r2")


def test_the_ways() -> None:
    assert way_to_source(RING, "s1-st") == Way("s1", "repo", "10.64.0.0/30")
    loopback = RING.nodes["s1"].loopback
    assert loopback is not None
    assert way_to_site(RING, "s1-st") == Way("repo", "s1", f"{loopback.ip}/32")
    assert way_to_locator(RING, "s1-st") == Way("repo", "s1", "fc00:0:6::/48")
    lan = RING.nodes["s1-st"].interfaces[0].address.network
    assert way_to_host(RING, "s1-st") == Way("repo", "s1", str(lan))


def test_it_is_the_last_router_on_the_new_path_that_counts() -> None:
    # s1 - r3 - r4 - r1 - repo: only r3 must change. r2, off the path, comes last of all and does not matter.
    assert repaired(*CUT, route(30, "r3", "r4"), route(70, "r2", "r3")) == 30
    other = route(50, "r3", "r4", prefix="10.0.0.0/30")  # another prefix's route
    assert repaired(*CUT, route(30, "r3", "r4"), other) == 30


def test_a_path_that_the_fault_leaves_alone_needed_no_repair() -> None:
    assert repaired(*carrier(2, "link-down", "r4", "r1"), route(30, "r4", "r3")) == 0


def test_until_the_route_came_nothing_is_repaired() -> None:
    assert repaired(*CUT) is None
    assert repaired(*CUT, route(30, "r3")) is None
    assert repaired(*CUT, route(30, "r3", "r4"), until=FAULT + 0.02) is None


def test_a_route_that_goes_astray_again_is_repaired_when_it_is_right_for_good() -> None:
    assert repaired(*CUT, route(30, "r3", "r4"), route(40, "r3"), route(50, "r3", "r4"), route(60, "r3", "r4")) == 50


def test_a_path_that_was_right_and_wavered_was_repaired_at_last() -> None:
    assert repaired(route(10, "r3", "r4"), route(25, "r3", "r2")) == 25


def test_a_restoration_is_measured_by_the_path_that_comes_back() -> None:
    before = [*carrier(-5000, "link-down", "r1", "r2"), route(-4970, "r3", "r4")]
    assert repaired(*before, *carrier(3, "link-up", "r1", "r2"), route(40, "r3", "r2")) == 40
    assert repaired(*before, *carrier(3, "link-up", "r1", "r2")) is None


def test_a_link_without_carrier_at_one_end_is_down() -> None:
    assert repaired(CUT[0], route(30, "r3", "r4")) == 30


def test_a_link_that_fell_silent_is_down_though_nobody_lost_a_carrier() -> None:
    silent = event(0, "fault", "", id=1, without=["r2-r3"])
    assert repaired(silent) is None
    assert repaired(silent, route(170, "r3", "r4"), route(180, "r4", "r1")) == 170  # r4 was right before
    back = [event(300, "fault-restored", "", id=1, without=[]), route(320, "r3", "r2")]
    assert repaired(silent, route(170, "r3", "r4"), *back) == 320


def test_a_site_that_is_cut_off_is_not_repaired() -> None:
    assert repaired(*carrier(2, "link-down", "r3", "s1"), route(30, "s1")) is None


def test_what_the_monitor_missed_is_not_guessed_at() -> None:
    events = [*CUT, route(30, "r3", "r4")]
    assert repaired(*events, event(20, "overrun", "r3")) is None
    assert repaired(*events, event(20, "overrun", "r2")) == 30  # not on the path
    assert repaired(*events, event(-20, "overrun", "r3")) == 30


def test_a_host_without_a_way_has_no_answer() -> None:
    assert Repairs(RING, {}, CUT).repaired("s1-st", FAULT, UNTIL) is None


def test_the_way_to_the_site_is_walked_from_the_source() -> None:
    way = way_to_site(RING, "s1-st")
    events = [*CUT, route(30, "r1", "r4", prefix=way.prefix), route(45, "r4", "r3", prefix=way.prefix)]
    assert repaired(*events, way=way) == 30  # r4's route was right all along
    assert repaired(*events, way=SOURCE) is None


def test_the_way_to_the_locator_goes_by_ipv6_routes() -> None:
    """As the kernel tells of them: routes over a link that is lost are withdrawn at once, others replaced."""
    way = way_to_locator(RING, "s1-st")
    events = [*CUT, route(2, "r1", prefix=way.prefix), route(30, "r1", "r4", prefix=way.prefix)]
    assert repaired(*events, way=way) == 30
    assert repaired(*events, way=way_to_site(RING, "s1-st")) is None


def test_of_equal_costs_all_stale_next_hops_must_go() -> None:
    plan = plan_of({"repo": "repository", "r1": "router", "r2": "router", "s1": "site"},
                   ["repo-r1", "repo-r2", "r1-s1", "r2-s1"])  # fmt: skip
    way = way_to_source(plan, "s1-st")
    assert next_hops(plan, "repo")["s1"] == {name_of("s1", "r1", plan), name_of("s1", "r2", plan)}
    down = event(2, "link-down", "repo", ifname=name_of("repo", "r1", plan))
    came = route(30, "s1", "r2", prefix=way.prefix, plan=plan)
    for events, seconds in (([], 0.0), ([down], None), ([down, came], 0.03)):
        found = Repairs(plan, {"s1-st": way}, events).repaired("s1-st", FAULT, UNTIL)
        assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_host_is_concerned_by_the_routers_on_its_way_and_by_what_is_no_router() -> None:
    repairs = Repairs(RING, {"s1-st": SOURCE}, carrier(0, "link-down", "r2", "r3"))
    before, after = (repairs.concerned("s1-st", FAULT + s) for s in (-1, 1))
    assert before is not None
    assert after is not None
    assert {"r1", "r2", "r3"} <= before
    assert "r4" not in before
    assert {"r1", "r4", "r3", "repo", "s1"} <= after
    assert "r2" not in after
    assert "s1-st" in after
    assert repairs.concerned("s2-st", FAULT) is None  # nobody said what its way is
