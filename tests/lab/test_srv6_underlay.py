"""Locators in a ring of routers: advertised by ospf6d, routed by the kernels, and gone round a cut."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from small_lab import DEADLINE_S, program, wait_for

from testbed.errors import NotConverged
from testbed.lab import vty
from testbed.lab.capabilities import frr_version
from testbed.lab.convergence import full_adjacencies, wait_for_igp
from testbed.lab.lab import Lab
from testbed.lab.messages import Counted, read_igp
from testbed.lab.node import Node
from testbed.packet import Ethernet, Ethertype, udp_packet
from testbed.plan import srv6
from testbed.plan.build import make_plan
from testbed.plan.frr import Underlay, render
from testbed.plan.timers import Timers, profile
from testbed.plan.types import Interface, Link, Role
from testbed.record import Event
from testbed.run.repair import Repairs, way_to_locator
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PORT = 7000
FAST = profile("fast")
# Without BFD: a busy machine must not take a neighbour away.
CALM = replace(FAST, bfd=None)


@contextlib.contextmanager
def network(topology: Topology, timers: Timers) -> Iterator[Lab]:
    plan, version, underlay = make_plan(topology), frr_version(), Underlay(srv6=True)
    configs = {
        router.name: render(
            plan, router.name, scheme_features=None, timers=timers, frr_version=version, underlay=underlay
        )
        for router in plan.routers
    }
    with Lab(plan, configs) as built:
        built.start()
        yield built


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with network(load_topology("ring"), CALM) as built:
        built.wait_for_igp()
        yield built


def ping(lab: Lab, routers: list[Node], targets: list[Node]) -> list[str]:
    """One echo request from each router to each other one, from locator to locator; those that had no answer."""
    lost = []
    for router in routers:
        script = "\n".join(
            f"ping -q -c 1 -W {DEADLINE_S:.0f} -I {source(router)} {source(target)} >/dev/null || echo {target.name}"
            for target in targets
            if target is not router
        )
        lost += [f"{router.name} to {name}" for name in router.run(["sh", "-c", script], timeout=600).stdout.split()]
    return lost


def source(router: Node) -> str:
    return str(srv6.source(router.spec.number))


def locator(router: Node) -> str:
    return str(srv6.locator(router.spec.number))


def ways(router: Node, family: str, prefix: str) -> set[str]:
    """The interfaces of the kernel's route to a prefix."""
    (route, *_) = json.loads(router.run(["ip", family, "-j", "route", "show", prefix]).stdout) or [{}]
    return {hop["dev"] for hop in route.get("nexthops", [route] if route else [])}


def core_link(lab: Lab) -> Link:
    core = {node.name for node in lab.plan.routers if node.role is Role.CORE}
    return next(link for link in lab.plan.links.values() if {link.a.node, link.b.node} <= core)


def test_every_locator_is_reached_from_every_other(lab: Lab) -> None:
    assert not ping(lab, list(lab.routers), list(lab.routers))


def test_locators_go_the_way_of_the_loopbacks(lab: Lab) -> None:
    """The kernel's IPv4 routes are the oracle: the costs are the same."""
    for router in lab.routers:
        for other in lab.routers:
            if other is not router:
                assert other.spec.loopback is not None
                ipv4 = ways(router, "-4", str(other.spec.loopback.network))
                assert ways(router, "-6", locator(other)) == ipv4 != set()


def test_a_router_does_not_route_its_own_sids(lab: Lab) -> None:
    for router in lab.routers:
        (route,) = json.loads(router.run(["ip", "-6", "-j", "route", "show", "root", locator(router)]).stdout)
        assert route["type"] == "blackhole"


def test_addresses_are_where_routers_meet_and_nowhere_else(lab: Lab) -> None:
    for node in lab.nodes.values():
        found = {
            (entry["ifname"], address["scope"])
            for entry in json.loads(node.run(["ip", "-6", "-j", "addr"]).stdout)
            for address in entry.get("addr_info", [])
        }
        core = {interface.name for interface in node.spec.interfaces if not interface.is_lan}
        if node.spec.role.is_router:
            links = {(name, "link") for name in {*core, srv6.KERNEL_PEER}}
            assert found == links | {("lo", "global"), ("lo", "host")}
        else:
            assert not found


def test_ospfv3s_messages_are_counted(lab: Lab) -> None:
    read = read_igp(lab)
    for router in lab.routers:
        for interface in router.spec.interfaces:
            for kind in ("hello", "database_description", "link_state_update"):
                count = read.get(Counted("ospfv3", kind, router.name, interface.name), 0)
                assert (count > 0) == (not interface.is_lan)


