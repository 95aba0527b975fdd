"""Random faults in a row in one lab while models are delivered again and again: does every scheme live through it?

    .venv/bin/python bench/soak.py [--quick] [--json] [--faults N] [--every S] [--seed N] [--scheme NAME ...]
                                   [--topology NAME] [--keep DIR]

Of every action, on links and nodes drawn by role, one after another (--quick: 6, else 200): a gap of 0.3 to 1 s, then
a fault of 0.5 to 2 s. A sync of 8 MiB to all sites begins every 16 s (each has a probe sender and a verifier of its
own all the while: with many the host, and its BFD, come to nothing). What is counted must be: all syncs delivered and
verified at all sites, every fault that was drawn recorded with its end, nothing left of the lab. `--keep`: where the
bundles go. Needs root.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from testbed.bundle import read_bundle
from testbed.lab import registry
from testbed.plan.build import make_plan
from testbed.plan.fault_plan import settle
from testbed.record import Event, Run
from testbed.run.faults import ACTIONS
from testbed.run.observer import Observer
from testbed.run.runner import run_scenario
from testbed.spec.faults import RandomFaults
from testbed.spec.load import load_topology
from testbed.spec.scenario import Scenario

SCHEMES = ("pim-ssm", "pim-sm", "bier", "sr-p2mp", "ingress-replication", "unicast")
EVERY = 16.0  # seconds between syncs
OWN: dict[str, tuple[str, ...]] = {"pim-ssm": ("pimd",), "pim-sm": ("pimd",), "unicast": ()}
AGENTS = ("agent", "forwarder")  # of every other scheme


def actions(scheme: str) -> list[dict[str, Any]]:
    """Everything that can go wrong under a scheme, by roles."""
    link, node = {"role": "any-link"}, {"role": "core-router"}
    own = OWN.get(scheme, AGENTS)
    found: list[dict[str, Any]] = [
        {"action": "cut", "target": link, "weight": 3},
        {"action": "cut", "target": {"role": "core-link", "pick": 2}},
        {"action": "silent", "target": link, "weight": 2},
        {"action": "one-way", "target": link, "weight": 2},
        {"action": "flap", "target": link, "period": 0.3, "count": 4},
        {"action": "degrade", "target": link, "rate": "30Mbit"},
        {"action": "degrade", "target": link, "loss": "2%", "delay": "5ms"},
        {"action": "partition", "target": node},
        {"action": "maintenance", "target": {"role": "core-link"}, "drain": 0.2},
        {"action": "crash", "target": node, "weight": 2},
        {"action": "crash", "target": {"role": "site-router"}},
        {"action": "drop", "target": node, "messages": "ospf", "probability": 0.5},
        {"action": "drop", "target": {"role": "core-link"}, "messages": "bfd"},
    ]
    for daemon in ("zebra", "ospfd", "bfdd", *own):
        found.append({"action": "kill", "target": {"daemon": {"name": daemon, "role": "core-router"}}})
        found.append({"action": "kill", "target": {"daemon": {"name": daemon, "role": "site-router"}}, "weight": 0.5})
    if scheme.startswith("pim"):
        found.append({"action": "drop", "target": link, "messages": "pim-join"})
    if scheme == "sr-p2mp":
        found.append({"action": "drop", "target": node, "messages": "programming"})
        found.append({"action": "kill", "target": {"daemon": {"name": "controller"}}, "weight": 2})
    return found


def soak(scheme: str, faults: int, seed: int, topology: str, every: float) -> Scenario:
    """One scenario of it, its faults drawn."""
    drawn = RandomFaults.model_validate(
        {
            "count": faults,
            "start": "2s",
            "gap": {"uniform": ["0.3s", "1s"]},
            "duration": {"uniform": ["0.5s", "2s"]},
            "actions": actions(scheme),
        }
    )
    scenario = Scenario.model_validate(
        {
            "name": "soak",
            "topology": load_topology(topology),
            "schemes": [scheme],
            "transport": {"rate": "40Mbit", "patience": "60s"},
            "probe": {"interval": "20ms"},
            "random_faults": [drawn],
            "seed": seed,
        }
    )
    scenario = settle(scenario, make_plan(scenario.topology), ACTIONS)
    last = max(fault.at for fault in scenario.timeline)
    syncs = [
        {"name": f"sync{number}", "model": {"size": "8MiB"}, "start": number * every}
        for number in range(int(last / every) + 1)
    ]
    return Scenario.model_validate({**scenario.model_dump(), "topology": scenario.topology, "syncs": syncs})


def left_behind() -> list[str]:
    """Our own labs of which there is a trace."""
    mine = registry.Owner.me()
    return sorted(lab for lab, state in registry.labs().items() if state is not None and state.owner == mine)


def outcome(scenario: Scenario, run: Run, events: list[Event]) -> dict[str, Any]:
    """What became of it."""
    begun = Counter(e.detail["action"] for e in {e.detail["id"]: e for e in events if e.kind == "fault"}.values())
    ids = {kind: {e.detail["id"] for e in events if e.kind == kind} for kind in ("fault", "fault-restored")}
    skipped = [e for e in events if e.kind == "fault-skipped"]
    return {
        "scheme": run.scheme,
        "outcome": run.outcome,
        "reason": run.reason,
        "faults": len(ids["fault"]),
        "drawn": len(scenario.timeline),
        "not_restored": len(ids["fault"] - ids["fault-restored"]),
        "skipped": [e.detail for e in skipped],
        "by_action": dict(sorted(begun.items())),
        "deliveries": len(run.sites),
        "delivered": sum(site.delivered for site in run.sites),
        "left_behind": left_behind(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="6 faults under one scheme")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between syncs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scheme", action="append", default=[])
    parser.add_argument("--topology", default="ring")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    results = []
    if not options.json:
        print(f"{'scheme':<20}{'outcome':<10}{'faults':>12}{'restored':>10}{'delivered':>13}{'left':>6}{'took':>8}")
    for scheme in options.scheme or (["bier"] if options.quick else SCHEMES):
        scenario = soak(scheme, 6 if options.quick else options.faults, options.seed, options.topology, options.every)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            out = (options.keep or Path(folder)) / f"soak-{scheme}-{options.seed}"
            (run,) = run_scenario(scenario, out, Observer())
            found = outcome(scenario, run, list(read_bundle(out).events))
        results.append(found | {"took_s": round(time.monotonic() - start, 1)})
        if not options.json:
            r = results[-1]
            print(
                f"{scheme:<20}{r['outcome']:<10}{r['faults']:>5} of {r['drawn']:<4}"
                f"{r['faults'] - r['not_restored']:>9} {r['delivered']:>5} of {r['deliveries']:<5}"
                f"{len(r['left_behind']):>5} {r['took_s']:>6.0f}s  {r['reason'][:300]}",
                flush=True,
            )
    if options.json:
        print(json.dumps({"bench": "soak", "seed": options.seed, "runs": results}))


if __name__ == "__main__":
    main()
