"""What outages went to: the IGP, the controller, its messages' way, the routers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.report import fmt
from testbed.report.figures import Series
from testbed.report.loose import number
from testbed.report.stats import summarise
from testbed.report.table import NONE, Cell, Column, Table

Costs = Mapping[str, Any]

# As in run/costs.py. Together they are the outage.
_PARTS = (
    "detection_ms", "igp_ms", "controller_ms", "distance_ms", "held_ms", "routers_ms", "packet_ms", "unexplained_ms",
)  # fmt: skip
_OF_A_CONTROLLER = ("controller_ms", "computing_ms", "computing_cpu_ms", "distance_ms", "held_ms", "rounds")


def _told(key: str) -> Callable[[Costs], float | None]:
    """None where there is no controller to charge it to."""
    return lambda told: None if key in _OF_A_CONTROLLER and "rounds" not in told else number(told.get(key))


def _outage(told: Costs) -> float:
    return sum(number(told.get(key)) or 0.0 for key in _PARTS)


_LINES: tuple[tuple[str, Callable[[Costs], float | None], fmt.Format], ...] = (
    ("Detection", _told("detection_ms"), fmt.ms),
    ("IGP", _told("igp_ms"), fmt.ms),
    ("Controller", _told("controller_ms"), fmt.ms),
    ("… trees, wall clock", _told("computing_ms"), fmt.ms),
    ("… trees, processor", _told("computing_cpu_ms"), fmt.ms),
    ("Distance, of its messages", _told("distance_ms"), fmt.ms),
    ("… one after another", _told("rounds"), fmt.count),
    ("… held up on their way", _told("held_ms"), fmt.ms),
    ("Routers", _told("routers_ms"), fmt.ms),
    ("First packet's way", _told("packet_ms"), fmt.ms),
    ("Unexplained", _told("unexplained_ms"), fmt.ms),
    ("Outage", _outage, fmt.ms),
)


def costs(series: Sequence[Series]) -> Table:
    """A row a part after each fault, a column a scheme: of each run the site whose outage was the longest, of the runs
    the median. Restorations break no path, and are left out."""
    found = [[_worst(f.run.stages) for f in s.usable] for s in series]
    columns = (Column("After", number=False), Column("Part", number=False), *(Column(s.title) for s in series))
    rows: list[tuple[Cell, ...] | None] = []
    for fault in dict.fromkeys(fault for runs in found for run in runs for fault in run):
        told = [[run[fault] for run in runs if fault in run] for runs in found]
        if rows:
            rows.append(None)
        for head, value, show in _LINES:
            cells = [fmt.cell(summarise(map(value, each)), show) for each in told]
            if any(cell.text != NONE for cell in cells):
                rows.append((Cell(fault), Cell(head), *cells))
    note = (
        "Of the site with the longest outage; medians over the runs that count, so that with several runs the parts "
        "need not add up to the outage, as they do in each. Detection: until a router noticed. IGP: until it had told. "
        "Distance: the messages' way there and back, of as many as waited for each other, each as fast as ever between "
        "the two; what they took beyond that, they were held up. Routers: until their state was in force. Unexplained: "
        "beyond that, the packet's way and the wait for the next probe."
        if rows
        else ""
    )
    return Table("What the outage went to", columns, tuple(rows), "runs.json: stages[].costs", note, ditto=True)


def _worst(stages: Sequence[Mapping[str, Any]]) -> dict[str, Costs]:
    """By fault, the costs of the site with the longest outage; where a fault struck several times, of all times."""
    found: dict[str, Costs] = {}
    for stage in stages:
        told = stage.get("costs")
        if isinstance(told, Mapping):
            fault = str(stage.get("fault", ""))
            if fault not in found or _outage(told) > _outage(found[fault]):
                found[fault] = told
    return found
