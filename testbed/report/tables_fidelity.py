"""What the emulator itself was like during each run: the invalid ones are why these tables exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.report import fmt
from testbed.report.figures import Series
from testbed.report.loose import number, ordered, words_of
from testbed.report.table import Cell, Column, Table

_FIDELITY: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu_idle_mean": ("CPU idle, mean", fmt.percent),
    "cpu_idle_min": ("CPU idle, least", fmt.percent),
    "cpu_busy_mean": ("CPU busy, mean", fmt.percent),
    "busy_share": ("Time with no core idle", fmt.percent),
    "crowded_outage_ms": ("… of the outage that had most of it", fmt.ms),
    "turn_ms": ("Wait for a core, the worst process", lambda v: f"{v:.3f} ms"),
    "forwarder_turn_ms": ("… the worst forwarder", lambda v: f"{v:.3f} ms"),
    "softnet_drops": ("Backlog drops", fmt.count),
    "socket_drops": ("Socket drops", fmt.count),
    "forwarder_drops_all": ("Forwarder drops", fmt.count),
    "forwarder_drops_unexplained": ("… at full sockets", fmt.count),
    "crowded_drops": ("Impairment engine without room", fmt.count),
    "qdisc_drops": ("Queue drops", fmt.count),
    "qdisc_drops_unexplained": ("… neither a fault nor a shape explains", fmt.count),
    "late_p99_ms": ("Probes late, 99th percentile", fmt.ms),
    "probe_jitter_ms_p99": ("Probe jitter before faults, 99th percentile", fmt.ms),
    "probes_lost_before_faults": ("Probes lost before faults", fmt.count),
    "clock_error_ms": ("Clock error", lambda v: f"{v:.3f} ms"),
    "requested_rate": ("Rate asked", fmt.rate),
    "achieved_rate": ("Rate sent", fmt.rate),
    "slowest_link_share": ("Carried by the slowest link, of what was asked", fmt.percent),
    "sender_rate_bps": ("Rate sent", fmt.rate),
}


def fidelity(series: Sequence[Series]) -> Table:
    """A column a run, grouped by scheme; a row a number."""
    found = [(s, run, _numbers(run.fidelity)) for s in series for run in s.runs]
    columns = (Column("", number=False), *(Column(f"run {run.repetition}", group=s.label) for s, run, _ in found))
    rows = []
    for key in ordered((k for _, _, numbers in found for k in numbers), _FIDELITY):
        head, show = _FIDELITY.get(key, (words_of(key), _any))
        rows.append((Cell(head), *(fmt.value(numbers.get(key), show) for _, _, numbers in found)))
    return Table("Fidelity", columns, tuple(rows), "runs.json: fidelity")


def warnings(series: Sequence[Series]) -> Table:
    """What a run said of itself, one warning a row."""
    columns = (Column("Scheme", number=False), Column("Run"), Column("Warning", number=False))
    rows = tuple(
        (Cell(s.label), Cell(str(run.repetition)), Cell(str(warning)))
        for s in series
        for run in s.runs
        for warning in _listed(run.fidelity.get("warnings"))
    )
    return Table("Warnings", columns, rows, "runs.json: fidelity.warnings", ditto=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _numbers(fidelity: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a run's fidelity, one each: cores and hosts put together, other details left in the file."""
    found = {k: n for k, v in fidelity.items() if (n := number(v)) is not None}
    cores = [c for c in _mapping(fidelity, "cpu_idle").values() if isinstance(c, Mapping)]
    if means := [n for c in cores if (n := number(c.get("mean"))) is not None]:
        found["cpu_idle_mean"] = sum(means) / len(means)
    if least := [n for c in cores if (n := number(c.get("min"))) is not None]:
        found["cpu_idle_min"] = min(least)
    for key, told in (("socket_drops", "socket_drops"), ("forwarder_drops", "forwarder_drops_all")):
        if isinstance(fidelity.get(key), Mapping):
            found[told] = sum(n for v in fidelity[key].values() if (n := number(v)) is not None)
    turns = _mapping(fidelity, "turns")
    if waits := {name: n for name in turns if (n := number(_mapping(turns, name).get("worst_ms"))) is not None}:
        found["turn_ms"] = max(waits.values())
        if "mcfwd" in waits:
            found["forwarder_turn_ms"] = waits["mcfwd"]
    if (late := number(_mapping(fidelity, "probe_sender").get("late_p99_ms"))) is not None:
        found["late_p99_ms"] = late
    return found


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _any(value: float) -> str:
    return f"{value:,.4g}"
