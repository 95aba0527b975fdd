"""How close a shaped link comes to the rate it was asked for, from 100 Mb/s to 10 Gb/s, at MTU 1500 and 9000.

    .venv/bin/python bench/shaping.py [--quick] [--json] [--runs N] [--rate RATE ...]

A link between two routers is kept full for a second, once by TCP (which hands over up to 64 KiB at a time) and
once by UDP datagrams as large as the MTU (which is how a model travels). What passed is read from the link's qdisc in
layer-2 bytes, so that no protocol's own overhead counts, and lost is what the qdisc dropped. A link can lack a share
of its rate for two reasons. Either nobody gave it enough: `empty` is how often its queue was found empty, `busy` the
share of all cores' time; on a busy machine the sender is the one that is late. Or, where the queue was never empty,
its bucket is too small for how late the kernel's timers are (testbed/plan/shape.py). Needs root.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import socket
import statistics
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from testbed.lab import namespace
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.frr import RouterConfig
from testbed.plan.types import Link
from testbed.run.fidelity.kernel import idle_between, parse_stat
from testbed.spec.topology import Topology
from testbed.units import format_rate, parse_rate

RATES = ["100Mbit", "500Mbit", "1Gbit", "2.5Gbit", "5Gbit", "10Gbit"]
QUICK_RATES = ["100Mbit", "1Gbit", "2.5Gbit"]
MTUS = [1500, 9000]
PROTOCOLS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
UDP_HEADERS = 20 + 8
# A full queue and a sender at its pace; less than a second at every rate.
WARM_UP_S = 0.5
DEADLINE_S = 60.0
SO_SNDBUFFORCE = 32


@dataclass(frozen=True, slots=True)
class Sample:
    share: float
    lost: int
    empty: float
    busy: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Of a link's sending qdisc: bytes that passed and packets dropped so far, packets that wait now."""

    t: float
    bytes: int
    drops: int
    waiting: int


def make_lab(rates: list[int]) -> tuple[Lab, dict[tuple[int, int], Link]]:
    """Two routers that run nothing, and a link for every rate and MTU."""
    cases = list(itertools.product(rates, MTUS))
    links = [{"a": "a", "b": "b", "name": f"link{n}", "rate": r, "mtu": m} for n, (r, m) in enumerate(cases)]
    nodes = {"a": {"kind": "repository"}, "b": {"kind": "site"}}
    plan = make_plan(Topology.model_validate({"name": "shapes", "nodes": nodes, "links": links}))
    lab = Lab(plan, {router.name: RouterConfig({}, ()) for router in plan.routers})
    return lab, {case: plan.links[f"link{n}"] for n, case in enumerate(cases)}


def send(sock: socket.socket, size: int, started: Event) -> None:
    data = bytes(size)
    sock.send(data)
    started.set()
    while True:
        sock.send(data)


def receive(sock: socket.socket) -> None:
    buffer = bytearray(2**20)
    while True:
        sock.recv_into(buffer)


def connect(lab: Lab, link: Link, protocol: str) -> tuple[socket.socket, socket.socket]:
    """A sending socket in one router, a receiving one in the other."""

    def new() -> socket.socket:
        sock = socket.socket(socket.AF_INET, PROTOCOLS[protocol])
        if protocol == "udp":  # TCP sizes its own
            # The kernel doubles it, and counts more than a packet's bytes: the sender is held before the queue is full.
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, link.shape.queue // 2)
        return sock

    sender, receiver = (namespace.inside(lab.pid_of(end.node), new) for end in (link.a, link.b))
    receiver.bind((str(link.b.address.ip), 0))
    if protocol == "tcp":
        receiver.listen()
    sender.connect(receiver.getsockname())
    if protocol == "tcp":
        listener, (receiver, _) = receiver, receiver.accept()
        listener.close()
    return sender, receiver


