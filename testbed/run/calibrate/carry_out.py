"""All schemes of a scenario, one after the other: the highest rate at which this machine carries each faithfully."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from testbed.plan.build import make_plan
from testbed.run.calibrate.calibration import Calibration, Carried, file_of, load, save
from testbed.run.calibrate.search import highest
from testbed.run.calibrate.trial import Trial, attempt, rate_of
from testbed.run.fidelity.kernel import idle_between, parse_stat
from testbed.run.observer import Observer
from testbed.spec.scenario import Scenario, SchemeChoice
from testbed.units import format_rate

Tried = Callable[[SchemeChoice, Trial], None]

# A machine of which other work takes more than this is not the one that is to be calibrated.
QUIET = 0.1
_LISTEN = 2.0


def busy_with_others(seconds: float = _LISTEN) -> float:
    """The share of this machine's processor time, 0..1, that is used now, while nothing of ours runs."""
    stat = Path("/proc/stat")
    before = parse_stat(stat.read_text())
    time.sleep(seconds)
    idle = idle_between(before, parse_stat(stat.read_text()))
    return 1 - sum(idle.values()) / len(idle)


def calibrate(scenario: Scenario, observer: Observer, tried: Tried, *, impaired: bool) -> dict[str, Carried]:
    """By scheme. `tried` is told of every trial. What was found of a scheme is saved at once, so that an interruption
    costs only the scheme that was at it. Raises RequestError, MachineError, Interrupted."""
    plan = make_plan(scenario.topology)
    path = file_of(scenario, impaired=impaired)
    found = {}
    for choice in scenario.schemes:
        trials: list[Trial] = []

        def holds(rate: int, choice: SchemeChoice = choice, trials: list[Trial] = trials) -> bool:
            trials.append(attempt(scenario, plan, choice, rate, observer, impaired=impaired))
            tried(choice, trials[-1])
            return trials[-1].carried

        most = rate_of(scenario, plan, choice, most=True)
        rate = highest(holds, rate_of(scenario, plan, choice), most)
        refused = min((t for t in trials if not t.carried), key=lambda t: t.rate, default=None)
        found[str(choice)] = Carried(rate, refused.reason if refused else "", len(trials))
        save(path, {str(choice): found[str(choice)]})
    return found


def saved(scenario: Scenario, *, impaired: bool) -> Calibration | None:
    """What is known of a scenario on this machine."""
    return load(file_of(scenario, impaired=impaired))


def beyond(scenario: Scenario, *, impaired: bool) -> list[str]:
    """A sentence for each scheme that the scenario sends faster than this machine is known to carry it."""
    calibration = saved(scenario, impaired=impaired)
    if calibration is None:
        return []
    plan = make_plan(scenario.topology)
    said = []
    for choice in scenario.schemes:
        known = calibration.carried.get(str(choice))
        rate = rate_of(scenario, plan, choice)
        if known is not None and rate > (known.rate or 0):
            most = f"at most {format_rate(known.rate)}" if known.rate else "no rate"
            said.append(
                f"{choice} is to send {format_rate(rate)}, and this machine carries {most} of it faithfully "
                f"(testbed calibrate, {known.date[:10]}): expect invalid runs"
            )
    return said
