"""Leaf churn in a lab: random leaf sets, one after the other and into each other, and whether anything is left behind.

    .venv/bin/python bench/churn.py [--quick] [--json] [--changes N] [--schemes NAMES] [--topology NAME] [--seed N]

Three policies, the real controller, agents, forwarders and OSPF. A change draws a policy and its leaves anew, or ends
it; half of them are not waited for before the next one comes. Every 20 changes the network comes to rest: each policy
has one active instance, of exactly the leaves that were asked for last, and a packet gets to their hosts, to no other,
and once. In the end all policies go, and every forwarder's tables must be what they were before, every agent's state
empty. Else: what is wrong, and status 1. Times are those from a command to its answer, with nothing else under way.
Needs root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "lab"))

from convergence import network
from leaf_churn import LeafChurn

from testbed.schemes import make_scheme
from testbed.schemes.sr_p2mp import SrP2mp
from testbed.spec.scenario import SchemeChoice

SCHEMES = "sr-p2mp,sr-p2mp:branches=loose,sr-p2mp:dataplane=srv6"
REST = 20  # changes


def measure(topology: str, name: str, changes: int, seed: int) -> dict[str, Any]:
    """Raises AssertionError."""
    scheme = make_scheme(SchemeChoice.model_validate(name))
    assert isinstance(scheme, SrP2mp), f"{name} has no controller"
    with network(topology, scheme) as lab:
        churn = LeafChurn(lab, scheme, seed)
        waited: list[float] = []
        try:
            begin = time.monotonic()
            for number in range(1, changes + 1):
                overlapping, start = churn.overlapping, time.monotonic()
                alone = not churn.under_way
                churn.change()
                if alone and churn.overlapping == overlapping:
                    waited.append(1000 * (time.monotonic() - start))
                if number % REST == 0:
                    churn.check()
            churn.end()
            seconds = time.monotonic() - begin
        finally:
            churn.close()
        instances = sum(event.kind == "instance" for event in scheme.events(lab))
    figures = {"changes": changes, "overlapping": churn.overlapping, "instances": instances, "seconds": seconds}
    low, middle, high = statistics.quantiles(waited, n=4)
    return figures | {"command_ms": {"median": middle, "q1": low, "q3": high, "n": len(waited)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 45 seconds: 100 changes of the first scheme")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--schemes", default=SCHEMES)
    parser.add_argument("--topology", default="gpu-clouds-8")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    names = options.schemes.split(",")[: 1 if options.quick else None]
    found: dict[str, Any] = {}
    for name in names:
        try:
            of = found[name] = measure(options.topology, name, 100 if options.quick else options.changes, options.seed)
        except AssertionError as error:
            raise SystemExit(f"{name}, seed {options.seed}: {error}") from error
        if not options.json:
            ms = of["command_ms"]
            print(f"{name}: nothing left of {of['changes']} changes, {of['overlapping']} of them not waited for")
            print(f"  {of['instances']} instances in {of['seconds']:.1f} s; from a command to its answer:")
            print(f"  {ms['median']:.1f} ms (quartiles {ms['q1']:.1f} to {ms['q3']:.1f}, n {ms['n']})")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
