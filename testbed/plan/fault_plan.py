"""The timeline of a scenario with nothing left to chance: roles become names, random faults a list. Pure: the same
scenario, the same faults.

Only what a scheme decides while it runs stays open: where the tree runs, and on which node a controller is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from testbed.errors import Problem, RequestError
from testbed.plan.types import Plan
from testbed.spec.check_faults import claimed, length
from testbed.spec.fault_claims import members
from testbed.spec.faults import (
    LINK_ROLES,
    DaemonTarget,
    Distribution,
    Fault,
    FaultKind,
    Pick,
    RandomAction,
    RandomFaults,
    Target,
)
from testbed.spec.scenario import Scenario
from testbed.units import format_duration

Actions = Mapping[str, FaultKind]


def settle(scenario: Scenario, plan: Plan, actions: Actions) -> Scenario:
    """The scenario with its timeline settled, in order of time, and no random faults. Raises RequestError where faults
    that were drawn meet others on the same target; a daemon of several routers becomes a fault at each."""
    faults: list[tuple[str, Fault]] = []
    for index, fault in enumerate(scenario.timeline):
        rng = _generator(scenario.seed, "timeline", index)
        faults += [(f"timeline[{index}]", each) for each in concrete(fault, plan, rng)]
    for index, drawn in enumerate(scenario.random_faults):
        rng = _generator(scenario.seed if drawn.seed is None else drawn.seed, "random_faults", index)
        faults += [(f"random_faults[{index}]", each) for each in draw(drawn, plan, actions, rng)]
    faults.sort(key=lambda item: item[1].at)
    if problems := _clashes(faults, plan, actions):
        raise RequestError(problems)
    return scenario.model_copy(update={"timeline": tuple(fault for _, fault in faults), "random_faults": ()})


def concrete(fault: Fault, plan: Plan, rng: random.Random) -> tuple[Fault, ...]:
    """A fault with names for its role. Raises RequestError where nothing has the role."""
    return tuple(fault.model_copy(update={"target": target}) for target in _named(fault.target, plan, rng))


def draw(drawn: RandomFaults, plan: Plan, actions: Actions, rng: random.Random) -> tuple[Fault, ...]:
    """One after another, each over before the next begins: no two of them meet on any target, and all end."""
    faults: list[Fault] = []
    now = drawn.start
    for _ in range(drawn.count):
        now += _sample(drawn.gap, rng)
        (kind,) = rng.choices(drawn.actions, [each.weight for each in drawn.actions])
        for fault in _drawn(kind, _next_millisecond(now), _sample(drawn.duration, rng), plan, actions, rng):
            faults.append(fault)
            now = max(now, fault.at + (length(fault, actions) or 0.0))
    return tuple(faults)


def _drawn(
    kind: RandomAction, at: float, duration: float, plan: Plan, actions: Actions, rng: random.Random
) -> Sequence[Fault]:
    # An action whose length follows from its parameters takes no duration; every other one takes what was drawn.
    own = length(Fault(at=at, action=kind.action, target=kind.target, parameters=kind.parameters), actions)
    fault = Fault(
        at=at,
        action=kind.action,
        target=kind.target,
        duration=None if own is not None else max(0.001, round(duration, 3)),
        parameters=kind.parameters,
    )
    return concrete(fault, plan, rng)


def _named(target: Target, plan: Plan, rng: random.Random) -> list[Target]:
    if target.daemon is not None and target.daemon.role is not None and target.daemon.role != "controller":
        name = target.daemon.name
        nodes = _picked(target.daemon.role, target.daemon.pick, plan, rng)
        return [Target(daemon=DaemonTarget(name=name, node=node)) for node in nodes]
    if target.role is None or target.role == "controller":
        return [target]
    picked = _picked(target.role, target.pick, plan, rng)
    if target.role in LINK_ROLES:
        return [Target(link=picked[0]) if len(picked) == 1 else Target(links=picked)]
    return [Target(node=picked[0]) if len(picked) == 1 else Target(nodes=picked)]


def _picked(role: str, pick: Pick | None, plan: Plan, rng: random.Random) -> tuple[str, ...]:
    """In topology order, so that a plan reads the same however it was drawn."""
    found = (plan.rp,) if role == "rp" else members(plan.topology, role)
    count = len(found) if pick == "all" else pick or 1
    if count > len(found) or not found:
        raise RequestError([Problem(f"topology {plan.topology.name} has {len(found)} of {role}, not {count}", "role")])
    chosen = set(rng.sample(found, count))
    return tuple(name for name in found if name in chosen)


def _sample(distribution: Distribution, rng: random.Random) -> float:
    if distribution.uniform is not None:
        return rng.uniform(*distribution.uniform)
    if distribution.exponential:
        return min(rng.expovariate(1 / distribution.exponential), distribution.longest)
    return distribution.fixed or 0.0


def _next_millisecond(t: float) -> float:
    """The first whole one after `t`: a fault begins after the one before has ended, and is written with few digits."""
    return (math.floor(t * 1000 + 1e-6) + 1) / 1000


def _generator(seed: int, *purpose: str | int) -> random.Random:
    """A generator of its own for each purpose: what is added to one plan changes no other."""
    return random.Random(":".join(map(str, (seed, *purpose))))


def _clashes(faults: Sequence[tuple[str, Fault]], plan: Plan, actions: Actions) -> list[Problem]:
    problems = []
    last: list[tuple[str, Fault]] = []
    for where, fault in faults:
        for other_where, other in last:
            lasts = length(other, actions)
            shared = claimed(fault, plan.topology, actions).shared(claimed(other, plan.topology, actions))
            if shared and (lasts is None or other.at + lasts >= fault.at):
                what = f"{shared} is hit at {format_duration(fault.at)} while a fault of {other_where} still lasts"
                problems.append(Problem(what, where, "let the first fault end before the next one starts"))
        last.insert(0, (where, fault))
    return problems
