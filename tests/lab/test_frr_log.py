"""What FRR's logs say of failures, against the lab's own doings, the daemons' own tables and an OSPF API client."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from small_lab import DEADLINE_S, wait_for

from testbed.control.ospf_api import LsaEvent, OspfApi
from testbed.lab import namespace, vty
from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.lab.messages import messages_between, read_igp
from testbed.packet.ospf_lsa import LsaType
from testbed.plan.build import make_plan
from testbed.plan.frr import Underlay, render
from testbed.plan.timers import BfdTimers, profile
from testbed.record import Event
from testbed.run.frr_log import FrrLog
from testbed.run.stages import find_stages
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

NODES = {"a": {"kind": "repository"}, "b": {"kind": "router"}, "c": {"kind": "site"}}
# With BFD's long interval: a busy machine must not take a neighbour away before the test does.
TIMERS = replace(profile("fast"), bfd=BfdTimers(interval=300, multiplier=3))
CLOCKS = 0.001  # seconds by which two ways of reading one moment may differ


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A triangle whose IGP and BFD sessions stand."""
    topology = Topology.model_validate(
        {"name": "triangle", "nodes": NODES, "links": [["a", "b"], ["b", "c"], ["a", "c"]]}
    )
    plan = make_plan(topology)
    options = {"scheme_features": None, "timers": TIMERS, "frr_version": frr_version()}
    underlay = Underlay(ospf_api=True)
    with Lab(plan, {n.name: render(plan, n.name, **options, underlay=underlay) for n in plan.routers}) as built:
        built.start()
        built.wait_for_igp()
        wait_for(lambda: sessions_up(built), "BFD sessions at every router")
        yield built


def sessions_up(lab: Lab) -> bool:
    peers = [vty.ask_json(node.folder / "run/frr/bfdd.vty", "show bfd peers json") for node in lab.routers]
    return all(len(found) == 2 and all(peer["status"] == "up" for peer in found) for found in peers)


def watched(lab: Lab) -> FrrLog:
    log = FrrLog(lab, "x-1")
    log.watch()
    assert [e for e in log.events() if e.kind == "unwatched"] == []
    return log


def first(log: FrrLog, after: float, node: str, kind: str, **detail: object) -> Callable[[], Event | None]:
    def find() -> Event | None:
        found = [
            e
            for e in log.events()
            if e.t >= after and (e.node, e.kind) == (node, kind) and detail.items() <= e.detail.items()
        ]
        return min(found, key=lambda e: e.t, default=None)

    return find


def test_a_cut_is_told_from_the_adjacency_to_the_lsas_arrival_on_one_clock(lab: Lab) -> None:
    api = OspfApi(timeout=DEADLINE_S)
    namespace.inside(lab.pid_of("c"), api.connect)
    api.process()
    log = watched(lab)
    before = time.monotonic()
    lab.cut("a-b")
    lost = wait_for(first(log, before, "a", "neighbour", neighbour="b", **{"from": "Full"}), "a to miss b")
    sent = wait_for(first(log, before, "a", "lsa", own=True, type=1), "a's LSA")
    heard = wait_for(first(log, before, "c", "lsa", own=False, router="a"), "a's LSA at c")
    assert before - CLOCKS <= lost.t <= sent.t <= heard.t <= time.monotonic() + CLOCKS
    assert wait_for(first(log, before, "b", "neighbour", neighbour="a"), "b to miss a")
    router_a = lab.plan.nodes["a"].loopback
    assert router_a is not None

    def told() -> float | None:
        if select.select(api.filenos(), (), (), 0.05)[0]:
            for event in api.process():
                if isinstance(event, LsaEvent) and event.lsa.key == (LsaType.ROUTER, router_a.ip, router_a.ip):
                    return event.t
        return None

    # ospfd tells its clients of what it has installed, and has said so in its log by then.
    assert heard.t <= wait_for(told, "the API's word of it") + CLOCKS
    api.close()
    (row,) = find_stages([Event(before, "x-1", "fault", "", {"action": "cut", "link": "a-b"}), *log.events()])
    assert {"a", "b"} <= {r["router"] for r in row["routers"]}


def test_a_neighbour_whose_bfd_falls_silent_is_detected_by_bfd(lab: Lab) -> None:
    log = watched(lab)
    before = time.monotonic()
    silent = lab.daemons["b", "bfdd"]
    os.kill(silent.pid, signal.SIGSTOP)
    try:
        down = wait_for(first(log, before, "a", "bfd", to="down", **{"from": "up"}), "a's BFD session to end")
        lost = wait_for(first(log, before, "a", "neighbour", neighbour="b"), "a's adjacency to end")
        sent = wait_for(first(log, before, "a", "lsa", own=True, type=1), "a's LSA")
    finally:
        os.kill(silent.pid, signal.SIGCONT)
    assert down.detail["reason"] == "control-expired"
    assert before <= min(down.t, lost.t)  # bfdd tells ospfd first and its log then
    assert lost.t <= sent.t
    (row,) = find_stages([Event(before, "x-1", "fault"), *log.events()])
    assert row["detected_by"] == "bfd"
    assert wait_for(first(log, lost.t, "a", "neighbour", neighbour="b", to="Full"), "the adjacency to come back")


def test_the_igps_messages_are_counted_and_grow(lab: Lab) -> None:
    before = read_igp(lab)

    def grown() -> dict[str, dict[str, int]] | None:
        found = messages_between(before, read_igp(lab))
        return found if found["ospf"]["hello"] >= 6 and found["bfd"]["messages"] >= 6 else None

    found = wait_for(grown, "hellos and BFD packets")
    assert found["ospf"]["messages"] == sum(n for kind, n in found["ospf"].items() if kind != "messages")
    lab.cut("a-b")
    wait_for(lambda: messages_between(before, read_igp(lab))["ospf"]["link_state_update"] > 0, "LS updates")
    assert all(n >= 0 for counts in messages_between(before, read_igp(lab)).values() for n in counts.values())
