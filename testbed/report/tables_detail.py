"""The tables behind the headline ones: control traffic and state, bring-up, what was run on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.report import fmt
from testbed.report.figures import Series, Study
from testbed.report.loose import ordered, words_of
from testbed.report.stats import summarise
from testbed.report.table import NONE, Cell, Column, Table

_BRINGUP = {
    "nodes_s": "Nodes",
    "dry_run_s": "Configurations tried",
    "links_s": "Links",
    "daemons_s": "Daemons",
    "igp_s": "IGP",
    "pim_s": "PIM",
    "scheme_s": "Scheme",
    "first_probe_s": "First probe at every site",
}


def control(series: Sequence[Series]) -> Table:
    """Control messages (and bytes, where known) by protocol, per scheme, while the model was sent."""
    note = "All routers together, while the model was sent. Bytes only where somebody counts them."
    return _control("Control traffic", series, "control", note)


def control_setup(series: Sequence[Series]) -> Table:
    """The same for the time before: from when the IGP stood until every site had a probe."""
    note = "From when the IGP stood until every site had received a probe: the scheme comes up and sets its flows up."
    return _control("Control traffic before the transfer", series, "control_setup", note)


def _control(title: str, series: Sequence[Series], which: str, note: str) -> Table:
    columns = (Column("Protocol", number=False), Column("Counter", number=False), *(Column(s.title) for s in series))
    everything = [getattr(f.run, which) for s in series for f in s.usable]
    keys = dict.fromkeys((p, k) for found in everything for p, counters in found.items() for k in counters)
    rows = []
    for protocol, key in sorted(keys, key=lambda k: k[0]):
        show = fmt.size if key == "bytes" else fmt.count
        found = [summarise(getattr(f.run, which).get(protocol, {}).get(key) for f in s.usable) for s in series]
        if key == "messages" or any(x and x.maximum for x in found):  # that there was none is news, too
            rows.append((Cell(protocol), Cell(words_of(key)), *(fmt.cell(x, show) for x in found)))
    return Table(title, columns, tuple(rows), f"runs.json: {which}", note if rows else "", ditto=True)


def state(series: Sequence[Series]) -> Table:
    """Entries a node: the total over the nodes; below it the most at one node, and how many nodes have any."""
    columns = (Column("Entries", number=False), *(Column(s.title) for s in series))
    rows = []
    for kind in dict.fromkeys(k for s in series for f in s.usable for n in f.run.state.values() for k in n):
        row = [Cell(words_of(kind))]
        for s in series:
            nodes = [[n[kind] for n in f.run.state.values() if kind in n] for f in s.usable]
            total, most = summarise(sum(n) for n in nodes if n), summarise(max(n) for n in nodes if n)
            having = summarise(sum(map(bool, n)) for n in nodes if n)
            if total and most and having:
                of = max(len(f.run.state) for f in s.usable)
                where = f"at {fmt.count(having.median)} of {of} nodes, at most {fmt.count(most.median)} at one"
                row.append(Cell(fmt.count(total.median), where if total.maximum else ""))
            else:
                row.append(Cell(NONE, tone="muted"))
        rows.append(tuple(row))
    return Table("State", columns, tuple(rows), "runs.json: state", "Total over all nodes." if rows else "")


def bringup(series: Sequence[Series]) -> Table:
    """How long the lab took to come up, per scheme."""
    keys = ordered((k for s in series for r in s.runs for k in r.bringup), _BRINGUP)
    columns = (Column("Step", number=False), *(Column(s.label) for s in series))
    rows = tuple(
        (Cell(_BRINGUP.get(k, words_of(k.removesuffix("_s")))),
         *(fmt.cell(summarise(r.bringup.get(k) for r in s.runs), fmt.seconds) for s in series))
        for k in keys
    )  # fmt: skip
    return Table("Bringing up the lab", columns, rows, "runs.json: bringup")


def environment(studies: Sequence[Study]) -> Table:
    """Versions and machine, one column a bundle."""
    shown = [{k: v for k, v in _shown(s.bundle.manifest).items() if k != "timers"} for s in studies]
    return _by_bundle("What it ran on", "manifest.json", studies, [flat(d) for d in shown])


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
    left_out = ("schema_version", "outcome", "flags", "seed", "sysctls", "capabilities")
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
