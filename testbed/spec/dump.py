"""Topologies and scenarios as YAML that people can read and that loads again to the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import yaml

from testbed.spec.faults import Fault
from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology
from testbed.units import parse_duration, parse_rate, parse_size

_RATE = (("Tbit", 10**12), ("Gbit", 10**9), ("Mbit", 10**6), ("kbit", 10**3))
_SIZE = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6))
_DURATION = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))


def dump_topology(topology: Topology) -> str:
    """YAML; `load_topology` of it gives an equal Topology. What a link inherits is left out of it."""
    return _emit(_topology(topology))


def dump_scenario(scenario: Scenario) -> str:
    """YAML with the topology inline; `load_scenario` of it gives an equal Scenario.

    Defaults are written out, so that it means the same to a version with other defaults."""
    data = scenario.model_dump(mode="python", exclude_none=True)
    data["topology"] = _topology(scenario.topology)
    data["schemes"] = [_scheme(choice) for choice in data["schemes"]]
    for sync in data["syncs"]:
        _quantities(sync["model"], size=_size, shard=_size)
        sync["model"] = _Flow(sync["model"])
        _quantities(sync, start=_duration, every=_duration)
        if isinstance(sync.get("to"), tuple):
            sync["to"] = _Flow(sync["to"])
    _quantities(data["transport"], rate=_rate, patience=_duration)
    _quantities(data["probe"], interval=_duration, settle=_duration)
    data["timeline"] = [_fault(fault) for fault in data["timeline"]]
    for drawn in data["random_faults"]:
        _quantities(drawn, start=_duration)
        drawn["gap"], drawn["duration"] = _Flow(drawn["gap"]), _Flow(drawn["duration"])
        drawn["actions"] = [_Flow(action) for action in drawn["actions"]]
    order = list(Scenario.model_fields)
    order.append(order.pop(order.index("topology")))
    return _emit({key: data[key] for key in order if key in data})


def dump_timeline(faults: Iterable[Fault]) -> str:
    """YAML with the one key `timeline`, as a scenario has it."""
    return _emit({"timeline": [_fault(each.model_dump(mode="python", exclude_none=True)) for each in faults]})


def _fault(fault: dict[str, Any]) -> dict[str, Any]:
    _quantities(fault, at=_duration, duration=_duration)
    return fault | {"target": _Flow(fault["target"])}


def _topology(topology: Topology) -> dict[str, Any]:
    data = topology.model_dump(mode="python", exclude_defaults=True)
    defaults = topology.defaults.link.model_dump(mode="python", exclude_none=True)
    _link_quantities(defaults)
    data["defaults"] = {"link": _Flow(defaults)}
    # A node's kind is no default, so it is always there.
    data["nodes"] = {name: _Flow(node) for name, node in data["nodes"].items()}
    data["links"] = [_link(link) for link in data["links"]]
    order = ["name", "description", "source", "defaults", "rp", "nodes", "links"]
    return {key: data[key] for key in order if key in data}


def _link(link: dict[str, Any]) -> _Flow:
    _link_quantities(link)
    return _Flow([link["a"], link["b"]]) if len(link) == 2 else _Flow(link)


def _scheme(choice: dict[str, Any]) -> Any:
    return choice if choice.get("options") else choice["name"]


def _link_quantities(link: dict[str, Any]) -> None:
    _quantities(link, rate=_rate, delay=_duration, jitter=_duration, queue=_size)


def _quantities(data: dict[str, Any], **writers: Callable[[Any], Any]) -> None:
    for key, write in writers.items():
        if data.get(key) is not None:
            data[key] = write(data[key])


def _exact(
    value: float, units: tuple[tuple[str, float], ...], parse: Callable[[str], float], spec: str
) -> str | int | float:
    """`value` in the largest unit that gives at least 1 and reads back exactly; else the bare number."""
    for unit, factor in units:
        text = f"{value / factor:{spec}}{unit}"
        if value >= factor and "e" not in text and len(text) < 12 and parse(text) == value:
            return text
    return value


def _rate(value: int) -> str | int | float:
    return _exact(value, _RATE, parse_rate, ".10g")


def _size(value: int) -> str | int | float:
    return _exact(value, _SIZE, parse_size, ".10g")


def _duration(value: float) -> str | int | float:
    return _exact(value, _DURATION, parse_duration, ".10g") if value else 0


class _Flow:
    """A value to be written on one line."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_flow(dumper: yaml.SafeDumper, flow: _Flow) -> yaml.Node:
    if isinstance(flow.value, dict):
        return dumper.represent_mapping("tag:yaml.org,2002:map", flow.value, flow_style=True)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", flow.value, flow_style=True)


_Dumper.add_representer(_Flow, _represent_flow)
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))


_BREAKS = ("\x85", "\u2028", "\u2029", "\ufeff")


def _emit(data: dict[str, Any]) -> str:
    def write(readable: bool) -> str:
        return yaml.dump(
            data, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=readable, default_flow_style=False
        )

    text = write(True)
    # YAML reads these as line breaks (or not at all): they come back only if they are escaped.
    return write(False) if any(mark in text for mark in _BREAKS) else text
