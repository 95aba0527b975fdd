"""How long Ctrl-C takes: from SIGINT in the middle of a run until the harness has gone and nothing of it is left.

    .venv/bin/python bench/interrupt.py [--quick] [--json] [--runs N]

Twice for each of two topologies, the ring of the smoke scenario and the quickstart's gpu-clouds-8: while the network
comes up (OSPF is waited for), and a second into the delivery. `down` ends when the last process of the lab has; the
rest is the bundle's report, which is written of what was measured until then. Every run is checked: status 1, a
bundle that says interrupted, a report, and no process or folder of a lab left. The goal is less than 3 s. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed.bundle import read_bundle
from testbed.lab import registry

GOAL_S = 3.0
# A topology, and a scenario on it with a model that is still on its way when the signal comes.
SCENARIOS = {"ring": ("smoke", "256MiB"), "gpu-clouds-8": ("quickstart", "128MiB")}
# What the harness says, and how many seconds later the signal comes.
MOMENTS = {"coming up": ("waiting for OSPF", 0.0), "delivering": ("delivering", 1.0)}
DEADLINE_S = 60.0


def interrupt(scenario: str, size: str, moment: str, out: Path) -> dict[str, float]:
    """One run, interrupted; seconds of each part."""
    said, wait = MOMENTS[moment]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is in the background of a shell without job control
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "testbed.cli", "run", scenario, "--size", size, "--scheme", "pim-ssm"]
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stderr is not None
        if not any(said in line for line in process.stderr):
            raise SystemExit(f"{scenario} ended with status {process.wait()} before it said {said!r}")
        time.sleep(wait)
        ours = {lab for lab, state in registry.labs().items() if state and state.owner.pid == process.pid}
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        down = next((time.monotonic() for line in process.stderr if "repetition 1:" in line), start)
        process.stderr.read()
        status = process.wait(DEADLINE_S)
        end = time.monotonic()
    finally:
        process.kill()
        process.wait()
    bundle = read_bundle(out)
    found = (status, bundle.interrupted, [r.outcome for r in bundle.runs], (out / "report.html").exists())
    if found != (1, True, ["interrupted"], True):
        raise SystemExit(f"{scenario}, {moment}: status, interrupted, outcomes, report: {found}")
    if not ours or ours & registry.labs().keys():
        raise SystemExit(f"{scenario}, {moment}: labs {ours}, left behind: {ours & registry.labs().keys()}")
    return {"down": down - start, "report": end - down, "total": end - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("this needs root")
    runs = 1 if options.quick else options.runs
    cases = [(topology, moment) for topology in SCENARIOS for moment in MOMENTS]
    samples: dict[tuple[str, str], list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(runs):
        for topology, moment in cases:
            with tempfile.TemporaryDirectory() as folder:
                samples[topology, moment].append(interrupt(*SCENARIOS[topology], moment, Path(folder) / "bundle"))
    figures = [
        {
            "topology": topology,
            "moment": moment,
            "down_s": statistics.median(s["down"] for s in found),
            "report_s": statistics.median(s["report"] for s in found),
            "total_s": {
                "min": min(s["total"] for s in found),
                "median": statistics.median(s["total"] for s in found),
                "max": max(s["total"] for s in found),
            },
        }
        for (topology, moment), found in samples.items()
    ]
    if options.json:
        print(json.dumps({"bench": "interrupt", "runs": runs, "goal_s": GOAL_S, "figures": figures}))
        return
    print(f"seconds from SIGINT until nothing is left, {runs} runs; the goal is {GOAL_S:g}")
    print(f"{'topology':<14}{'while':<12}{'down':>8}{'report':>8}{'min':>8}{'median':>8}{'max':>8}")
    for f in figures:
        total = f["total_s"]
        row = "".join(f"{value:>8.2f}" for value in (f["down_s"], f["report_s"], *total.values()))
        print(f"{f['topology']:<14}{f['moment']:<12}{row}")


if __name__ == "__main__":
    main()
