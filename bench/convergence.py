"""What a cut costs a scheme beyond what it costs unicast: outage by outage, at the same site, of the same cut.

    .venv/bin/python bench/convergence.py [--quick] [--json] [--cuts N] [--schemes pim-ssm,bier] [--topology NAME]

In one lab a scheme, every link between core routers is cut in turn, and restored once the IGP stands again. All the
while a probe a millisecond goes from the repository to some sites, once to the scheme's group and once by unicast to
each; the kernel stamps their arrival. Of every cut that loses either at a site, two at least: how long each was
silent, however short, and the difference: a host that is late is late for both, and loses nothing. With BIER also how
long after the kernel's notification of a route the router's agent heard of it (`heard`) and the forwarder had
confirmed what follows (`bift`). With SR-P2MP, of every cut that made another tree, how long after the controller read
of it (`lsa-heard`): the tree was there (`computed`), the last router but the root had its part in force
(`programmed`), and the root had switched (`controller`: all that is the controller's and the agents').
Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.plan.types import Role
from testbed.run.program_client import Program
from testbed.schemes import Flow, Scheme, make_scheme, router_configs
from testbed.schemes.base import SchemeEvent
from testbed.schemes.bier import bfr_ids
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice

PERIOD = 0.001
SETTLE = 1.5  # seconds of probes before and after a cut: longer than any repair that is wanted here
UNICAST, MULTICAST = 6001, 6002
MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, SO_TIMESTAMPNS = 42, 46, 35
LOST = 2  # probes that make an outage: one may be lost with a queue
LONGEST = 0.3  # seconds: what an agent has not looked at for so long, changed nothing


class Probes:
    """Probes from the repository to `hosts`, and when they came (CLOCK_REALTIME, as the kernel stamps)."""

    def __init__(self, lab: Lab, flow: Flow, hosts: list[str]) -> None:
        self.arrivals: dict[tuple[str, str], list[tuple[float, int]]] = {}
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        source = lab.plan.nodes[lab.plan.repository].interfaces[0].address.ip
        for host in hosts:
            for kind in ("unicast", "multicast"):
                arrivals = self.arrivals[host, kind] = []
                sock = lab[host].call(lambda h=host, k=kind: _receiver(lab, h, k, flow, str(source)))  # type: ignore[misc]
                self._selector.register(sock, selectors.EVENT_READ, (sock, arrivals))
        self._sender = lab[lab.plan.repository].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 32)
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source.packed)
        targets = [(str(lab.plan.nodes[host].interfaces[0].address.ip), UNICAST) for host in hosts]
        self._targets = [*targets, (flow.group, MULTICAST)]
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        for key in list(self._selector.get_map().values()):
            key.data[0].close()
        self._selector.close()

    def silence(self, host: str, kind: str, start: float, end: float) -> float:
        """The longest between two moments, in seconds."""
        times = [t for t, _ in self.arrivals[host, kind] if start <= t <= end]
        return max((b - a for a, b in pairwise(times)), default=end - start)

    def lost(self, host: str, kind: str, start: float, end: float) -> int:
        """How many did not come, in the longest run of those, between two moments."""
        numbers = [number for t, number in self.arrivals[host, kind] if start <= t <= end]
        return max((b - a - 1 for a, b in pairwise(numbers)), default=LOST)

    def _send(self) -> None:
        due, number = time.monotonic(), 0
        while not self._over.is_set():
            number += 1
            for target in self._targets:
                with contextlib.suppress(OSError):  # no route for a moment
                    self._sender.sendto(number.to_bytes(8, "big"), target)
            due = max(due + PERIOD, time.monotonic() - 10 * PERIOD)
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                sock, arrivals = key.data
                with contextlib.suppress(BlockingIOError):
                    while True:
                        payload, control, _, _ = sock.recvmsg(16, 64)
                        seconds, nanoseconds = struct.unpack("qq", control[0][2])
                        arrivals.append((seconds + nanoseconds / 1e9, int.from_bytes(payload, "big")))


def _receiver(lab: Lab, host: str, kind: str, flow: Flow, source: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    if kind == "unicast":
        sock.bind(("0.0.0.0", UNICAST))
        return sock
    sock.bind((flow.group, MULTICAST))
    index = struct.pack("=I4x", socket.if_nametoindex(lab.plan.nodes[host].interfaces[0].name))
    addresses = [struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(a)) for a in (flow.group, source)]
    if flow.ssm:
        sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, index + b"".join(addresses))
    else:
        sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_GROUP, index + addresses[0])
    return sock


class Notifications:
    """When the kernel told of another next hop towards a BFER, by router: what the run's own monitor stamps."""

    def __init__(self, lab: Lab) -> None:
        self.times: dict[str, list[float]] = {node.name: [] for node in lab.routers}
        self._hops: dict[tuple[str, str], Any] = {}
        loopbacks = (lab.plan.nodes[name].loopback for name in bfr_ids(lab.plan))
        self._bfers = {f"{loopback.ip}/32" for loopback in loopbacks if loopback}
        self._folder = tempfile.TemporaryDirectory()
        nodes = [{"name": node.name, "pid": node.pid} for node in lab.routers]
        self._program = Program(
            lambda argv, given, out, errors: subprocess.Popen(argv, stdin=given, stdout=out, stderr=errors),
            "testbed.run.monitor",
            ["--config", json.dumps({"nodes": nodes, "receive_buffer": 8 << 20})],
            self._take,
            Path(self._folder.name) / "monitor.log",
        )
        self._program.wait_ready()

    def _take(self, t: float, kind: str, node: str, detail: dict[str, Any]) -> None:
        if kind != "route" or detail["dst"] not in self._bfers:
            return
        hops = (detail["via"], detail["ifname"]) if detail["op"] == "add" else None
        if self._hops.get((node, detail["dst"]), ()) != hops:
            self.times[node].append(t)
        self._hops[node, detail["dst"]] = hops

    def close(self) -> None:
        self._program.stop()
        self._folder.cleanup()

    def delays(self, events: list[SchemeEvent]) -> dict[str, list[float]]:
        """Milliseconds from the first notification that a change of a BIFT includes to its agent, and to its end."""
        found: dict[str, list[float]] = {"heard": [], "bift": []}
        before: dict[str, float] = {}
        for event in sorted(events, key=lambda event: event.t):
            if event.kind != "bift":
                continue
            since = event.detail["since"] or event.t
            if event.detail["cause"] == "route":
                after = max(before.get(event.router, 0.0), since - LONGEST)
                told = [t for t in self.times[event.router] if after < t <= since + 0.0002]
                if told:
                    found["heard"].append(max(0.0, since - told[0]) * 1e3)
                    found["bift"].append((event.t - told[0]) * 1e3)
            before[event.router] = since
        return found


