"""What `testbed run` shows at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from testbed.record import Run
from testbed.report import distribution, tables, tables_costs, tables_setup, words
from testbed.report.figures import counts, series_of
from testbed.report.scale import scaling
from testbed.report.table import rich_table
from testbed.spec.scenario import Scenario


def summary_table(runs: Sequence[Run], scenario: Scenario, manifest: Mapping[str, Any]) -> RenderableType:
    """Per site: delivery time, goodput, outages; per scheme: the slowest site, bytes against the ideal tree; then
    the timers that were in effect, and what the result stands for."""
    if not runs:
        return Text("No run was finished.", style="bold red")
    series = series_of(runs)
    shown = (
        tables.sites_brief(series),
        tables.comparison(series, [scenario.name]),
        tables_setup.setups(series),
        distribution.distribution(series),
        tables_costs.costs(series),
    )
    parts: list[RenderableType] = [rich_table(t) for t in shown if t.rows]
    if not all(r.outcome == "passed" for r in runs):
        parts.append(rich_table(tables.troubles(series)))
    parts.append(Text(words.timers(scenario, manifest).sentence, style="dim"))
    if any(counts(r) for r in runs):
        parts.append(Text(scaling(scenario).rule, style="dim"))
    return Group(*parts)
