"""How the lengths of outages are distributed: over sites, runs and, where there are any, background flows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

from testbed.record import Outage, Run
from testbed.report import fmt
from testbed.report.figures import Series
from testbed.report.svg import category, figure, ms_axis, render, style
from testbed.report.table import NONE, Cell, Column, Table

WIDTH = 9.0
# Fewer are told one by one.
LEAST = 10
SYNCS, FLOWS = "syncs", "background flows"
_SHARES = (("Median", 0.5), ("90 %", 0.9), ("99 %", 0.99))


def quantile(lengths: Sequence[float], share: float) -> float:
    """The shortest of the sorted `lengths` that so large a share of them does not exceed: one that was measured."""
    return lengths[max(0, ceil(share * len(lengths)) - 1)]


def distribution(series: Sequence[Series]) -> Table:
    """A row a scheme and kind of flow; empty where there were few outages."""
    columns = (
        Column("Scheme", number=False), Column("Of", number=False), Column("Outages"), Column("Lost"),
        Column("Shortest"), *(Column(head) for head, _ in _SHARES), Column("Longest"),
    )  # fmt: skip
    rows = []
    enough = any(len(outages) >= LEAST for s in series for outages in _kinds(s).values())
    for s in series if enough else ():
        for kind, outages in _kinds(s).items():
            if not outages:
                continue
            lengths = sorted(outage.length_ms for outage in outages)
            # Of so few the longest is all that could be told.
            shares = [fmt.ms(quantile(lengths, share)) if len(lengths) * (1 - share) >= 1 else NONE
                      for _, share in _SHARES]  # fmt: skip
            cells = (s.title, kind, fmt.count(len(lengths)), fmt.count(sum(o.lost for o in outages)),
                     fmt.ms(lengths[0]), *shares, fmt.ms(lengths[-1]))  # fmt: skip
            rows.append(tuple(map(Cell, cells)))
    note = (
        "Each outage at each site in each run that counts. A share of them, such as 90 %, was no longer than the value "
        "that stands there, which is one that was measured; none stands where too few were for it."
        if rows
        else ""
    )
    return Table("Lengths of outages", columns, tuple(rows), "runs.json: sites[].outages, flows[].outages", note,
                 ditto=True)  # fmt: skip


def curves(series: Sequence[Series], name: str) -> str:
    """The share of outages that were no longer than so many ms, a line a scheme; dashed: of the background flows."""
    kinds = [(s, _kinds(s)) for s in series]
    lengths = [o.length_ms for _, of in kinds for outages in of.values() for o in outages]
    if len(lengths) < LEAST:
        return ""
    with style(name):
        made = figure(WIDTH, 2.8)
        axes = made.subplots()
        for s, of in kinds:
            for kind, outages in of.items():
                if outages:
                    found = sorted(o.length_ms for o in outages)
                    shares = [100 * (k + 1) / len(found) for k in range(len(found))]
                    label = s.title if kind == SYNCS else f"{s.title}, {kind}"
                    axes.step([0.0, *found], [0.0, *shares], where="post", color=category(s.hue),
                              linestyle="-" if kind == SYNCS else "--", label=label)  # fmt: skip
        made.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3, handlelength=1.6)
        ms_axis(axes, max(lengths))
        axes.set_xlim(left=0)
        axes.set_ylim(0, 102)
        axes.set_xlabel("length of an outage, ms")
        axes.set_ylabel("% no longer")
        return render(made, name, "The share of outages that were no longer than a length, by scheme")


def _kinds(s: Series) -> dict[str, list[Outage]]:
    runs = [f.run for f in s.usable]
    return {SYNCS: list(_of_syncs(runs)), FLOWS: list(_of_flows(runs))}


def _of_syncs(runs: Iterable[Run]) -> Iterable[Outage]:
    return (outage for run in runs for site in run.sites for outage in site.outages)


def _of_flows(runs: Iterable[Run]) -> Iterable[Outage]:
    return (outage for run in runs for flow in run.flows for outage in flow.outages)