def controller_delays(events: list[SchemeEvent], cuts: list[float]) -> dict[str, list[float]]:
    """Milliseconds from the first LSA of a cut that the controller read to its stages. `cuts`: CLOCK_MONOTONIC."""
    found: dict[str, list[float]] = {"computed": [], "programmed": [], "controller": []}
    for cut in cuts:
        inside = [event for event in events if cut <= event.t <= cut + SETTLE]
        heard = next((event.detail["since"] for event in inside if event.kind == "graph"), None)
        switched = next((event for event in inside if event.kind == "switched"), None)
        computed = next((e.t for e in inside if e.kind == "computed" and e.detail["instances"]), None)
        if heard is None or switched is None or computed is None:
            continue
        parts = [e.detail for e in inside if e.kind == "confirmed" and e.detail["segments"] and e.t < switched.t]
        ends = [each["applied"] for each in parts if each["applied"] < switched.detail["sent"]]
        found["computed"].append((computed - heard) * 1e3)
        found["programmed"].append((max(ends, default=computed) - heard) * 1e3)
        found["controller"].append((switched.detail["applied"] - heard) * 1e3)
    return found


@contextlib.contextmanager
def network(topology: str, scheme: Scheme) -> Iterator[Lab]:
    """The lab, converged."""
    plan, timers, version = make_plan(load_topology(topology)), profile("fast"), frr_version()
    configs = router_configs(plan, scheme, timers, version)
    with Lab(plan, configs) as lab:
        lab.start()
        lab.wait_for_igp()
        scheme.start(lab)
        scheme.wait_ready(lab)
        yield lab


