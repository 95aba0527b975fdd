"""A scenario carried out: every scheme, every repetition, into one bundle."""

from __future__ import annotations

import time
from pathlib import Path

from testbed.bundle import BundleWriter
from testbed.lab.capabilities import probe_machine
from testbed.lab.registry import Registry
from testbed.lab.requirements import require
from testbed.plan.build import make_plan
from testbed.plan.fault_plan import settle
from testbed.record import Event, Run
from testbed.run.faults import ACTIONS
from testbed.run.job import Cargo, Job
from testbed.run.manifest import make_manifest
from testbed.run.needs import scenario_needs
from testbed.run.observer import Observer
from testbed.run.one import carry_out
from testbed.spec.expand import expanded
from testbed.spec.scenario import Scenario
from testbed.transfer.model import make_model

WITHOUT_IMPAIRMENTS = "impairments-ignored: delays, jitter and losses of the topology were left out"


def run_scenario(
    scenario: Scenario, out: Path, observer: Observer, *, impaired: bool = True, keep: bool = False
) -> tuple[Run, ...]:
    """Carry out `scenario` into a new bundle at `out`. Repetitions go round the schemes, so that what drifts on
    the host hits all alike. `keep`: what was delivered stays in the bundle. Raises RequestError, MachineError (before
    anything is started), Interrupted (after the bundle was finished)."""
    scenario = expanded(scenario)
    out = out.absolute()  # processes in the nodes are given paths below it, and work elsewhere
    plan = make_plan(scenario.topology)
    scenario = settle(scenario, plan, ACTIONS)
    for action in sorted({fault.action for fault in scenario.timeline}):
        ACTIONS[action].require()
    cap = probe_machine(bundle=out)
    require(cap, scenario_needs(scenario, plan, cap, impaired=impaired, keep=keep))
    runs: list[Run] = []
    models = Registry(f"models of {scenario.name}")
    models.state.phase = "models"
    models.save()
    try:
        with BundleWriter(out) as bundle:
            bundle.write_scenario(scenario.model_dump(mode="json", exclude_none=True))
            bundle.write_manifest(make_manifest(scenario, plan, cap, [] if impaired else [WITHOUT_IMPAIRMENTS]))
            cargo = _load_cargo(scenario, models, bundle, observer)
            job = Job(scenario, plan, cargo, cap.frr_release, impaired, keep)
            for repetition in range(1, scenario.repetitions + 1):
                for choice in scenario.schemes:
                    runs.append(carry_out(job, choice, repetition, bundle, observer))
    finally:
        models.remove()
    return tuple(runs)


def _load_cargo(
    scenario: Scenario, models: Registry, bundle: BundleWriter, observer: Observer
) -> tuple[Cargo, ...]:
    """Make each sync's model, on disk: the page cache keeps it at hand, and memory can be had back."""
    cargo = []
    for sync in scenario.syncs:
        observer.phase("", f"making a model of {sync.model.size} bytes for {sync.name}")
        start = time.monotonic()
        directory = models.bulk("/var/tmp") / sync.name
        seed = scenario.seed if sync.model.seed is None else sync.model.seed
        manifest = make_model(directory, sync.model.size, sync.model.shard, seed)
        bundle.event(Event(start, "", "phase", "", {"name": f"model for {sync.name}", "s": time.monotonic() - start}))
        cargo.append(Cargo(sync, directory, manifest))
    return tuple(cargo)
