"""The tables behind the headline ones: stages, control traffic and state, bring-up, fidelity, what was run on what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from testbed.report import fmt
from testbed.report.figures import Series, Study
from testbed.report.stats import summarise
from testbed.report.table import NONE, Cell, Column, Table

_STAGES = {
    "detection_ms": "Detected",
    "route_ms": "Route changed",
    "mroute_ms": "Multicast route changed",
    "first_probe_ms": "First probe",
}

_FIDELITY: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu_idle_min": ("CPU idle, least", fmt.percent),
    "cpu_busy_mean": ("CPU busy, mean", fmt.percent),
    "qdisc_drops_unexplained": ("Drops no fault explains", fmt.count),
    "probe_jitter_ms_p99": ("Probe jitter, 99th percentile", fmt.ms),
    "sender_rate_bps": ("Sender's rate", fmt.rate),
}

_BRINGUP = {"nodes_s": "Nodes and links", "daemons_s": "Daemons", "igp_s": "IGP", "pim_s": "PIM"}


def stages(series: Sequence[Series]) -> Table:
    """The stages of convergence after each fault, in ms after it, at each site it concerns: medians."""
    found = [(s, stage) for s in series for f in s.measured for stage in f.run.stages]
    keys = _ordered((k for _, stage in found for k in stage if k.endswith("_ms")), _STAGES)
    columns = (
        Column("Scheme", number=False), Column("Fault", number=False), Column("Site", number=False),
        *(Column(_STAGES.get(k, _words(k.removesuffix("_ms")))) for k in keys),
    )  # fmt: skip
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for s, stage in found:
        groups.setdefault((s.label, str(stage.get("fault", "")), str(stage.get("site", ""))), []).append(stage)
    rows = tuple(
        (*map(Cell, group), *(fmt.cell(summarise(map(_number, (g.get(k) for g in given))), fmt.ms) for k in keys))
        for group, given in groups.items()
    )
    note = "After the fault. Medians over the runs that count." if rows else ""
    return Table("Stages of convergence", columns, rows, "runs.json: stages; events.jsonl", note, ditto=True)


def control(series: Sequence[Series]) -> Table:
    """Control messages and bytes by protocol, per scheme."""
    columns = [Column("Protocol", number=False)]
    for s in series:
        columns += [Column("Messages", group=s.label), Column("Bytes", group=s.label)]
    rows = []
    for protocol in dict.fromkeys(p for s in series for f in s.measured for p in f.run.control):
        row = [Cell(protocol)]
        for s in series:
            given = [f.run.control.get(protocol, {}) for f in s.measured]
            row.append(fmt.cell(summarise(g.get("messages") for g in given), fmt.count))
            row.append(fmt.cell(summarise(g.get("bytes") for g in given), fmt.size))
        rows.append(tuple(row))
    return Table("Control traffic", tuple(columns), tuple(rows), "runs.json: control")


def state(series: Sequence[Series]) -> Table:
    """Entries a node: the total over the nodes, with the most at one node below it."""
    columns = (Column("Entries", number=False), *(Column(s.label) for s in series))
    rows = []
    for kind in dict.fromkeys(k for s in series for f in s.measured for n in f.run.state.values() for k in n):
        row = [Cell(_words(kind))]
        for s in series:
            nodes = [[n[kind] for n in f.run.state.values() if kind in n] for f in s.measured]
            total, most = summarise(sum(n) for n in nodes if n), summarise(max(n) for n in nodes if n)
            row.append(Cell(fmt.count(total.median), f"at most {fmt.count(most.median)} a node") if total and most
                       else Cell(NONE, tone="muted"))  # fmt: skip
        rows.append(tuple(row))
    return Table("State", columns, tuple(rows), "runs.json: state", "Total over all nodes." if rows else "")


def bringup(series: Sequence[Series]) -> Table:
    """How long the lab took to come up, per scheme."""
    keys = _ordered((k for s in series for r in s.runs for k in r.bringup), _BRINGUP)
    columns = (Column("Step", number=False), *(Column(s.label) for s in series))
    rows = tuple(
        (Cell(_BRINGUP.get(k, _words(k.removesuffix("_s")))),
         *(fmt.cell(summarise(r.bringup.get(k) for r in s.runs), fmt.seconds) for s in series))
        for k in keys
    )  # fmt: skip
    return Table("Bringing up the lab", columns, rows, "runs.json: bringup")


def fidelity(series: Sequence[Series]) -> Table:
    """What the emulator itself was like, one row a run: the invalid ones are why this table exists."""
    keys = _ordered((k for s in series for r in s.runs for k in r.fidelity if k != "warnings"), _FIDELITY)
    columns = (Column("Scheme", number=False), Column("Run"), *(Column(_fidelity(k)[0]) for k in keys),
               Column("Warnings", number=False))  # fmt: skip
    rows = []
    for s in series:
        for run in s.runs:
            warnings = run.fidelity.get("warnings") or []
            listed = "; ".join(map(str, warnings)) if isinstance(warnings, list) else str(warnings)
            shown = [_fidelity_cell(k, run.fidelity.get(k)) for k in keys]
            last = Cell(listed or "none", tone="bad" if listed else "muted")
            rows.append((Cell(s.label), Cell(str(run.repetition)), *shown, last))
    return Table("Fidelity", columns, tuple(rows), "runs.json: fidelity", ditto=True)


def _fidelity(key: str) -> tuple[str, Callable[[float], str]]:
    return _FIDELITY.get(key, (_words(key), lambda v: f"{v:.4g}"))


def _fidelity_cell(key: str, value: Any) -> Cell:
    number = _number(value)
    if number is None:
        return Cell(NONE if value is None else str(value), tone="muted" if value is None else "")
    return Cell(_fidelity(key)[1](number))


def environment(studies: Sequence[Study]) -> Table:
    """Versions and machine, one column a bundle."""
    return _by_bundle("What it ran on", "manifest.json", studies, [flat(_shown(s.bundle.manifest)) for s in studies])


def differences(studies: Sequence[Study]) -> Table:
    """What the scenarios and machines of several bundles do not have in common."""
    everything = [
        {f"scenario: {k}": v for k, v in flat(s.bundle.scenario).items()} | flat(_shown(s.bundle.manifest))
        for s in studies
    ]
    source = "scenario.yaml, manifest.json"
    return _by_bundle("Where the bundles differ", source, studies, everything, only_differing=True)


def _shown(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without what the page says elsewhere or what is only bookkeeping; long lists stay in the file."""
    left_out = ("schema_version", "outcome", "flags", "sysctls", "capabilities")
    return {k: v for k, v in manifest.items() if k not in left_out}