def test_what_the_forwarder_hands_over_is_routed_by_the_kernel(lab: Lab) -> None:
    """As large as the links allow."""
    first, last = lab.routers[0], lab.routers[-1]
    src, dst = srv6.source(first.spec.number), srv6.source(last.spec.number)
    mtu = min(link.mtu for link in lab.plan.links.values() if not link.is_lan)
    text = bytes(mtu - 48)  # IPv6's and UDP's headers
    packet = udp_packet(src, dst, PORT, PORT, text)
    frame = Ethernet(srv6.KERNEL_MAC, "02:00:00:00:00:02", Ethertype.IPV6).encode(packet)

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.bind((str(dst), PORT))
        return sock

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((srv6.KERNEL_PORT, 0))
            sock.send(frame)

    def heard() -> bytes:
        try:
            return sock.recv(1 << 16)
        except BlockingIOError:
            return b""

    with last.call(listen) as sock:
        first.call(send)
        assert wait_for(heard, "the packet") == text


def test_a_cut_is_gone_round_and_the_monitor_sees_when(lab: Lab) -> None:
    link = core_link(lab)
    a, b = lab[link.a.node], lab[link.b.node]
    host = next(host.name for host in lab.plan.hosts if host.site == lab.plan.sites[0].name)
    repository, edge = lab[lab.plan.repository_edge], lab[lab.plan.sites[0].name]
    nodes = [{"name": router.name, "pid": router.pid} for router in lab.routers]
    with program("monitor", "--config", json.dumps({"nodes": nodes})) as monitor:
        monitor.wait("ready")
        lab.cut(link.name)
        try:
            for end, other in ((link.a, b), (link.b, a)):
                wait_for(lambda end=end, other=other: _elsewhere(lab, end, other), "a way round")  # type: ignore[misc]
                event = monitor.wait("route", node=end.node, dst=locator(other), op="add")
                assert event["detail"]["ifname"] != end.name
            assert not ping(lab, [a, b, repository, edge], [a, b, repository, edge])
        finally:
            lab.restore(link.name)
        lab.wait_for_igp()
        for end, other in ((link.a, b), (link.b, a)):
            wait_for(lambda end=end, other=other: ways(lab[end.node], "-6", locator(other)) == {end.name}, "the link")  # type: ignore[misc]
            monitor.wait("route", node=end.node, dst=locator(other), op="add", ifname=end.name)
        assert not ping(lab, [a, b], [a, b])
        assert monitor.finish()["overruns"] == 0
    events = [Event(each["t"], "", each["kind"], each["node"], each["detail"]) for each in monitor.lines]
    # A route is replaced: the kernel withdraws what went with its link, and nobody withdraws anything else.
    locators = {locator(router) for router in lab.routers}
    changes = [event.detail for event in events if event.kind == "route" and event.detail["dst"] in locators]
    assert {each["ifname"] for each in changes if each["op"] == "del"} <= {link.a.name, link.b.name}
    cut = min(event.t for event in events if event.kind == "link-down")
    up = min(event.t for event in events if event.kind == "link-up" and event.t > cut)
    repairs = Repairs(lab.plan, {host: way_to_locator(lab.plan, host)}, events)
    assert repairs.repaired(host, cut, up) is not None
    assert repairs.repaired(host, up, max(event.t for event in events) + 1) is not None


def _elsewhere(lab: Lab, end: Interface, other: Node) -> bool:
    found = ways(lab[end.node], "-6", locator(other))
    return bool(found) and end.name not in found


def test_bfd_watches_ospfv3s_neighbours() -> None:
    nodes = {"a": {"kind": "repository"}, "c": {"kind": "site"}}
    with network(Topology.model_validate({"name": "pair", "nodes": nodes, "links": [["a", "c"]]}), FAST) as pair:
        for router in pair.routers:
            wait_for(lambda router=router: _bfd_neighbours(router) == {4, 6}, "both sessions")  # type: ignore[misc]


def _bfd_neighbours(router: Node) -> set[int]:
    """The IP versions in which a neighbour is up."""
    peers = vty.ask_json(router.folder / "run/frr/bfdd.vty", "show bfd peers json")
    return {ip_address(peer["peer"]).version for peer in peers if peer["status"] == "up"}


def test_ospfv3_alone_may_be_what_is_missing(lab: Lab) -> None:
    """A link that loses IPv6 and nothing else: the wait for the IGP says so, and sees it come back."""
    edge = lab[lab.plan.sites[0].name]
    (interface,) = [i for i in edge.spec.interfaces if not i.is_lan]
    switch = f"/proc/sys/net/ipv6/conf/{interface.name}/disable_ipv6"
    edge.call(lambda: Path(switch).write_text("1"))
    try:
        wait_for(lambda: full_adjacencies(edge, "ospf6d") == 0, "the end of an adjacency")
        assert full_adjacencies(edge) == 1
        with pytest.raises(NotConverged, match=r"locators|OSPFv3 adjacencies"):
            wait_for_igp(lab.plan, lab.nodes, srv6=True, deadline=0)
        wait_for_igp(lab.plan, lab.nodes, srv6=False)
    finally:
        edge.call(lambda: Path(switch).write_text("0"))
    lab.wait_for_igp()
    # The interface's address came anew, and is not used before nobody has objected to it (RFC 4862 5.4).
    wait_for(lambda: not ping(lab, [edge], list(lab.routers)), "pings of all routers")
