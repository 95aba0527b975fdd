"""BIER over FRR's OSPF in a real lab: what a dying agent, a dying forwarder and a failing link do to a flow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from scheme_lab import PATIENT_BFD, SchemeLab
from small_lab import DEADLINE_S, wait_for
from streams import Stream, command_line

from testbed.control.bier_config import COMMANDS
from testbed.control.commands import ask
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.plan.types import Role
from testbed.schemes.bier import Bier, bfr_ids
from testbed.spec.load import load_topology
from testbed.spec.topology import Router

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ATTEMPTS = 5
NUMBERS = count(1)  # of flows: each test has its own


class BierLab(SchemeLab[Bier]):
    """The ring of three sites; some of its core routers may be no BFRs."""

    def __init__(self, without: tuple[str, ...] = (), **options: Any) -> None:
        self.without, self.options = without, options
        ring = load_topology("ring")
        plain = {name: Router(kind="router", bier=False) for name in without}
        super().__init__(ring.model_copy(update={"nodes": ring.nodes | plain}), Bier(options), PATIENT_BFD)
        plan = self.lab.plan
        self.bfir = plan.repository_edge
        core = {node.name for node in plan.nodes.values() if node.role is Role.CORE}
        self.ring = [link.name for link in plan.links.values() if {link.a.node, link.b.node} <= core]

    def stream(self, number: int, hosts: list[str] | None = None) -> Stream:
        hosts = hosts or self.hosts
        flow = self.scheme.flow(number)
        self.scheme.prepare(self.lab, flow, self.lab.plan.repository, hosts)
        return Stream(self.lab, flow.group, hosts)

    def state(self, router: str) -> dict[str, Any]:
        """What the agent says of itself; it may be busy with an ospfd that is silent."""
        loopback = self.lab.plan.nodes[router].loopback
        assert loopback is not None
        return self.lab[router].call(lambda: ask((str(loopback.ip), COMMANDS), {"op": "state"}, DEADLINE_S))

    def forwarder(self, router: str) -> Forwarder:
        return Forwarder(ForwarderDaemon(self.lab[router]).socket)

    def restart_agent(self, router: str) -> None:
        self.lab.daemons[router, "bier-agent"] = self.scheme._start_agent(self.lab, self.lab[router])


@pytest.fixture(scope="module")
def built() -> Iterator[BierLab]:
    with BierLab() as made:
        yield made


@pytest.fixture
def stream(built: BierLab) -> Iterator[Stream]:
    made = built.stream(next(NUMBERS))
    try:
        made.flows()
        yield made
    finally:
        made.close()
        assert made.duplicates() == []


def test_state_per_flow_is_at_the_edges_only(built: BierLab, stream: Stream) -> None:
    state = built.scheme.state(built.lab)
    ids = bfr_ids(built.lab.plan)
    for router, counts in state.items():
        assert counts["BIFT entries"] == len(ids)
        assert counts["flows (BFIR)"] == (1 if router == built.bfir else counts["flows (BFIR)"])
        if router not in ids:
            assert counts["flows (BFIR)"] == counts["local memberships"] == 0


def test_another_destination_set_touches_no_other_router(built: BierLab) -> None:
    for node in built.lab.routers:  # those who listened before have left
        wait_for(lambda n=node: built.state(n.name)["members"] == 0, f"the leaves at {node.name}")
    before = {node.name: _updates(built, node.name) for node in built.lab.routers}
    built.scheme.prepare(built.lab, built.scheme.flow(240), built.lab.plan.repository, built.hosts[:1])
    built.scheme.prepare(built.lab, built.scheme.flow(240), built.lab.plan.repository, built.hosts[1:])
    changed = {name for name, count in before.items() if _updates(built, name) != count}
    assert changed == {built.bfir}


def _updates(built: BierLab, router: str) -> int:
    return sum(1 for event in built.scheme.events(built.lab) if event.router == router and event.kind == "bift")


def test_a_killed_agent_is_not_missed_and_a_new_one_takes_over(built: BierLab, stream: Stream) -> None:
    for router in (built.bfir, built.lab.plan.sites[0].name):
        for attempt in count(1):
            mark, before = stream.sent, route_changes(built)
            agent = built.lab.daemons[router, "bier-agent"]
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            try:
                stream.nothing_missing_since(mark)
                built.restart_agent(router)
                wait_for(lambda r=router: answers(built, r), f"the new agent of {router}")
                built.scheme.wait_ready(built.lab)
                stream.nothing_missing_since(mark)
                break
            except AssertionError:  # unless the IGP of a loaded host saw failures, which cost packets
                if route_changes(built) == before or attempt == ATTEMPTS:
                    raise


def route_changes(built: BierLab) -> int:
    events = built.scheme.events(built.lab)
    return sum(1 for event in events if event.kind == "bift" and event.detail["cause"] == "route")


def answers(built: BierLab, router: str) -> bool:
    try:
        return bool(built.state(router)["programmed"])
    except OSError:
        return False


def test_a_killed_forwarder_gets_its_tables_again(built: BierLab, stream: Stream) -> None:
    router = built.lab.plan.sites[0].name
    process = built.lab.daemons[router, "mcfwd"]
    process.kill()
    process.wait()
    wait_for(lambda: not built.state(router)["programmed"], "the agent to notice")
    built.lab.daemons[router, "mcfwd"] = ForwarderDaemon(built.lab[router]).start()
    wait_for(lambda: built.state(router)["programmed"], "the agent to program it")
    mark = stream.sent
    stream.flows()
    stream.nothing_missing_since(mark + 100)


def test_a_cut_is_healed_by_the_igp_and_never_doubles_a_packet(built: BierLab, stream: Stream) -> None:
    for link in built.ring:
        built.lab.cut(link)
        stream.flows()
        built.lab.restore(link)
        built.scheme.wait_ready(built.lab)
        stream.flows()


def test_a_restarted_ospfd_brings_its_bfr_back(built: BierLab, stream: Stream) -> None:
    router = built.lab.plan.sites[0].name
    ospfd = built.lab.daemons[router, "ospfd"]
    argv = command_line(ospfd.pid)
    ospfd.kill()
    ospfd.wait()
    wait_for(lambda: not built.state(router)["connected"], "the agent to notice")
    built.lab.daemons[router, "ospfd"] = built.lab[router].popen(argv)
    wait_for(lambda: built.state(router)["connected"], "the agent to connect anew")
    built.scheme.wait_ready(built.lab)
    stream.flows()


def test_a_site_that_leaves_for_good_takes_its_entries_along(built: BierLab) -> None:
    """Its farewell is heard everywhere at once; then it comes back."""
    router = built.lab.plan.sites[-1].name
    agent = built.lab.daemons[router, "bier-agent"]
    agent.terminate()
    assert agent.wait(30) == 0
    others = [node.name for node in built.lab.routers if node.name != router]
    for other in others:
        wait_for(lambda o=other: built.state(o)["entries"] == len(bfr_ids(built.lab.plan)) - 1, f"{other} to forget")
    built.restart_agent(router)
    wait_for(lambda: answers(built, router), "the agent")
    built.scheme.wait_ready(built.lab)


@pytest.mark.parametrize("options", [{"signalling": "igmp"}, {"encapsulation": "mpls", "bsl": 64, "ways": 2}])
def test_other_ways_to_do_it(options: dict[str, Any]) -> None:
    with BierLab(**options) as made:
        stream = made.stream(7)
        try:
            stream.flows()
            made.lab.cut(made.ring[0])
            stream.flows()
        finally:
            stream.close()
        assert stream.duplicates() == []
        if "signalling" in options:
            wait_for(lambda: made.state(made.bfir)["flows"] == 0, "the leaves")


def test_time_is_what_events_carry(built: BierLab) -> None:
    times = [event.t for event in built.scheme.events(built.lab)]
    assert times
    assert all(0 < t <= time.monotonic() for t in times)
