"""The stages of convergence: of each fault in brief, and at each site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.report import fmt
from testbed.report.figures import Series, beyond_igp
from testbed.report.loose import number, ordered, words_of
from testbed.report.stats import summarise
from testbed.report.table import NONE, Cell, Column, Table

# In the order of their course; what a scheme adds and nobody here knows comes behind.
_STAGES = {
    "link_down_ms": "Carrier lost",
    "link_up_ms": "Carrier back",
    "detection_ms": "Detected",
    "neighbour_ms": "Adjacency lost or full",
    "lsa_sent_ms": "LSA originated",
    "lsa_ms": "LSA arrived",
    "route_first_ms": "First route anywhere",
    "route_ms": "Last route anywhere",
    "igp_ms": "IGP repaired the path",
    "mroute_ms": "Multicast route",
    "bift_ms": "BIFT",
    "outage_start_ms": "First lost probe sent",
    "first_probe_ms": "First packet after",
    "repair_ms": "From detection to packets",
    "beyond_igp_ms": "Beyond the IGP",
}
# Of the fault, and of no site's path alone.
_ANYWHERE = (
    "link_down_ms", "link_up_ms", "detection_ms", "neighbour_ms", "lsa_sent_ms", "route_first_ms", "route_ms",
)  # fmt: skip
_NOT_IN_BRIEF = ("link_down_ms", "link_up_ms", "route_first_ms", "outage_start_ms")

Stage = Mapping[str, Any]
Window = list[Stage]  # the rows of one run about one fault, a row a site


def stages_brief(series: Sequence[Series]) -> Table:
    """A row a stage after each fault and restoration, a column a scheme: of each run the site that had it last, of the
    runs the median."""
    runs = [[[_with_derived(stage) for stage in f.run.stages] for f in s.usable] for s in series]
    everything = [stage for of in runs for run in of for stage in run]
    keys = [k for k in _keys(everything) if k not in _NOT_IN_BRIEF]
    rows: list[tuple[Cell, ...] | None] = []
    for fault in dict.fromkeys(str(stage.get("fault", "")) for stage in everything):
        windows = [[w for run in of for w in _windows(run, fault)] for of in runs]
        made = [(Cell(fault), Cell(_name(k)), *(_worst(k, found) for found in windows)) for k in keys]
        if rows:
            rows.append(None)
        told = {k: row for k, row in zip(keys, made, strict=True) if any(cell.text != NONE for cell in row[2:])}
        if "igp_ms" in told:  # what matters of the routes
            told.pop("route_ms", None)
        rows += told.values()
    columns = (Column("After", number=False), Column("Stage", number=False), *(Column(s.title) for s in series))
    note = "Times after the event, of the site that had each stage last; medians over the runs that count."
    if "igp_ms" in keys:
        note += " None beyond the IGP: packets were back before its repair was seen. A restoration breaks no path."
    return Table("Convergence, stage by stage", columns, tuple(rows), "runs.json: stages", note, ditto=True)


def stages(series: Sequence[Series]) -> Table:
    """The stages after each fault, in ms after it, at each site it concerns: medians."""
    found = [(s, _with_derived(stage)) for s in series for f in s.usable for stage in f.run.stages]
    keys = [k for k in _keys([stage for _, stage in found]) if k not in _ANYWHERE]
    columns = (
        Column("Scheme", number=False), Column("Fault", number=False), Column("Site", number=False),
        *(Column(_name(k)) for k in keys),
    )  # fmt: skip
    groups: dict[tuple[str, str, str], list[Stage]] = {}
    for s, stage in found:
        if stage.get("site"):
            groups.setdefault((s.title, str(stage.get("fault", "")), str(stage["site"])), []).append(stage)
    rows = tuple((*map(Cell, group), *(_cell(k, given) for k in keys)) for group, given in groups.items())
    note = "After the fault. Medians over the runs that count." if rows else ""
    if "igp_ms" in keys:
        note += " The IGP's 0 ms: the path needed no repair. None beyond it: packets were back before it was seen."
    return Table("Stages at each site", columns, rows, "runs.json: stages", note, ditto=True)


def _keys(stages: Sequence[Stage]) -> list[str]:
    return ordered((k for stage in stages for k in stage if k.endswith("_ms")), _STAGES)


def _name(key: str) -> str:
    return _STAGES.get(key, words_of(key.removesuffix("_ms")))


def _with_derived(stage: Stage) -> Stage:
    """With what follows from two stages: from the detection to the first packet after; beyond the IGP."""
    made = dict(stage)
    noticed, packet = (number(stage.get(key)) for key in ("detection_ms", "first_probe_ms"))
    if "detection_ms" in stage:
        made["repair_ms"] = None if noticed is None or packet is None else packet - noticed
    if "igp_ms" in stage:
        made["beyond_igp_ms"] = beyond_igp(stage)
    return made


def _windows(run: Sequence[Stage], fault: str) -> list[Window]:
    """The rows of a run about a fault, those of each time that it struck by themselves."""
    found: dict[Any, Window] = {}
    for stage in run:
        if str(stage.get("fault", "")) == fault:
            found.setdefault(stage.get("t"), []).append(stage)
    return list(found.values())


def _worst(key: str, windows: Sequence[Window]) -> Cell:
    """The last site's time of each window, summed up; of a detection also how it came."""
    last = [max((n for s in w if (n := number(s.get(key))) is not None), default=None) for w in windows]
    cell = _cell(key, [{key: ms} for ms in last])
    by = dict.fromkeys(str(s["detected_by"]) for w in windows for s in w if s.get("detected_by"))
    if key == "detection_ms" and by:
        return Cell(cell.text, ", ".join(filter(None, (cell.note, f"by {' or '.join(by)}"))), cell.tone)
    return cell


def _cell(key: str, given: Sequence[Stage]) -> Cell:
    show = fmt.beyond if key == "beyond_igp_ms" else fmt.ms
    return fmt.cell(summarise(number(stage.get(key)) for stage in given), show)