def read(lab: Lab, link: Link) -> Reading:
    node = lab[link.a.node]
    (qdisc,) = node.netlink(lambda ip: list(ip.get_qdiscs(index=ip.link_lookup(ifname=link.a.name)[0])))
    now, stats = time.monotonic(), qdisc.get_attr("TCA_STATS2")
    queue = stats.get_attr("TCA_STATS_QUEUE")
    return Reading(now, stats.get_attr("TCA_STATS_BASIC")["bytes"], queue["drops"], queue["qlen"])


def measure(lab: Lab, link: Link, protocol: str, seconds: float) -> Sample:
    """Keep the link full; what it passed in `seconds`, as a share of its rate."""
    sender, receiver = connect(lab, link, protocol)
    size = 2**20 if protocol == "tcp" else link.mtu - UDP_HEADERS
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    processes = [
        context.Process(target=receive, args=(receiver,), daemon=True),
        context.Process(target=send, args=(sender, size, started), daemon=True),
    ]
    try:
        for process in processes:
            process.start()
        if not started.wait(DEADLINE_S):
            raise SystemExit(f"nothing was sent within {DEADLINE_S:g} s")
        time.sleep(WARM_UP_S)
        ticks, readings = _ticks(), [read(lab, link)]
        while readings[-1].t < readings[0].t + seconds:
            time.sleep(0.005)
            readings.append(read(lab, link))
        idle = statistics.mean(idle_between(ticks, _ticks()).values())
    finally:
        for process in processes:
            process.kill()
            process.join()
        sender.close()
        receiver.close()
    assert link.shape.rate is not None
    first, last = readings[0], readings[-1]
    share = (last.bytes - first.bytes) * 8 / (last.t - first.t) / link.shape.rate
    empty = sum(r.waiting == 0 for r in readings) / len(readings)
    return Sample(share, last.drops - first.drops, empty, 1 - idle)


def _ticks() -> dict[str, tuple[int, int]]:
    return parse_stat(Path("/proc/stat").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rates, for half a second each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", action="append", default=[], help="instead of the usual ones; may be repeated")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, 1.0)
    rates = [parse_rate(r) for r in options.rate or (QUICK_RATES if options.quick else RATES)]
    figures = []
    lab, links = make_lab(rates)
    with lab:
        lab.start()
        cases = list(itertools.product(links.items(), PROTOCOLS))
        samples: dict[tuple[str, str], list[Sample]] = {}
        for _ in range(runs):  # round the links, so that a drift of the machine hits all alike
            for (_, link), protocol in cases:
                samples.setdefault((link.name, protocol), []).append(measure(lab, link, protocol, seconds))
        for ((rate, mtu), link), protocol in cases:
            found = samples[link.name, protocol]
            shares = [s.share for s in found]
            figures.append(
                {
                    "rate": rate,
                    "mtu": mtu,
                    "protocol": protocol,
                    "burst": link.shape.burst,
                    "queue": link.shape.queue,
                    "share": {"min": min(shares), "median": statistics.median(shares), "max": max(shares)},
                    "lost": statistics.median(s.lost for s in found),
                    "empty": statistics.median(s.empty for s in found),
                    "busy": statistics.median(s.busy for s in found),
                }
            )
    if options.json:
        print(json.dumps({"bench": "shaping", "runs": runs, "seconds": seconds, "figures": figures}))
        return
    print(f"share of the rate that a link passes, {runs} runs of {seconds:g} s")
    print(f"{'rate':>10}{'MTU':>6}  {'by':<4}{'min':>8}{'median':>8}{'max':>8}{'lost':>7}{'empty':>7}{'busy':>6}")
    for f in figures:
        shares = "".join(f"{f['share'][key]:>8.1%}" for key in ("min", "median", "max"))
        rest = f"{f['lost']:>7.0f}{f['empty']:>7.0%}{f['busy']:>6.0%}"
        print(f"{format_rate(f['rate']):>10}{f['mtu']:>6}  {f['protocol']:<4}{shares}{rest}")


if __name__ == "__main__":
    main()