def _by_bundle(
    title: str,
    source: str,
    studies: Sequence[Study],
    data: Sequence[Mapping[str, str]],
    *,
    only_differing: bool = False,
) -> Table:
    columns = (Column("", number=False), *(Column(s.label if len(studies) > 1 else "", number=False) for s in studies))
    rows = []
    for key in dict.fromkeys(k for d in data for k in d):
        values = [d.get(key, NONE) for d in data]
        if not only_differing or len(set(values)) > 1:
            rows.append((Cell(key), *map(Cell, values)))
    return Table(title, columns, tuple(rows), source)


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested data as one line each: `{"a": {"b": 1}}` -> `{"a.b": "1"}`; `versions` loses its own name."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            if prefix or key != "versions" or not isinstance(inner, Mapping):
                found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
            else:
                found |= flat({str(k): v for k, v in inner.items()})
        return found
    if isinstance(value, list) and any(isinstance(v, (Mapping, list)) for v in value):
        found = {}
        for index, inner in enumerate(value):
            found |= flat(inner, f"{prefix}[{index}]")
        return found
    if isinstance(value, list):
        return {prefix: ", ".join(map(str, value)) or NONE}
    return {prefix: NONE if value is None else str(value)}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _words(key: str) -> str:
    text = key.replace("_", " ")
    return text[:1].upper() + text[1:]


def _ordered(keys: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    """The keys that occur: the known ones in their order, then the others as met."""
    there = dict.fromkeys(keys)
    return [k for k in known if k in there] + [k for k in there if k not in known]
