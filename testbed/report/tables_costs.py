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

_PARTS = {  # as in run/costs.py
    "detection_ms": "Until a router noticed",
    "igp_ms": "IGP: until it had told",
    "controller_ms": "Controller",
    "messages_ms": "Its messages on their way, and the answers",
    "routers_ms": "Routers: until their state was in force",
    "packet_ms": "The first packet's way",
    "unexplained_ms": "Unexplained",
}
_OF_A_CONTROLLER = {
    "rounds": "… messages that waited for each other",
    "computing_ms": "… computing trees, by the wall clock",
    "computing_cpu_ms": "… the same, processor time",
}


def costs(series: Sequence[Series]) -> Table:
    """A row a part after each fault, a column a scheme: of each run the site whose outage was the longest, of the runs
    the median. Restorations break no path, and are left out."""
    found = [[_worst(run.stages) for run in (f.run for f in s.usable)] for s in series]
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
        "need not add up to the outage, as they do in each. Unexplained: after the last moment that is known, and more "
        "than the packet's way and the wait for the next probe."
        if rows
        else ""
    )
    return Table("What the outage went to", columns, tuple(rows), "runs.json: stages[].costs", note, ditto=True)


def _part(key: str) -> Callable[[Costs], float | None]:
    """None where there is no controller to charge it to."""
    of_a_controller = key in ("controller_ms", "messages_ms", *_OF_A_CONTROLLER)
    return lambda told: None if of_a_controller and "rounds" not in told else number(told.get(key))


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


def _outage(told: Costs) -> float:
    return sum(number(told.get(key)) or 0.0 for key in _PARTS)


_LINES: tuple[tuple[str, Callable[[Costs], float | None], fmt.Format], ...] = (
    *((head, _part(key), fmt.ms) for key, head in _PARTS.items()),
    ("Outage", _outage, fmt.ms),
    *((head, _part(key), fmt.count if key == "rounds" else fmt.ms) for key, head in _OF_A_CONTROLLER.items()),
)
