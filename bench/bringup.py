"""How long a lab takes to come up and to go: gpu-clouds-8, and 100 routers with 150 links.

    .venv/bin/python bench/bringup.py [--quick] [--json] [--runs N]

Up is from nothing to OSPF full, every route in every kernel, and every PIM neighbour known. Needs root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.schemes import make_scheme, router_configs
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice
from testbed.spec.topology import Topology


def hundred_routers() -> Topology:
    """A ring of 98 core routers with 50 chords, a repository and a site: 100 routers, 150 links."""
    core = [f"r{i}" for i in range(98)]
    links = [[a, b] for a, b in zip(core, core[1:] + core[:1], strict=True)]
    links += [[core[i], core[(i * 37 + 41) % 98]] for i in range(50)]
    links += [["repo", core[0]], ["cloud", core[49]]]
    nodes = {name: {"kind": "router"} for name in core}
    nodes |= {"repo": {"kind": "repository"}, "cloud": {"kind": "site"}}
    return Topology.model_validate({"name": "hundred", "nodes": nodes, "links": links})


def measure(topology: Topology) -> dict[str, float]:
    """Seconds of each step of one lab's life."""
    plan = make_plan(topology)
    scheme = make_scheme(SchemeChoice(name="pim-ssm"))
    version, timers = frr_version(), profile("fast")
    start = time.monotonic()
    configs = router_configs(plan, scheme, timers, version)
    lab = Lab(plan, configs)
    try:
        lab.start()
        lab.wait_for_igp()
        before = time.monotonic()
        scheme.start(lab)
        scheme.wait_ready(lab)
        up = time.monotonic()
    finally:
        down = time.monotonic()
        lab.stop()
    return {
        "up_s": up - start,
        "down_s": time.monotonic() - down,
        **lab.timings,
        "pim_s": up - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs = 1 if options.quick else options.runs
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name, topology in (("gpu-clouds-8", load_topology("gpu-clouds-8")), ("100 routers", hundred_routers())):
        samples = [measure(topology) for _ in range(runs)]
        figures[name] = {
            key: {
                "min": min(s[key] for s in samples),
                "median": statistics.median(s[key] for s in samples),
                "max": max(s[key] for s in samples),
            }
            for key in samples[0]
        }
    if options.json:
        print(json.dumps({"bench": "bringup", "runs": runs, "figures": figures}))
        return
    for name, table in figures.items():
        print(f"{name}, {runs} runs (seconds)")
        print(f"  {'step':<12}{'min':>8}{'median':>8}{'max':>8}")
        for key, row in table.items():
            print(f"  {key.removesuffix('_s'):<12}{row['min']:>8.2f}{row['median']:>8.2f}{row['max']:>8.2f}")


if __name__ == "__main__":
    main()
