"""What a scenario's faults may get wrong: against their actions, against the topology, against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from testbed.spec.document import Finding, Path
from testbed.spec.explain import explain
from testbed.spec.fault_claims import Claim, claim, fault_nodes, members
from testbed.spec.faults import Fault, FaultKind, RandomAction, Target
from testbed.spec.limits import MAX_TIME
from testbed.spec.names import find_link, generated_hosts, link_aliases
from testbed.spec.scenario import Scenario
from testbed.spec.suggest import did_you_mean
from testbed.spec.topology import Topology
from testbed.units import format_duration

Actions = Mapping[str, FaultKind]
_KINDS = {"link": "links", "node": "nodes", "daemon": "daemons"}


def fault_findings(scenario: Scenario, actions: Actions | None, *, topology: bool = True) -> Iterator[Finding]:
    """Every problem of the timeline and of the random faults. `actions` None: those are not asked about. `topology`
    False: it is in error itself."""
    for path, fault in _entries(scenario):
        if actions is not None:
            yield from _action(path, fault, actions)
        if topology:
            yield from _target(path, fault.target, scenario.topology)
    yield from _drawn(scenario, actions)
    yield from _times(scenario, actions)
    if topology:
        yield from _overlaps(scenario, actions)


def length(fault: Fault, actions: Actions | None) -> float | None:
    """Seconds that a fault lasts, None: until the end. Where it is wrong 0: nothing else is found wrong for that."""
    action = (actions or {}).get(fault.action)
    if action is None:
        return fault.duration
    try:
        return action.length(action.parameters.model_validate(fault.parameters), fault.duration)
    except ValueError:  # pydantic's, too: said elsewhere
        return 0.0


def claimed(fault: Fault, topology: Topology, actions: Actions | None) -> Claim:
    """What a fault has to itself while it lasts, as far as it is named, and as far as its action is known."""
    links, nodes = fault.target.link_names, fault.target.node_names
    daemon = fault.target.daemon.name if fault.target.daemon else ""
    action = (actions or {}).get(fault.action)
    try:
        if action is None:
            raise ValueError(fault.action)
        parts = action.parts(action.parameters.model_validate(fault.parameters), daemon)
    except ValueError:  # said elsewhere
        return claim(topology, links, nodes, [daemon]) if daemon else claim(topology, links, ())
    return claim(topology, links, nodes, parts)


def one_fault(fault: Fault, topology: Topology, actions: Actions) -> list[Finding]:
    """Every problem of a fault by itself."""
    return [*_action((), fault, actions), *_target((), fault.target, topology)]


def _entries(scenario: Scenario) -> Iterator[tuple[Path, Fault | RandomAction]]:
    for index, fault in enumerate(scenario.timeline):
        yield ("timeline", index), fault
    for index, plan in enumerate(scenario.random_faults):
        for place, action in enumerate(plan.actions):
            yield ("random_faults", index, "actions", place), action


def _action(path: Path, fault: Fault | RandomAction, actions: Actions) -> Iterator[Finding]:
    action = actions.get(fault.action)
    if action is None:
        hint = did_you_mean(fault.action, sorted(actions), "fault actions")
        yield Finding((*path, "action"), f"there is no fault action {fault.action!r}", hint)
        return
    if fault.target.kind not in action.takes:
        takes = " or ".join(_KINDS[kind] for kind in sorted(action.takes))
        what = f"{action.name} takes {takes}; {fault.target} is a {fault.target.kind}"
        yield Finding((*path, "target"), what, "docs/faults.md says what each action takes")
    fields = {field.alias or name for name, field in action.parameters.model_fields.items()}
    known = [*fields, *(key for key in type(fault).model_fields if key != "parameters")]
    for key in fault.parameters.keys() - fields:
        what = f"{action.name} has no parameter {key!r}"
        yield Finding((*path, key), what, did_you_mean(key, known, "known keys"))
    given: dict[str, Any] = {key: value for key, value in fault.parameters.items() if key in fields}
    try:
        parameters = action.parameters.model_validate(given)
    except ValidationError as error:
        for found in explain(error, action.parameters, given):
            yield Finding((*path, *found.path), found.what, found.hint)
        return
    if isinstance(fault, Fault):
        try:
            action.length(parameters, fault.duration)
        except ValueError as error:
            yield Finding((*path, "duration"), str(error), "docs/faults.md says how long each action lasts")


def _drawn(scenario: Scenario, actions: Actions | None) -> Iterator[Finding]:
    """Of random faults: whether an action can be as short as is drawn at the least."""
    for index, plan in enumerate(scenario.random_faults):
        for place, each in enumerate(plan.actions):
            action = (actions or {}).get(each.action)
            try:
                parameters = action.parameters.model_validate(each.parameters) if action else None
                if action is None or action.length(parameters, None) is not None:
                    continue  # its length is its own
            except ValueError:  # said elsewhere
                continue
            try:
                action.length(parameters, plan.duration.shortest)
            except ValueError as error:
                least = format_duration(plan.duration.shortest)
                hint = f"what is drawn may be as short as {least}: uniform: [A, B] begins where you say"
                yield Finding(("random_faults", index, "actions", place), str(error), hint)


def _target(path: Path, target: Target, topology: Topology) -> Iterator[Finding]:
    at: Path = (*path, "target")
    if target.link is not None:
        yield from _link((*at, "link"), target.link, topology)
    for place, link in enumerate(target.links or ()):
        yield from _link((*at, "links", place), link, topology)
    if target.node is not None:
        yield from _node((*at, "node"), target.node, topology)
    for place, node in enumerate(target.nodes or ()):
        yield from _node((*at, "nodes", place), node, topology)
    role, where = target.role, (*at, "role")
    if target.daemon is not None:
        role, where = target.daemon.role, (*at, "daemon", "role")
        if target.daemon.node is not None:
            yield from _node((*at, "daemon", "node"), target.daemon.node, topology)
    if role is not None and role not in ("rp", "controller"):
        found, pick = len(members(topology, role)), (target.daemon or target).pick
        if not found:
            yield Finding(where, f"topology {topology.name} has no {role}", "name a link or a node instead")
        elif isinstance(pick, int) and pick > found:
            yield Finding((*where[:-1], "pick"), f"topology {topology.name} has only {found} of {role}", "pick: all")


def _link(path: Path, name: str, topology: Topology) -> Iterator[Finding]:
    if find_link(topology, name) is None:
        hint = did_you_mean(name, link_aliases(topology), "links")
        if any(name.endswith(f"-{host}") or name == host for host in generated_hosts(topology)):
            hint = "links between a router and its own hosts are no targets; name a link of the topology"
        yield Finding(path, f"there is no link {name!r} in topology {topology.name}", hint)


def _node(path: Path, name: str, topology: Topology) -> Iterator[Finding]:
    known = fault_nodes(topology)
    if name not in known:
        hint = did_you_mean(name, known, "nodes")
        if name in generated_hosts(topology):
            hint = "hosts are no targets; name a router"
        yield Finding(path, f"there is no node {name!r} in topology {topology.name}", hint)


def _times(scenario: Scenario, actions: Actions | None) -> Iterator[Finding]:
    times: list[tuple[Path, float | None]] = []
    for index, fault in enumerate(scenario.timeline):
        times += [(("timeline", index, "at"), fault.at), (("timeline", index, "duration"), fault.duration)]
        if fault.duration == 0:
            hint = "say how long it lasts; leave duration out for a fault that is never undone"
            yield Finding(("timeline", index, "duration"), "a fault that lasts 0 s changes nothing", hint)
    for index, plan in enumerate(scenario.random_faults):
        at: Path = ("random_faults", index)
        times += [((*at, "start"), plan.start)]
        times += [((*at, key), getattr(plan, key).longest) for key in ("gap", "duration")]
        if plan.duration.longest == 0:
            yield Finding((*at, "duration"), "a fault that lasts 0 s changes nothing", "say how long they last")
    for path, seconds in times:
        if seconds is not None and not seconds <= MAX_TIME:
            what = f"{seconds:.15g} s is too long; {MAX_TIME / 3600:g} h is the most"
            yield Finding(path, what, "a number without a unit is seconds")
    lengths = [each for fault in scenario.timeline if (each := length(fault, actions)) is not None]
    lengths += [plan.duration.longest for plan in scenario.random_faults]
    longest = max((each for each in lengths if each <= MAX_TIME), default=0.0)
    patience = scenario.transport.patience
    if patience <= longest:
        what = f"a patience of {format_duration(patience)} is no longer than a fault of {format_duration(longest)}"
        hint = "a site that is silent that long is given up: set transport.patience well above every fault's duration"
        yield Finding(("transport", "patience"), what, hint)


def _overlaps(scenario: Scenario, actions: Actions | None) -> Iterator[Finding]:
    """Of what is named: what is drawn, or found at run time, is looked at then."""
    before: list[tuple[int, Fault]] = []
    for index, fault in sorted(enumerate(scenario.timeline), key=lambda item: item[1].at):
        mine = claimed(fault, scenario.topology, actions)
        for place, other in before:  # the latest first
            lasts = length(other, actions)
            shared = mine.shared(claimed(other, scenario.topology, actions))
            if shared and (lasts is None or other.at + lasts >= fault.at):
                what = f"{shared} is hit at {format_duration(fault.at)} while timeline[{place}] still lasts"
                yield Finding(("timeline", index, "at"), what, "let the first fault end before the next one starts")
                break
        before.insert(0, (index, fault))