def measure(topology: str, name: str, cuts: int) -> list[dict[str, Any]]:
    """One row a site and a cut."""
    scheme = make_scheme(SchemeChoice.model_validate(name))
    rows: list[dict[str, Any]] = []
    times: list[float] = []
    with network(topology, scheme) as lab:
        core = {node.name for node in lab.plan.nodes.values() if node.role is Role.CORE}
        links = [link.name for link in lab.plan.links.values() if {link.a.node, link.b.node} <= core]
        storage = [node.name for node in lab.plan.hosts if node.role is Role.STORAGE]
        hosts = storage[:: max(1, len(storage) // 4)][:4]
        flow = scheme.flow(1)
        scheme.prepare(lab, flow, lab.plan.repository, hosts)
        probes, notifications = Probes(lab, flow, hosts), Notifications(lab)
        try:
            time.sleep(SETTLE)
            for number in range(cuts):
                link = links[number % len(links)]
                start = time.time()
                times.append(time.monotonic())
                lab.cut(link)
                time.sleep(SETTLE)
                end = time.time()
                for host in hosts:
                    lost = max(probes.lost(host, kind, start - 0.1, end) for kind in ("unicast", "multicast"))
                    unicast = probes.silence(host, "unicast", start - 0.1, end)
                    multicast = probes.silence(host, "multicast", start - 0.1, end)
                    if lost >= LOST:
                        rows.append({"link": link, "site": host, "unicast_s": unicast, "multicast_s": multicast})
                lab.restore(link)
                lab.wait_for_igp()
                scheme.wait_ready(lab)
                time.sleep(SETTLE)
        finally:
            probes.close()
            notifications.close()
        if name.startswith("bier"):
            rows.append({"delays": notifications.delays(list(scheme.events(lab)))})
        if name.startswith("sr-p2mp"):
            rows.append({"delays": controller_delays(list(scheme.events(lab)), times)})
    return rows


def summary(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "q1": low, "q3": high, "least": min(values), "worst": max(values), "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 45 seconds: two cuts")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--schemes", default="pim-ssm,bier")
    parser.add_argument("--topology", default="gpu-clouds-8")
    options = parser.parse_args()
    found = {}
    for name in options.schemes.split(","):
        rows = measure(options.topology, name, 2 if options.quick else options.cuts)
        delays = next((row["delays"] for row in rows if "delays" in row), {})
        rows = [row for row in rows if "link" in row]
        values = {
            "unicast": [row["unicast_s"] * 1e3 for row in rows],
            "multicast": [row["multicast_s"] * 1e3 for row in rows],
            "beyond": [(row["multicast_s"] - row["unicast_s"]) * 1e3 for row in rows],
            **delays,
        }
        figures = {key: summary(some) for key, some in values.items() if len(some) > 1}
        found[name] = {"links": len({row["link"] for row in rows}), **figures, "rows": rows}
        if not options.json:
            print(f"{name}: {len(rows)} outages at sites, of {found[name]['links']} links; ms")
            print(f"  {'':10}{'median':>9}{'q1':>9}{'q3':>9}{'least':>9}{'worst':>9}{'n':>6}")
            for key, of in figures.items():
                print(
                    f"  {key:10}" + "".join(f"{of[k]:9.2f}" for k in ("median", "q1", "q3", "least", "worst")), end=""
                )
                print(f"{of['n']:6}")
            for row in rows:
                if (worse := (row["multicast_s"] - row["unicast_s"]) * 1e3) > 5:
                    print(f"  {row['link']} at {row['site']}: {worse:.1f} ms beyond {row['unicast_s'] * 1e3:.1f}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
