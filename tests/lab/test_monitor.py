"""The kernel monitor against the kernel: what is done with ip(8) and the multicast routing socket is what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from small_lab import Spaces, program, spaces, wait_for

from testbed.lab.namespace import inside
from testbed.plan.types import Plan
from testbed.run.counters import difference, multicast_state, read_counters, read_interfaces

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC, MRT_DEL_MFC = 200, 202, 204, 205


@pytest.fixture
def lab() -> Iterator[Spaces]:
    with spaces("r1", "r2") as made:
        for node in ("r1", "r2"):
            made.run(node, "ip link set lo up")
        for number in range(2):
            made.wire("r1", f"r1-eth{number}", "r2", f"r2-eth{number}")
            for side, node in enumerate(("r1", "r2"), 1):
                made.run(node, f"ip address add 10.0.{number}.{side}/30 dev {node}-eth{number}")
        yield made


def config(lab: Spaces, **more: Any) -> str:
    nodes = [{"name": name, "pid": lab.pid(name)} for name in ("r1", "r2")]
    return json.dumps({"nodes": nodes} | more)


class MulticastRouter:
    """The kernel's multicast routing socket of one node (linux/mroute.h), with a vif for each interface named."""

    def __init__(self, pid: int, *interfaces: str) -> None:
        self.sock = inside(pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP))
        self.sock.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
        for vif, name in enumerate(interfaces):
            index = inside(pid, lambda name=name: socket.if_nametoindex(name))
            vifctl = struct.pack("=HBBIi4x", vif, 0x8, 1, 0, index)  # VIFF_USE_IFINDEX
            self.sock.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, vifctl)

    def entry(self, option: int, source: str, group: str, iif: int, oifs: tuple[int, ...]) -> None:
        ttls = bytes(1 if vif in oifs else 0 for vif in range(32))
        addresses = socket.inet_aton(source) + socket.inet_aton(group)
        self.sock.setsockopt(socket.IPPROTO_IP, option, struct.pack("=8sH32s2x12xi", addresses, iif, ttls, 0))


def test_links_routes_and_multicast_routes_are_told_as_they_happen(lab: Spaces) -> None:
    with program("monitor", "--config", config(lab)) as monitor:
        monitor.wait("ready")
        begun = time.monotonic()

        lab.run("r1", "ip route add 10.9.0.0/24 via 10.0.0.2")
        added = monitor.wait("route", node="r1", dst="10.9.0.0/24")
        assert added["detail"] == {"op": "add", "dst": "10.9.0.0/24", "via": "10.0.0.2", "ifname": "r1-eth0"}
        lab.run("r1", "ip route replace 10.9.0.0/24 nexthop via 10.0.0.2 nexthop via 10.0.1.2")
        multipath = monitor.wait("route", node="r1", via="10.0.0.2,10.0.1.2")
        assert multipath["detail"]["ifname"] == "r1-eth0,r1-eth1"
        lab.run("r1", "ip route del 10.9.0.0/24")
        monitor.wait("route", node="r1", op="del", dst="10.9.0.0/24")

        lab.run("r1", "ip link set r1-eth0 down")
        down = monitor.wait("link-down", node="r1", ifname="r1-eth0")
        monitor.wait("link-down", node="r2", ifname="r2-eth0")  # its peer loses carrier
        lab.run("r1", "ip link set r1-eth0 up")
        up = monitor.wait("link-up", node="r1", ifname="r1-eth0")
        monitor.wait("link-up", node="r2", ifname="r2-eth0")
        assert begun < added["t"] < down["t"] < up["t"] < time.monotonic()

        router = MulticastRouter(lab.pid("r1"), "r1-eth0", "r1-eth1")
        with router.sock:
            router.entry(MRT_ADD_MFC, "10.0.0.2", "232.1.0.1", 0, (1,))
            entry = monitor.wait("mroute", node="r1", op="add", group="232.1.0.1")["detail"]
            assert entry == {
                "op": "add", "source": "10.0.0.2", "group": "232.1.0.1", "iif": "r1-eth0", "oifs": ["r1-eth1"],
            }  # fmt: skip
            shown = " ".join(lab.run("r1", "ip mroute show").split())
            assert re.search(r"\(10\.0\.0\.2, ?232\.1\.0\.1\) Iif: r1-eth0 Oifs: r1-eth1", shown), shown
            plan = cast(Plan, SimpleNamespace(routers=[SimpleNamespace(name="r1"), SimpleNamespace(name="r2")]))
            assert multicast_state(plan, lab.pid) == {
                "r1": {"mroutes": 1, "oifs": 1, "unresolved": 0},
                "r2": {"mroutes": 0, "oifs": 0, "unresolved": 0},
            }
            router.entry(MRT_DEL_MFC, "10.0.0.2", "232.1.0.1", 0, ())
            monitor.wait("mroute", node="r1", op="del", group="232.1.0.1")
        summary = monitor.finish()
    assert summary["overruns"] == 0
    # Nothing was told twice or made up: every change of carrier once.
    links = [(e["kind"], e["node"]) for e in monitor.lines if e["kind"].startswith("link-")]
    assert sorted(links) == sorted((k, n) for k in ("link-down", "link-up") for n in ("r1", "r2"))


