"""SR-P2MP in a real lab: FRR's OSPF, replication agents, forwarders, and the controller on the repository's host.

        repo --- r1 --- s1
                 |       |      A square: whatever link between routers fails, each site can still be reached.
                s3 ---- s2
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from typing import Any

import leaf_churn
import pytest
from scheme_lab import CARRIER_ONLY, SQUARE, SchemeLab
from small_lab import wait_for
from streams import Stream
from test_replication import SITES

from testbed.errors import LabError
from testbed.schemes.ingress_replication import router_id
from testbed.schemes.sr_p2mp import CONTROLLER, SrP2mp
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

HOSTS = [f"{site}-st" for site in SITES]
LINKS = ("r1-s1", "s1-s2", "s2-s3", "r1-s3")
NUMBERS = count(1)  # of syncs: each test has its own


class P2mpLab(SchemeLab[SrP2mp]):
    """The square, or another topology, with everything in it."""

    def __init__(self, network: Topology = SQUARE, **options: Any) -> None:
        super().__init__(network, SrP2mp(options), CARRIER_ONLY)

    def sync(self, hosts: list[str]) -> Stream:
        """A flow from the repository to these, with packets in it."""
        flow = self.scheme.flow(next(NUMBERS))
        stream = Stream(self.lab, flow.group, hosts)
        self.scheme.prepare(self.lab, flow, self.lab.plan.repository, hosts)
        self.flow = flow
        return stream

    def end(self, stream: Stream) -> None:
        stream.close()
        self.scheme.prepare(self.lab, self.flow, self.lab.plan.repository, [])
        wait_for(lambda: not self.segments(), "the end of all segments")
        assert stream.duplicates() == []

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [each.detail for each in self.scheme.events(self.lab) if each.kind == kind]

    def segments(self) -> int:
        return sum(counts["Replication segments"] for counts in self.scheme.state(self.lab).values())

    def unreachable(self) -> set[str]:
        """Sites that the controller knows no way to."""
        (policy,) = self.scheme.ask(self.lab, {"op": "state"})["policies"]
        return {site for site in SITES if router_id(self.lab.plan, site) in policy["unreachable"]}

    def at_rest(self) -> bool:
        """One instance, and that one complete."""
        try:
            (policy,) = self.scheme.ask(self.lab, {"op": "state"})["policies"]
        except (OSError, ValueError):  # the controller has just begun: it does not listen yet, or knows of none
            return False
        return policy["ready"] and not policy["unreachable"] and len(policy["instances"]) == 1


@pytest.fixture(scope="module", params=["sr-mpls pinned", "sr-mpls loose", "srv6 pinned", "srv6 loose"])
def built(request: pytest.FixtureRequest) -> Iterator[P2mpLab]:
    dataplane, branches = request.param.split()
    with P2mpLab(dataplane=dataplane, branches=branches) as made:
        yield made


@pytest.fixture
def stream(built: P2mpLab) -> Iterator[Stream]:
    made = built.sync(HOSTS)
    try:
        made.flows()
        yield made
    finally:
        built.end(made)


def test_each_packet_once_and_the_tree_follows_cuts(built: P2mpLab, stream: Stream) -> None:
    mark = stream.sent
    stream.nothing_missing_since(mark)
    for link in LINKS:
        built.lab.cut(link)
        stream.flows()
        built.lab.restore(link)
        built.lab.wait_for_igp()
        built.scheme.wait_ready(built.lab)
        stream.flows()
    wait_for(built.at_rest, "one instance")


def test_leaves_come_and_go_without_loss_for_others(built: P2mpLab, stream: Stream) -> None:
    mark = stream.sent
    source = built.lab.plan.repository
    for hosts in (HOSTS[:2], HOSTS, HOSTS[:1], HOSTS):
        built.scheme.prepare(built.lab, built.flow, source, hosts)
    wait_for(built.at_rest, "one instance")
    assert len(built.events("switched")) >= 4
    end, kept = stream.sent, stream.receivers[HOSTS[0]]
    wait_for(lambda: set(range(mark, end)) <= set(kept.got), f"all packets at {HOSTS[0]}")
    stream.flows()


def test_a_killed_controller_is_not_missed_and_a_new_one_takes_over(built: P2mpLab, stream: Stream) -> None:
    node = built.scheme.controller(built.lab)
    mark = stream.sent
    process = built.lab.daemons[node.name, CONTROLLER]
    process.send_signal(signal.SIGKILL)
    process.wait()
    stream.nothing_missing_since(mark)
    built.scheme.start_controller(built.lab, node)
    built.scheme.wait_ready(built.lab)
    wait_for(built.at_rest, "the new controller's view")
    stream.nothing_missing_since(mark)
    built.lab.cut("r1-s1")
    stream.flows()
    built.lab.restore("r1-s1")
    built.lab.wait_for_igp()
    stream.flows()


def test_what_failed_while_there_was_no_controller_is_healed_by_the_next_one(
    built: P2mpLab, stream: Stream
) -> None:
    node = built.scheme.controller(built.lab)
    process = built.lab.daemons[node.name, CONTROLLER]
    process.send_signal(signal.SIGKILL)
    process.wait()
    built.lab.cut("r1-s1")
    built.scheme.start_controller(built.lab, node)
    stream.flows()
    wait_for(built.at_rest, "one instance, the new controller's")
    built.lab.restore("r1-s1")
    built.lab.wait_for_igp()
    built.scheme.wait_ready(built.lab)
    stream.flows()
    wait_for(built.at_rest, "one instance")


def test_a_controller_cut_off_from_a_part_goes_on_with_the_rest(built: P2mpLab, stream: Stream) -> None:
    """s2 and s3 are away, with what their routers hold: s1 misses nothing, and gets nothing twice later."""
    mark = stream.sent
    for link in ("s1-s2", "r1-s3"):
        built.lab.cut(link)
    wait_for(lambda: built.unreachable() == {"s2", "s3"}, "the controller to know who is away")
    end, kept = stream.sent, stream.receivers["s1-st"]
    wait_for(lambda: set(range(mark, end)) <= set(kept.got), "all packets at s1-st")
    for link in ("s1-s2", "r1-s3"):
        built.lab.restore(link)
    built.lab.wait_for_igp()
    stream.flows()
    wait_for(built.at_rest, "one instance")


def test_a_controller_that_was_cut_off_does_not_undo_its_successors_work() -> None:
    with P2mpLab(controller="s3") as made:
        lab, former = made.lab, made.scheme
        stream = made.sync(HOSTS[:2])
        try:
            stream.flows()
            mark = stream.sent
            for link in ("s2-s3", "r1-s3"):
                lab.cut(link)
            made.scheme = SrP2mp({})  # the next one is on the repository's host
            made.scheme.start_controller(lab, made.scheme.controller(lab))
            wait_for(made.at_rest, "the successor's view")
            stream.nothing_missing_since(mark)
            made.scheme.prepare(lab, made.flow, lab.plan.repository, HOSTS[:1])
            for link in ("s2-s3", "r1-s3"):
                lab.restore(link)
            lab.wait_for_igp()
            made.scheme.wait_ready(lab)
            made.scheme.prepare(lab, made.flow, lab.plan.repository, HOSTS[:2])
            with pytest.raises(LabError, match="superseded"):
                former.prepare(lab, made.flow, lab.plan.repository, HOSTS)
            wait_for(made.at_rest, "one instance")
            stream.flows()
            lab.cut("r1-s1")
            stream.flows()
        finally:
            made.end(stream)


def test_a_standby_tree_takes_over() -> None:
    with P2mpLab(standby="disjoint", algorithm="steiner", controller="s2") as made:
        stream = made.sync(HOSTS[:1])
        try:
            stream.flows()
            wait_for(lambda: made.segments() == 3 + 5, "the standby tree, the long way round")
            made.lab.cut("r1-s1")
            (_, second, *_) = wait_for(lambda: len(made.events("switched")) > 1 and made.events("switched"), "a switch")
            preferences = {each["instance"]: each["preference"] for each in made.events("instance")}
            assert preferences[second["active"]] == 50
            stream.flows()
        finally:
            made.end(stream)


@pytest.mark.parametrize("options", [{}, {"branches": "loose"}, {"dataplane": "srv6"}], ids=["pinned", "loose", "srv6"])
def test_leaf_churn_leaves_nothing_behind(options: dict[str, str]) -> None:
    """A hundred changes; bench/churn.py makes a thousand and more."""
    with P2mpLab(leaf_churn.GRID, **options) as made:
        churn = leaf_churn.LeafChurn(made.lab, made.scheme, seed=1)
        try:
            for number in range(100):
                churn.change()
                if number % 10 == 9:
                    churn.check()
            churn.end()
        finally:
            churn.close()
