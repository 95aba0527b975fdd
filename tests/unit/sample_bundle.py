"""A made-up bundle that looks like a real one: 8 sites, two schemes, a core link cut and restored.

    python tests/unit/sample_bundle.py DIR

writes it there with its report, for a look at the report or a picture of it.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.bundle import BundleWriter, run_id
from testbed.record import Event, LinkResult, Outage, Outcome, Run, SiteResult
from testbed.spec.scenario import Scenario

SITES = ("amsterdam", "dublin", "frankfurt", "madrid", "milan", "paris", "stockholm", "warsaw")
CUT = frozenset(("frankfurt", "milan", "stockholm", "warsaw"))  # the sites behind r1-r2 in the ideal tree
CORE = ("repo-r1", "repo-r3", "r1-r2", "r1-r4", "r2-r5", "r2-r6", "r3-r4", "r3-r7", "r4-r8", "r5-r9", "r6-r10",
        "r7-r8", "r8-r5", "r9-r10")  # fmt: skip
ACCESS = {"amsterdam": ("r4", "r7"), "dublin": ("r4", "r8"), "frankfurt": ("r5", "r8"), "madrid": ("r8", "r7"),
          "milan": ("r5", "r9"), "paris": ("r4", "r3"), "stockholm": ("r6", "r10"), "warsaw": ("r6", "r9")}  # fmt: skip
TREE = ("repo>r1", "r1>r2", "r1>r4", "r2>r5", "r2>r6", "r4>r8")
SIZE = 2 * 2**30
RATE = 485e6


def scenario(**changes: Any) -> dict[str, Any]:
    """A valid scenario as plain data; keyword arguments replace its top-level keys."""
    nodes: dict[str, Any] = {"repo": {"kind": "repository"}}
    nodes |= {f"r{n}": {"kind": "router"} for n in range(1, 11)} | {s: {"kind": "site"} for s in SITES}
    links = [link.split("-") for link in CORE] + [[r, site] for site, rs in ACCESS.items() for r in rs]
    data = {
        "name": "quickstart",
        "description": "2 GiB to eight GPU clouds; a core link that carries the tree fails in the middle.",
        "topology": {
            "name": "gpu-clouds-8",
            "defaults": {"link": {"rate": "500Mbit", "mtu": 9000}},
            "nodes": nodes,
            "links": links,
        },
        "schemes": ["pim-ssm", "pim-sm"],
        "syncs": [{"name": "sync", "model": {"size": SIZE}}],
        "timeline": [{"at": 10, "action": "cut", "target": {"busiest_link": True}, "duration": 15}],
        **changes,
    }
    return Scenario.model_validate(data).model_dump(mode="json")


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "versions": {"testbed": "0.1.0", "frr": "8.4.4", "mininet": "2.3.0", "uftp": "4.10", "iproute2": "6.1.0",
                     "python": "3.11.2", "kernel": "6.18.0", "commit": "c2d5808"},
        "created": "2026-11-23T10:00:00+00:00",
        "command": ["testbed", "run", "scenarios/quickstart.yaml"],
        "machine": {"cores": 2, "memory_bytes": 8 * 2**30, "architecture": "x86_64"},
        "sysctls": {"net.core.rmem_max": "4194304"},
        "seed": 1,
        "timers": {"profile": "fast", "ospf": {"hello": 1, "dead": 4}, "bfd": {"interval": 300, "multiplier": 3},
                   "changed": "BFD every 300 ms instead of the profile's 50 ms, because this network has 30 links"},
        "capabilities": {"root": True, "features": {"netem": ""}, "frr": [8, 4, 4]},
        "flags": [],
        **changes,
    }  # fmt: skip


def _outages(rng: random.Random, scheme: str, site: str) -> tuple[Outage, ...]:
    if site not in CUT:
        return ()
    slow = scheme != "pim-ssm"
    length = rng.gauss(112, 14) if slow else rng.gauss(46, 6)
    first = Outage(10.0 + rng.uniform(0.0005, 0.002), round(length, 1), round(length), rng.randrange(3), "cut r1-r2")
    if not slow or site == "milan":
        return (first,)
    back = rng.uniform(4, 19)
    return first, Outage(25.0 + rng.uniform(0.2, 0.22), round(back, 1), round(back), 0, "cut r1-r2 restored")


def _curve(delivery: float, outages: tuple[Outage, ...]) -> tuple[tuple[float, int], ...]:
    """Bytes arrive at the sending rate but during an outage; what was lost is repaired at the end."""
    points, t, got = [(0.0, 0)], 0.35, 0.0
    lost = sum(o.length_ms for o in outages) / 1000
    while t < SIZE * 8 / RATE + 0.3:
        points.append((round(t, 3), round(got)))
        t += 0.15
        if not any(o.start_s <= t <= o.start_s + o.length_ms / 1000 + 0.1 for o in outages):
            got = min(SIZE - lost * RATE / 8, got + 0.15 * RATE / 8)
    return (*points, (delivery, SIZE))


def _site(rng: random.Random, scheme: str, site: str) -> SiteResult:
    outages = _outages(rng, scheme, site)
    lost = sum(o.lost for o in outages)
    delivery = round(SIZE * 8 / RATE + 0.75 + rng.uniform(0, 0.15) + lost / 1000 * 1.2 + (0.25 if lost else 0), 3)
    received = round(delivery * 1000) - lost
    return SiteResult(
        f"{site}-st", site, "sync", True, SIZE, SIZE, round(rng.uniform(0.33, 0.37), 4), delivery, "",
        outages, received, lost, sum(o.duplicates for o in outages), _curve(delivery, outages),
    )  # fmt: skip


def _link(name: str, src: str, dst: str, copies: float, ideal: int, *, lan: bool = False) -> LinkResult:
    one = round(SIZE * 1.0075)
    packets = round(one * copies / 8900) + 400
    return LinkResult(name, src, dst, round(one * copies) + 40_000, packets, 0, one * ideal, lan)


def _links(scheme: str) -> tuple[LinkResult, ...]:
    moved = 15 / 36  # the share of the transfer during which r1-r2 is down
    found = []
    for name in CORE:
        a, b = name.split("-")
        for src, dst in ((a, b), (b, a)):
            ideal = f"{src}>{dst}" in TREE
            copies = float(ideal)
            if (src, dst) in (("r1", "r2"), ("r2", "r5"), ("r2", "r6")):
                copies = 1 - moved
            if (src, dst) in (("r8", "r5"), ("r5", "r9"), ("r9", "r10")):
                copies = moved
            if scheme == "pim-sm" and (src, dst) == ("repo", "r3"):
                copies = 0.004  # until the switch to the shortest path tree
            found.append(_link(name, src, dst, copies, int(ideal)))
    for site, (first, second) in ACCESS.items():
        share = moved if site in ("stockholm", "warsaw") else 0.0
        found.append(_link(f"{first}-{site}", first, site, 1 - share, 1))
        found.append(_link(f"{second}-{site}", second, site, share, 0))
        found.append(_link(f"{site}-{site}-st", site, f"{site}-st", 1, 1, lan=True))
    found.append(_link("repo-repo-src", "repo-src", "repo", 1, 1, lan=True))
    return tuple(found)


def run(scheme: str, repetition: int, *, outcome: Outcome = "passed", zero: float = 5000.0) -> Run:
    """One run; "failed" leaves milan without its last part, "invalid" has a starved host."""
    rng = random.Random(f"{scheme} {repetition}")
    sites = tuple(_site(rng, scheme, site) for site in SITES)
    reason, busy = "", 0.61
    if outcome == "failed":
        reason = "milan-st: no packet for 60 s"
        part = round(SIZE * 0.71)
        sites = tuple(
            replace(s, delivered=False, verified_bytes=part, delivery_s=None, reason="no packet for 60 s",
                    curve=tuple(p for p in s.curve if p[1] < part))
            if s.site == "milan" else s
            for s in sites
        )  # fmt: skip
    if outcome == "invalid":
        reason, busy = "every core was busy (less than 3% idle) for 70% of the transfer", 0.99
    ssm = scheme == "pim-ssm"
    stages = tuple(
        {"fault": "cut r1-r2", "t": zero + 10, "site": s.name, "detection_ms": round(rng.uniform(0.6, 1.4), 2),
         "detected_by": "carrier", "neighbour_ms": 2.1, "lsa_sent_ms": round(rng.uniform(2.2, 3), 1),
         "lsa_ms": round(rng.uniform(4, 7), 1),
         "route_first_ms": round(rng.uniform(8, 9), 1), "route_ms": round(rng.uniform(16, 19), 1),
         "igp_ms": round(rng.uniform(12, 15), 1),
         "mroute_ms": round(s.outages[0].length_ms - rng.uniform(2, 6), 1), "outage_start_ms": 0.9,
         "first_probe_ms": round(s.outages[0].length_ms + 1, 1)}
        for s in sites if s.outages
    )  # fmt: skip
    return Run(
        scheme, repetition, 1, outcome, reason, zero, sites, _links(scheme),
        state={f"r{n}": {"mroutes": 1 if ssm else 2, "routes": 41} for n in range(1, 11)},
        control={"pim": {"messages": 412 if ssm else 689, "hello": 360, "join": 52 if ssm else 171,
                         "register": 0 if ssm else 88, "registerStop": 0 if ssm else 70}},
        stages=stages,
        fidelity={"cpu_idle": {f"cpu{n}": {"mean": round(1 - busy, 2), "min": 0.01 if busy > 0.9 else 0.21}
                               for n in range(2)},
                  "busy_share": 0.7 if busy > 0.9 else 0.0, "softnet_drops": 0, "socket_drops": {}, "qdisc_drops": 611,
                  "turns": {"ospfd": {"mean_ms": 0.2, "worst_ms": 0.4, "worst_node": "r3"},
                            "mcfwd": {"mean_ms": 0.03, "worst_ms": 0.06, "worst_node": "r1"}},
                  "forwarder_drops": {"no-flow": 11}, "forwarder_drops_unexplained": 0,
                  "probe_jitter_ms_p99": 1.6, "probes_lost_before_faults": 0, "slowest_link_share": 0.99,
                  "qdisc_drops_unexplained": 0, "probe_sender": {"late_p99_ms": round(rng.uniform(0.2, 0.5), 2)},
                  "clock_error_ms": 0.002, "requested_rate": RATE, "achieved_rate": round(rng.uniform(483e6, 485e6)),
                  "warnings": [reason] if outcome == "invalid" else [], "invalid": reason if busy > 0.9 else ""},
        bringup={"nodes_s": 0.42, "links_s": 0.31, "daemons_s": 1.31, "igp_s": 0.88, "pim_s": 0.35 if ssm else 0.52},
    )  # fmt: skip


def events(run: Run) -> list[Event]:
    """The events that go with a run, in order."""
    name, zero, rng = run_id(run), run.zero, random.Random(f"events {run.scheme} {run.repetition}")
    cut, back = zero + 10, zero + 25
    fault = {"action": "cut", "target": "busiest_link", "link": "r1-r2"}
    found = [Event(zero - 4 + i, name, "phase", detail={"name": p}) for i, p in enumerate(("lab", "converge", "probe"))]
    hearsay = {"type": 1, "id": "10.255.0.2", "router": "r1", "own": False}
    found += [Event(zero + 10.01, name, "lsa", router, hearsay) for router in ("r3", "r10")]  # r3 changes nothing
    found += [Event(zero, name, "sync-start", detail={"sync": "sync"}), Event(cut, name, "fault", detail=fault)]
    found += [Event(back, name, "fault-restored", detail=fault)]
    for t, kind in ((cut, "link-down"), (back, "link-up")):
        found += [Event(t + rng.uniform(0.0004, 0.0012), name, kind, r, {"ifname": f"{r}-eth1"}) for r in ("r1", "r2")]
    for t, lag in ((cut, 0.004), (back, 0.09)):
        for step, router in enumerate(("r1", "r2", "r4", "r5", "r6", "r8", "r9")):
            when = t + lag + step * 0.0011 + rng.uniform(0.004, 0.007)
            own = router in ("r1", "r2")
            lsa = {"type": 1, "id": "10.255.0.2", "router": router if own else "r1", "own": own}
            found.append(Event(t + lag + 0.001 + step * 0.0003, name, "lsa", router, lsa))
            if own:
                change = {"neighbour": "r2" if router == "r1" else "r1", "from": "Full", "to": "Deleted"}
                found.append(Event(t + lag + 0.0008, name, "neighbour", router, change))
            for n in range(3):
                detail = {"op": "change", "dst": f"10.255.0.{n + 11}/32", "via": "10.0.0.9"}
                found.append(Event(when + n * 0.0004, name, "route", router, detail))
    slowest = max((o.length_ms for s in run.sites for o in s.outages), default=0) / 1000
    for share, router in ((0.35, "r8"), (0.45, "r5"), (0.6, "r9"), (0.75, "r10"), (0.9, "r6"), (0.97, "r2")):
        detail = {"op": "change", "source": "10.64.0.1", "group": "232.1.0.1", "iif": f"{router}-eth2", "oifs": ["a"]}
        found.append(Event(cut + slowest * share, name, "mroute", router, detail))
        found.append(Event(back + 0.1 + slowest * share / 2, name, "mroute", router, detail))
    for site in run.sites:
        found.append(Event(zero + (site.first_byte_s or 0), name, "first-byte", site.name, {"sync": "sync"}))
        if site.delivery_s is not None:
            found.append(Event(zero + site.delivery_s, name, "delivered", site.name, {"sync": "sync"}))
        for o in site.outages:
            detail = {"sync": "sync", "length_ms": o.length_ms, "lost": o.lost}
            found.append(Event(zero + o.start_s, name, "outage-start", site.name, detail))
            found.append(Event(zero + o.start_s + o.length_ms / 1000, name, "outage-end", site.name, detail))
    return sorted(found, key=lambda e: e.t)


def write(
    path: Path,
    *,
    repetitions: int = 1,
    outcomes: dict[str, Outcome] | None = None,
    schemes: tuple[str, ...] = ("pim-ssm", "pim-sm"),
    scenario_changes: dict[str, Any] | None = None,
    manifest_changes: dict[str, Any] | None = None,
) -> Path:
    """Writes a bundle. `outcomes` gives runs (`pim-sm-1`) another outcome than "passed"."""
    with BundleWriter(path) as writer:
        writer.write_scenario(scenario(**(scenario_changes or {}), repetitions=repetitions, schemes=list(schemes)))
        writer.write_manifest(manifest(**(manifest_changes or {})))
        zero = 5000.0
        for scheme in schemes:
            for repetition in range(1, repetitions + 1):
                outcome = (outcomes or {}).get(f"{scheme}-{repetition}", "passed")
                made = run(scheme, repetition, outcome=outcome, zero=zero)
                for event in events(made):
                    writer.event(event)
                writer.add_run(made)
                zero += 60
    return path


if __name__ == "__main__":
    from testbed.report import write_report

    print(write_report([write(Path(sys.argv[1]))]))
