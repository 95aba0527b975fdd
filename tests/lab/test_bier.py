"""BIER over FRR's OSPF in a real lab: what a dying agent, a dying forwarder and a failing link do to a flow."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from itertools import count
from threading import Event, Thread
from typing import Any

import pytest
from small_lab import DEADLINE_S, wait_for

from testbed.control.bier_config import COMMANDS
from testbed.control.commands import ask
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.frr import render
from testbed.plan.timers import profile
from testbed.plan.types import Role
from testbed.schemes.base import Flow
from testbed.schemes.bier import Bier, bfr_ids
from testbed.spec.load import load_topology
from testbed.spec.topology import Router

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PORT = 5555
MCAST_JOIN_SOURCE_GROUP, SO_RCVBUFFORCE = 46, 33
BUFFER = 1 << 26  # what is lost, is not lost by a receiver that has to wait for the processor
NUMBERS = count(1)  # of flows: each test has its own


class Receiver:
    """A host that joined a flow: the sequence numbers that came, each as often as it came."""

    def __init__(self, lab: Lab, host: str, flow: Flow, source: str) -> None:
        def join() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            sock.bind((flow.group, PORT))
            index = socket.if_nametoindex(lab.plan.nodes[host].interfaces[0].name)
            address = [struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(a)) for a in (flow.group, source)]
            sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, struct.pack("=I4x", index) + b"".join(address))
            return sock

        self.got: list[int] = []
        self._sock = lab[host].call(join)
        self._sock.settimeout(0.2)
        self._over = Event()
        self._thread = Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                self.got.append(int.from_bytes(self._sock.recv(100), "big"))
            except TimeoutError:
                continue

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()


class Stream:
    """A flow from the repository to hosts, one packet every 2 ms until it is closed."""

    def __init__(self, lab: Lab, flow: Flow, hosts: list[str]) -> None:
        source = str(lab.plan.nodes[lab.plan.repository].interfaces[0].address.ip)
        self.receivers = {host: Receiver(lab, host, flow, source) for host in hosts}
        self.sent = 0
        self._over = Event()
        self._sock = lab[lab.plan.repository].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        self._group = flow.group
        self._thread = Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._over.wait(0.002):
            self._sock.sendto(self.sent.to_bytes(8, "big"), (self._group, PORT))
            self.sent += 1

    def flows(self) -> None:
        """Wait until every host got a packet that is sent from now on."""
        mark = self.sent
        for host, receiver in self.receivers.items():
            wait_for(lambda r=receiver: any(n >= mark for n in list(r.got)), f"a packet at {host}")

    def nothing_missing_since(self, mark: int) -> None:
        """Every host has every packet of the time since `mark`."""
        self.flows()
        end = self.sent
        for host, receiver in self.receivers.items():
            wanted = set(range(mark, end))
            wait_for(lambda r=receiver: r.got[-1] >= end, f"the packets sent until now at {host}")
            missing = wanted - set(receiver.got)
            assert not missing, f"{host} misses {sorted(missing)} of {mark} to {end}"

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()
        for receiver in self.receivers.values():
            receiver.close()

    def duplicates(self) -> list[int]:
        """RFC 8279 section 6.8: there are none, whatever happens."""
        return [n for r in self.receivers.values() for n in set(r.got) if r.got.count(n) > 1]


class BierLab:
    """The ring of three sites, with the scheme started; some of its core routers may be no BFRs."""

    def __init__(self, without: tuple[str, ...] = (), **options: Any) -> None:
        self.without, self.options = without, options
        self.scheme = Bier(options)
        topology = load_topology("ring")
        plain = {name: Router(kind="router", bier=False) for name in without}
        plan = make_plan(topology.model_copy(update={"nodes": topology.nodes | plain}))
        configs = {
            router.name: render(
                plan,
                router.name,
                scheme_features=None,
                timers=profile("fast"),
                frr_version=frr_version(),
                ospf_api=True,
            )
            for router in plan.routers
        }
        self.lab = Lab(plan, configs)
        self.sites = [node.name for node in plan.hosts if node.name != plan.repository]
        self.bfir = plan.repository_edge
        core = {node.name for node in plan.nodes.values() if node.role is Role.CORE}
        self.ring = [link.name for link in plan.links.values() if {link.a.node, link.b.node} <= core]

    def __enter__(self) -> BierLab:
        try:
            self.lab.start()
            self.lab.wait_for_igp()
            self.scheme.start(self.lab)
            self.scheme.wait_ready(self.lab)
        except BaseException:
            self.lab.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.stop()

    def stream(self, number: int, hosts: list[str] | None = None) -> Stream:
        hosts = hosts or self.sites
        flow = self.scheme.flow(number)
        self.scheme.prepare(self.lab, flow, self.lab.plan.repository, hosts)
        return Stream(self.lab, flow, hosts)

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
    built.scheme.prepare(built.lab, built.scheme.flow(240), built.lab.plan.repository, built.sites[:1])
    built.scheme.prepare(built.lab, built.scheme.flow(240), built.lab.plan.repository, built.sites[1:])
    changed = {name for name, count in before.items() if _updates(built, name) != count}
    assert changed == {built.bfir}


def _updates(built: BierLab, router: str) -> int:
    return sum(1 for event in built.scheme.events(built.lab) if event.router == router and event.kind == "bift")


def test_a_killed_agent_is_not_missed_and_a_new_one_takes_over(built: BierLab, stream: Stream) -> None:
    for router in (built.bfir, built.lab.plan.sites[0].name):
        mark = stream.sent
        agent = built.lab.daemons[router, "bier-agent"]
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        stream.nothing_missing_since(mark)
        built.restart_agent(router)
        wait_for(lambda r=router: _answers(built, r), f"the new agent of {router}")
        built.scheme.wait_ready(built.lab)
        stream.nothing_missing_since(mark)


def _answers(built: BierLab, router: str) -> bool:
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
    argv = _argv(ospfd.pid)
    ospfd.kill()
    ospfd.wait()
    wait_for(lambda: not built.state(router)["connected"], "the agent to notice")
    built.lab.daemons[router, "ospfd"] = built.lab[router].popen(argv)
    wait_for(lambda: built.state(router)["connected"], "the agent to connect anew")
    built.scheme.wait_ready(built.lab)
    stream.flows()


def _argv(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().rstrip("\0").split("\0")


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
    wait_for(lambda: _answers(built, router), "the agent")
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
    now = time.monotonic()
    assert all(0 < event.t <= now for event in built.scheme.events(built.lab))