def test_lost_notifications_are_told(lab: Spaces) -> None:
    with program("monitor", "--config", config(lab, receive_buffer=4096)) as monitor:
        monitor.wait("ready")
        os.kill(monitor.pid, signal.SIGSTOP)
        try:
            lab.run("r1", *(f"ip route add 10.9.{i}.0/24 via 10.0.0.2" for i in range(64)))
        finally:
            os.kill(monitor.pid, signal.SIGCONT)
        monitor.wait("overrun", node="r1")
        after = len(monitor.lines)
        lab.run("r1", "ip route add 10.10.0.0/16 via 10.0.0.2")
        monitor.wait("route", after, node="r1", dst="10.10.0.0/16")
        assert monitor.finish()["overruns"] >= 1


def test_the_monitor_ends_when_nobody_listens(lab: Spaces) -> None:
    with program("monitor", "--config", config(lab)) as monitor:
        monitor.wait("ready")
        monitor.hang_up()
        lab.run("r1", "ip route add 10.9.0.0/24 via 10.0.0.2")
        wait_for(lambda: not monitor.alive(), "the monitor's end")


def test_counters_agree_with_ip_and_tc(lab: Spaces) -> None:
    lab.run("r1", "tc qdisc add dev r1-eth0 root tbf rate 100mbit burst 32k limit 3k")
    interface = SimpleNamespace(name="r1-eth0", link="r1-r2")
    plan = cast(Plan, SimpleNamespace(nodes={"r1": SimpleNamespace(name="r1", interfaces=(interface,))}))
    before = read_counters(plan, lab.pid)
    sock = inside(lab.pid("r1"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sock:
        sock.setblocking(False)
        for _ in range(200):  # 200 kB at once into 32 kB of burst and 3 kB of queue: some must be dropped
            sock.sendto(bytes(1000), ("10.0.0.2", 9))
    # The queue drains and the neighbours fall silent: two readings that agree.
    wait_for(lambda: read_interfaces(lab.pid("r1")) == read_interfaces(lab.pid("r1")), "counters at rest")

    def seen() -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        ours = read_interfaces(lab.pid("r1"))
        link = json.loads(lab.run("r1", "ip -j -s link show r1-eth0"))[0]["stats64"]["tx"]
        qdisc = next(q for q in json.loads(lab.run("r1", "tc -j -s qdisc show dev r1-eth0")) if q["kind"] == "tbf")
        return (ours["r1-eth0"], link, qdisc) if ours == read_interfaces(lab.pid("r1")) else None

    ours, link, qdisc = wait_for(seen, "a reading between two equal ones")
    assert (ours.bytes, ours.packets, ours.device_drops) == (link["bytes"], link["packets"], link["dropped"])
    assert (ours.qdisc_drops, ours.overlimits) == (qdisc["drops"], qdisc["overlimits"])
    assert ours.qdisc_drops > 0
    grown = difference(before, read_counters(plan, lab.pid))["r1-r2", "r1"]
    assert grown.drops == ours.qdisc_drops + ours.device_drops
    assert grown.packets + grown.drops >= 200
