"""How close a shaped link comes to the rate it was asked for, from 100 Mb/s to 10 Gb/s, at MTU 1500 and 9000.

    .venv/bin/python bench/shaping.py [--quick] [--json] [--runs N] [--rate RATE ...]

A link between two routers is kept full for a second or two, once by TCP (which hands over up to 64 KiB at a time) and
once by UDP datagrams as large as the MTU (which is how a model travels). What passed is read from the link's qdisc in
layer-2 bytes, so that no protocol's own overhead counts, and lost is what the qdisc dropped. A link can lack a share
of its rate for two reasons: its bucket or queue is too small (testbed/plan/shape.py), or the machine is too slow
(`busy`: the share of all cores' time; two cores cannot both send and receive faster). Needs root.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.lab import namespace
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.frr import RouterConfig
from testbed.plan.types import Link
from testbed.run.fidelity import idle_between, parse_stat
from testbed.spec.topology import Topology
from testbed.units import format_rate, parse_rate

RATES = ["100Mbit", "500Mbit", "1Gbit", "2.5Gbit", "5Gbit", "10Gbit"]
QUICK_RATES = ["100Mbit", "1Gbit", "2.5Gbit"]
MTUS = [1500, 9000]
PROTOCOLS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
UDP_HEADERS = 20 + 8
# A full queue and a sender at its pace; less than a second at every rate.
WARM_UP_S = 0.5
SO_SNDBUFFORCE = 32


@dataclass(frozen=True, slots=True)
class Sample:
    share: float
    lost: int
    busy: float


def make_lab(rates: list[int]) -> tuple[Lab, dict[tuple[int, int], Link]]:
    """Two routers that run nothing, and a link for every rate and MTU."""
    cases = list(itertools.product(rates, MTUS))
    links = [{"a": "a", "b": "b", "name": f"link{n}", "rate": r, "mtu": m} for n, (r, m) in enumerate(cases)]
    nodes = {"a": {"kind": "repository"}, "b": {"kind": "site"}}
    plan = make_plan(Topology.model_validate({"name": "shapes", "nodes": nodes, "links": links}))
    lab = Lab(plan, {router.name: RouterConfig({}, ()) for router in plan.routers})
    return lab, {case: plan.links[f"link{n}"] for n, case in enumerate(cases)}


def send(sock: socket.socket, size: int) -> None:
    data = bytes(size)
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


def passed(lab: Lab, link: Link) -> tuple[int, int]:
    """Bytes that the link's sending qdisc let through so far, and packets it dropped."""
    node = lab[link.a.node]
    (qdisc,) = node.netlink(lambda ip: list(ip.get_qdiscs(index=ip.link_lookup(ifname=link.a.name)[0])))
    stats = qdisc.get_attr("TCA_STATS2")
    return stats.get_attr("TCA_STATS_BASIC")["bytes"], stats.get_attr("TCA_STATS_QUEUE")["drops"]


def measure(lab: Lab, link: Link, protocol: str, seconds: float) -> Sample:
    """Keep the link full; what it passed in `seconds`, as a share of its rate."""
    sender, receiver = connect(lab, link, protocol)
    size = 2**20 if protocol == "tcp" else link.mtu - UDP_HEADERS
    context = multiprocessing.get_context("spawn")
    tasks: list[tuple[Callable[..., None], tuple[object, ...]]] = [(receive, (receiver,)), (send, (sender, size))]
    processes = [context.Process(target=work, args=arguments, daemon=True) for work, arguments in tasks]
    try:
        for process in processes:
            process.start()
        while passed(lab, link)[0] <= link.shape.burst:
            time.sleep(0.01)
        time.sleep(WARM_UP_S)
        ticks, (size_before, drops_before), start = _ticks(), passed(lab, link), time.monotonic()
        time.sleep(seconds)
        (size_after, drops_after), end = passed(lab, link), time.monotonic()
        idle = statistics.mean(idle_between(ticks, _ticks()).values())
    finally:
        for process in processes:
            process.kill()
            process.join()
        sender.close()
        receiver.close()
    assert link.shape.rate is not None
    share = (size_after - size_before) * 8 / (end - start) / link.shape.rate
    return Sample(share, drops_after - drops_before, 1 - idle)


def _ticks() -> dict[str, tuple[int, int]]:
    return parse_stat(Path("/proc/stat").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rates, for half a second each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", action="append", default=[], help="instead of the usual ones; may be repeated")
    options = parser.parse_args()
    runs, seconds = (1, 0.5) if options.quick else (options.runs, 2.0)
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
                    "busy": statistics.median(s.busy for s in found),
                }
            )
    if options.json:
        print(json.dumps({"bench": "shaping", "runs": runs, "seconds": seconds, "figures": figures}))
        return
    print(f"share of the rate that a link passes, {runs} runs of {seconds:g} s")
    print(f"{'rate':>10}{'MTU':>6}  {'sent by':<8}{'min':>8}{'median':>8}{'max':>8}{'lost':>8}{'busy':>7}")
    for f in figures:
        shares = "".join(f"{f['share'][key]:>8.1%}" for key in ("min", "median", "max"))
        print(
            f"{format_rate(f['rate']):>10}{f['mtu']:>6}  {f['protocol']:<8}{shares}{f['lost']:>8.0f}{f['busy']:>7.0%}"
        )


if __name__ == "__main__":
    main()
