"""Which signs tell an overloaded machine, and from where on: the quickstart's network at sane and absurd rates.

    .venv/bin/python bench/fidelity.py [--quick] [--json] [--scheme NAME ...] [--rate RATE ...] [--beside N]

Six seconds of a model to 8 sites without faults at each rate (links of 40 Gb/s, so that none of them is the limit), and
what the run's fidelity says. `--beside N`: with N processes beside it that do nothing but compute. Needs root.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.plan.build import make_plan
from testbed.record import Run
from testbed.run.calibrate.trial import short
from testbed.run.observer import Observer
from testbed.run.runner import run_scenario
from testbed.spec.load import load_scenario
from testbed.spec.scenario import Scenario, SchemeChoice
from testbed.units import format_rate, parse_rate

RATES = ("150Mbit", "200Mbit", "300Mbit", "400Mbit", "600Mbit", "1200Mbit")


def signs(run: Run) -> dict[str, Any]:
    """What a run's fidelity says, in one number each."""
    told = run.fidelity
    idle = [core["mean"] for core in told.get("cpu_idle", {}).values()]
    turns = told.get("turns", {})
    packets = sum(link.packets for link in run.links) or 1
    return {
        "outcome": run.outcome,
        "causes": told.get("causes", []),
        "idle": sum(idle) / len(idle) if idle else None,
        "busy_share": told.get("busy_share"),
        "mcfwd_ms": turns.get("mcfwd", {}).get("worst_ms"),
        "ksoftirqd_ms": turns.get("ksoftirqd", {}).get("worst_ms"),
        "ospfd_ms": turns.get("ospfd", {}).get("worst_ms"),
        "softnet_share": told.get("softnet_drops", 0) / packets,
        "forwarder_drops": told.get("forwarder_drops_unexplained"),
        "queue_drops": told.get("qdisc_drops_unexplained"),
        "socket_drops": sum(told.get("socket_drops", {}).values()),
        "sent_share": told["achieved_rate"] / told["requested_rate"] if told.get("achieved_rate") else None,
        "slowest_link": told.get("slowest_link_share"),
        "late_ms": told.get("probe_sender", {}).get("late_p99_ms"),
        "jitter_ms": told.get("probe_jitter_ms_p99"),
        "probes_lost": told.get("probes_lost_before_faults"),
    }


def scenario_at(rate: int, scheme: str) -> Scenario:
    scenario = load_scenario("quickstart")
    topology = scenario.topology
    link = topology.defaults.link.model_copy(update={"rate": 40 * 10**9})
    fast = topology.model_copy(update={"defaults": topology.defaults.model_copy(update={"link": link})})
    scenario = scenario.model_copy(update={"topology": fast})
    return short(scenario, make_plan(fast), SchemeChoice(name=scheme), rate)


def _compute() -> None:
    while True:
        pass


@contextmanager
def beside(processes: int) -> Iterator[None]:
    running = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.join()


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or "-"
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one scheme, at a sane rate and at an absurd one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scheme", action="append", default=[])
    parser.add_argument("--rate", action="append", default=[], type=parse_rate)
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="processes that compute meanwhile")
    options = parser.parse_args()
    schemes = options.scheme or (["pim-ssm"] if options.quick else ["pim-ssm", "bier"])
    rates = options.rate or [parse_rate(r) for r in (("100Mbit", "1200Mbit") if options.quick else RATES)]
    rows = []
    for scheme in schemes:
        for rate in rates:
            with tempfile.TemporaryDirectory() as folder, beside(options.beside):
                (run,) = run_scenario(scenario_at(rate, scheme), Path(folder) / "bundle", Observer())
            rows.append({"scheme": scheme, "rate": rate, "beside": options.beside, **signs(run)})
            if not options.json:
                print(f"{scheme} at {format_rate(rate)}" + (f" beside {options.beside}" if options.beside else ""))
                print("  " + "  ".join(f"{key} {_shown(value)}" for key, value in rows[-1].items() if key != "scheme"))
    if options.json:
        print(json.dumps({"bench": "fidelity", "runs": rows}))


if __name__ == "__main__":
    main()
