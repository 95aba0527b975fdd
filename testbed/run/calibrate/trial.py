"""One rate tried: a short run of one scheme, without faults, judged by its fidelity."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from testbed.plan.types import Plan
from testbed.run.job import destinations, link_copies, total_rate
from testbed.run.observer import Observer
from testbed.run.runner import run_scenario
from testbed.schemes import make_scheme
from testbed.spec.scenario import Scenario, SchemeChoice

# How long a trial sends, in s.
SECONDS = 6.0
_LEAST_MODEL = 2**20


@dataclass(frozen=True, slots=True)
class Trial:
    """`rate` in bit/s. `carried`: the run passed, and was valid; else `reason`."""

    rate: int
    carried: bool
    reason: str = ""


def rate_of(scenario: Scenario, plan: Plan, choice: SchemeChoice, *, most: bool = False) -> int:
    """What the scenario puts on the links behind the repository's router with this scheme, all copies together, in
    bit/s. `most`: what it could, by the links' own rates."""
    asked = scenario.transport.model_copy(update={"rate": None}) if most else scenario.transport
    flow = make_scheme(choice).flow(1)
    return min(total_rate(asked, plan, destinations(plan, sync), flow) for sync in scenario.syncs)


def short(scenario: Scenario, plan: Plan, choice: SchemeChoice, rate: int) -> Scenario:
    """The scenario with this scheme alone, at this rate for SECONDS, once and undisturbed."""
    flow = make_scheme(choice).flow(1)
    syncs = []
    for sync in scenario.syncs:
        size = max(round(rate * SECONDS / 8 / link_copies(plan, destinations(plan, sync), flow)), _LEAST_MODEL)
        model = sync.model.model_copy(update={"size": size, "shard": max(size, sync.model.shard)})
        syncs.append(sync.model_copy(update={"model": model}))
    transport = scenario.transport.model_copy(update={"rate": rate})
    changes = {"schemes": (choice,), "syncs": tuple(syncs), "transport": transport, "timeline": (), "repetitions": 1}
    return scenario.model_copy(update=changes)


def attempt(
    scenario: Scenario, plan: Plan, choice: SchemeChoice, rate: int, observer: Observer, *, impaired: bool
) -> Trial:
    """Try it. Raises RequestError, MachineError, Interrupted."""
    with tempfile.TemporaryDirectory(prefix="llmsync-calibrate-") as folder:
        tried = short(scenario, plan, choice, rate)
        (run,) = run_scenario(tried, Path(folder) / "bundle", observer, impaired=impaired)
    return Trial(rate, run.outcome == "passed", run.reason)
