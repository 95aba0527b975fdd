"""What a cut costs a scheme beyond what it costs unicast: outage by outage, at the same site, of the same cut.

    .venv/bin/python bench/convergence.py [--quick] [--json] [--cuts N] [--schemes pim-ssm,bier] [--topology NAME]

In one lab a scheme, every link between core routers is cut in turn, and restored once the IGP stands again. All the
while a probe a millisecond goes from the repository to some sites, once to the scheme's group and once by unicast to
each; the kernel stamps their arrival. Of every cut that interrupts unicast to a site: how long either was away, and the
difference. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.plan.types import Role
from testbed.schemes import Flow, Scheme, make_scheme, router_configs
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice

PERIOD = 0.001
SETTLE = 1.5  # seconds of probes before and after a cut: longer than any repair that is wanted here
UNICAST, MULTICAST = 6001, 6002
MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, SO_TIMESTAMPNS = 42, 46, 35
GAP = 0.004  # seconds without a probe that are an outage


class Probes:
    """Probes from the repository to `hosts`, and when they came (CLOCK_REALTIME, as the kernel stamps)."""

    def __init__(self, lab: Lab, flow: Flow, hosts: list[str]) -> None:
        self.arrivals: dict[tuple[str, str], list[float]] = {}
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

    def outage(self, host: str, kind: str, start: float, end: float) -> float:
        """The longest silence between two moments, in seconds; 0 if there was none worth the name."""
        times = [t for t in self.arrivals[host, kind] if start <= t <= end]
        if len(times) < 2:
            return end - start
        gap = max(b - a for a, b in pairwise(times))
        return gap if gap > GAP else 0.0

    def _send(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            for target in self._targets:
                with contextlib.suppress(OSError):  # no route for a moment
                    self._sender.sendto(b"probe", target)
            due = max(due + PERIOD, time.monotonic() - 10 * PERIOD)
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                sock, arrivals = key.data
                with contextlib.suppress(BlockingIOError):
                    while True:
                        _, control, _, _ = sock.recvmsg(16, 64)
                        seconds, nanoseconds = struct.unpack("qq", control[0][2])
                        arrivals.append(seconds + nanoseconds / 1e9)


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
    with network(topology, scheme) as lab:
        core = {node.name for node in lab.plan.nodes.values() if node.role is Role.CORE}
        links = [link.name for link in lab.plan.links.values() if {link.a.node, link.b.node} <= core]
        storage = [node.name for node in lab.plan.hosts if node.role is Role.STORAGE]
        hosts = storage[:: max(1, len(storage) // 4)][:4]
        flow = scheme.flow(1)
        scheme.prepare(lab, flow, lab.plan.repository, hosts)
        probes = Probes(lab, flow, hosts)
        try:
            time.sleep(SETTLE)
            for number in range(cuts):
                link = links[number % len(links)]
                start = time.time()
                lab.cut(link)
                time.sleep(SETTLE)
                end = time.time()
                for host in hosts:
                    unicast = probes.outage(host, "unicast", start - 0.1, end)
                    multicast = probes.outage(host, "multicast", start - 0.1, end)
                    if unicast or multicast:
                        rows.append({"link": link, "site": host, "unicast_s": unicast, "multicast_s": multicast})
                lab.restore(link)
                lab.wait_for_igp()
                scheme.wait_ready(lab)
                time.sleep(SETTLE)
        finally:
            probes.close()
        if name.startswith("bier"):
            delays = [e.t - e.detail["since"] for e in scheme.events(lab) if e.kind == "bift" and e.detail["since"]]
            rows.append({"bift_ms": sorted(delay * 1e3 for delay in delays)})
    return rows


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
        bift = next((row["bift_ms"] for row in rows if "bift_ms" in row), [])
        rows = [row for row in rows if "link" in row]
        beyond = sorted((row["multicast_s"] - row["unicast_s"]) * 1e3 for row in rows)
        figures = {
            "outages": len(rows),
            "unicast_ms": statistics.median(row["unicast_s"] for row in rows) * 1e3 if rows else None,
            "multicast_ms": statistics.median(row["multicast_s"] for row in rows) * 1e3 if rows else None,
            "beyond_ms": statistics.median(beyond) if beyond else None,
            "beyond_all_ms": [round(value, 2) for value in beyond],
            "bift_median_ms": statistics.median(bift) if bift else None,
            "bift_worst_ms": max(bift) if bift else None,
            "rows": rows,
        }
        found[name] = figures
        if not options.json:
            print(f"{name}: {len(rows)} outages at sites, {options.cuts} cuts")
            for key in ("unicast_ms", "multicast_ms", "beyond_ms", "bift_median_ms", "bift_worst_ms"):
                if figures[key] is not None:
                    print(f"  {key:15} {figures[key]:8.2f}" + ("  median" if key[0] in "um" else ""))
            print(f"  beyond, all     {figures['beyond_all_ms']}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
