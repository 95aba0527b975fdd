"""How close a delivery without failures comes to the bottleneck's rate, and what it costs this machine.

    .venv/bin/python bench/delivery.py [--quick] [--json] [--runs N] [--scheme NAME ...] [--rate RATE]

The quickstart's 2 GiB (--quick: 256 MiB) to 8 sites over links of 500 Mb/s, without its fault, at `--rate` (default:
97 % of the links'). Goodput is that of the slowest
site, over the bottleneck's rate; busy is the mean over both cores while the model is on its way. Needs root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from testbed.plan.build import make_plan
from testbed.plan.paths import bottleneck_rate
from testbed.record import Run
from testbed.run.job import destinations
from testbed.run.observer import Observer
from testbed.run.runner import run_scenario
from testbed.spec.load import Overrides, load_scenario
from testbed.units import parse_rate


def measure(run: Run, bottleneck: int) -> dict[str, Any]:
    """The figures of one run."""
    slowest = max(run.sites, key=lambda s: s.delivery_s or float("inf"))
    goodput = slowest.verified_bytes * 8 / slowest.delivery_s if slowest.delivery_s else 0.0
    idle = [core["mean"] for core in run.fidelity.get("cpu_idle", {}).values()]
    return {
        "scheme": run.scheme,
        "outcome": run.outcome,
        "share": goodput / bottleneck,
        "slowest_s": slowest.delivery_s,
        "busy": 1 - statistics.mean(idle) if idle else None,
        "probes_lost": sum(s.probes_lost for s in run.sites),
        "link_drops": sum(link.drops for link in run.links),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, once, one scheme")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scheme", action="append", default=[])
    parser.add_argument("--rate", type=parse_rate, help="what is sent, for example 150Mbit")
    options = parser.parse_args()
    schemes = options.scheme or (["pim-ssm"] if options.quick else ["pim-ssm", "pim-sm"])
    scenario = load_scenario(
        "quickstart",
        overrides=Overrides(
            schemes=schemes,
            size="256MiB" if options.quick else None,
            repetitions=1 if options.quick else options.runs,
        ),
    )
    transport = scenario.transport.model_copy(update={"rate": options.rate})
    scenario = scenario.model_copy(update={"timeline": (), "transport": transport})
    plan = make_plan(scenario.topology)
    bottleneck = bottleneck_rate(plan, destinations(plan, scenario.syncs[0]))
    assert bottleneck is not None  # the quickstart's links are shaped
    with tempfile.TemporaryDirectory() as folder:
        runs = run_scenario(scenario, Path(folder) / "bundle", Observer())
    figures = [measure(run, bottleneck) for run in runs]
    if options.json:
        print(json.dumps({"bench": "delivery", "bottleneck": bottleneck, "runs": figures}))
        return
    print(f"{'scheme':<10}{'outcome':<10}{'goodput/bottleneck':>19}{'slowest':>9}{'busy':>7}{'lost':>7}{'drops':>7}")
    for f in figures:
        slowest = f"{f['slowest_s']:.1f} s" if f["slowest_s"] else "never"
        busy = f"{f['busy']:.0%}" if f["busy"] is not None else "?"
        print(
            f"{f['scheme']:<10}{f['outcome']:<10}{f['share']:>18.1%} {slowest:>9}{busy:>7}"
            f"{f['probes_lost']:>7}{f['link_drops']:>7}"
        )


if __name__ == "__main__":
    main()
