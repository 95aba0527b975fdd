"""What each router and site did after a fault, on one clock: the figure that lines the events up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from testbed.record import Event, Run
from testbed.report.figures import Series, Study, fault_label, site_labels
from testbed.report.fmt import plural
from testbed.report.svg import LINEAR_MS, category, colour, figure, ms_axis, render, style

# kind -> (what the legend calls it, marker, index of its colour)
_MARKS = {
    "link-down": ("carrier lost", "v", 7),
    "link-up": ("carrier back", "^", 3),
    "neighbour": ("neighbour changed", "s", 4),
    "route": ("unicast route changed", "o", 0),
    "mroute": ("multicast route changed", "D", 1),
}
HORIZON_S = 10.0  # what comes later than this after a fault is hardly of its making
MOST_ROWS = 28
MOST_INSTANTS = 8


@dataclass(frozen=True, slots=True)
class Instant:
    """A fault injected or restored: the index-th such event of a run, at `t` on the run's clock."""

    label: str
    index: int
    t: float
    until: float


def instants(events: Sequence[Event]) -> tuple[Instant, ...]:
    """The faults and restorations of a run in order; each one's time ends where the next begins."""
    marks = [e for e in events if e.kind in ("fault", "fault-restored")]
    ends = [*(m.t for m in marks[1:]), float("inf")][: len(marks)]
    return tuple(
        Instant(fault_label(m) + (" restored" if m.kind == "fault-restored" else ""), index, m.t,
                min(end, m.t + HORIZON_S))
        for index, (m, end) in enumerate(zip(marks, ends, strict=True))
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Panel:
    """One run around one instant. Times in ms after it; `outages` as (site, start, end)."""

    title: str
    marks: tuple[tuple[str, float, str], ...]
    outages: tuple[tuple[str, float, float], ...]
    calm: int

    @property
    def last(self) -> float:
        return max((*(t for _, t, _ in self.marks), *(end for _, _, end in self.outages)), default=0.0)

    @property
    def nodes(self) -> set[str]:
        # The space keeps a site from its edge router of the same name.
        return {node for node, _, _ in self.marks} | {f"{site} " for site, _, _ in self.outages}


def _rows(panels: Sequence[_Panel]) -> list[str]:
    """The rows of all panels in one order: routers as they first took note in any, then sites by name.

    Where there are too many, routers go first of which nothing but unicast routes is known: every router has those.
    """
    routers = list(dict.fromkeys(node for _, node in sorted((t, node) for p in panels for node, t, _ in p.marks)))
    telling = {node for p in panels for node, _, kind in p.marks if kind != "route"}
    sites = sorted({f"{site} " for p in panels for site, _, _ in p.outages})[: MOST_ROWS // 2]
    chosen = set(sorted(routers, key=lambda r: r not in telling)[: MOST_ROWS - len(sites)])
    return [*(r for r in routers if r in chosen), *sites]


def timelines(study: Study, name: str) -> list[tuple[str, str]]:
    """(caption, `<svg>`) for each fault and restoration, a panel for each scheme."""
    runs = [(s, s.shown, study.events(s.shown)) for s in study.series]
    labels = {i.index: i.label for _, _, events in reversed(runs) for i in instants(events)}
    found = []
    for index in sorted(labels)[:MOST_INSTANTS]:
        panels = [
            _panel(s, run, events, instant)
            for s, run, events in runs
            for instant in instants(events)
            if instant.index == index
        ]
        drawn = [p for p in panels if p.nodes]
        if drawn:
            found.append((labels[index], _draw(drawn, labels[index], f"{name}-{index}")))
    return found


def _panel(series: Series, run: Run, events: Sequence[Event], instant: Instant) -> _Panel:
    marks = tuple(
        (e.node, (e.t - instant.t) * 1000, e.kind)
        for e in events
        if e.kind in _MARKS and e.node and instant.t <= e.t < instant.until
    )
    labels = site_labels([run])
    outages = []
    for site in run.sites:
        for o in site.outages:
            start = run.zero + o.start_s
            end = start + o.length_ms / 1000 if o.end_s is None else run.zero + o.end_s
            # Probes under way when the fault struck make an outage begin before it; it must last beyond it, though.
            if instant.t - 0.05 <= start < instant.until and end > instant.t:
                # As the site saw it: the last probe before may have come after the first lost one was sent.
                after = (end - instant.t) * 1000
                outages.append((labels[site.sync, site.name], after - o.length_ms, after))
    outages.sort(key=lambda o: (o[1], o[0]))
    calm = len(run.sites) - len({site for site, _, _ in outages})
    return _Panel(f"{series.scheme}, run {run.repetition}", marks, tuple(outages), calm)


def _draw(panels: Sequence[_Panel], label: str, name: str) -> str:
    last = max(p.last for p in panels)
    kinds = [k for k in _MARKS if any(kind == k for p in panels for _, _, kind in p.marks)]
    rows = _rows(panels)
    with style(name):
        heights = [len(p.nodes.intersection(rows)) + 2.2 for p in panels]
        made = figure(9.0, 0.9 + 0.19 * sum(heights))
        grid = made.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            _draw_panel(axes, panel, [r for r in rows if r in panel.nodes], max(last, 1.0) / 1000)
            ms_axis(axes, last)
        for axes in grid[:-1, 0]:
            axes.set_xlabel("")
        low = min((0.0, *(start for p in panels for _, start, _ in p.outages)))
        # On a logarithmic axis what lies before zero would take half of the figure.
        grid[0, 0].set_xlim(-1.5 if last > LINEAR_MS else low - last * 0.015, last * 1.1 or 1)
        grid[-1, 0].set_xlabel(f"ms after: {label}")
        handles = [
            grid[0, 0].plot([], [], _MARKS[k][1], markersize=5, color=category(_MARKS[k][2]), label=_MARKS[k][0])[0]
            for k in kinds
        ]
        if any(p.outages for p in panels):
            handles += grid[0, 0].plot([], [], linewidth=5, color=colour("bad"), alpha=0.45, label="outage",
                                       solid_capstyle="butt")  # fmt: skip
            handles += grid[0, 0].plot([], [], "|", markersize=9, markeredgewidth=2, color=colour("bad"),
                                       label="first probe after")  # fmt: skip
        made.legend(handles=handles, loc="outside upper right", ncols=4, handlelength=1.2, columnspacing=1.4)
        return render(made, name, f"What routers and sites did after: {label}")


def _draw_panel(axes: Axes, panel: _Panel, shown: Sequence[str], step: float) -> None:
    rows = {label: index for index, label in enumerate(shown)}
    axes.axvline(0, color=colour("ink"), linewidth=1.2)
    for kind, (_, marker, index) in _MARKS.items():
        # A router changes hundreds of routes within a ms: what would fall on one spot is drawn once.
        spots = {(rows[node], round(t / step)): t for node, t, k in panel.marks if k == kind and node in rows}
        found = [(t, row) for (row, _), t in spots.items()]
        if found:
            times, at = zip(*found, strict=True)
            axes.plot(times, at, marker, markersize=4.6, color=category(index), alpha=0.85, markeredgewidth=0)
    longest: dict[str, float] = {}
    for site, start, end in panel.outages:
        longest[site] = max(longest.get(site, 0.0), end - start)
    for site, start, end in panel.outages:
        if (row := rows.get(f"{site} ")) is not None:
            axes.plot([start, end], [row, row], linewidth=5, color=colour("bad"), alpha=0.45, solid_capstyle="butt")
            axes.plot(end, row, "|", markersize=9, markeredgewidth=2, color=colour("bad"))
            if end - start < longest[site]:
                continue
            axes.annotate(f"{end - start:,.0f}", (end, row), xytext=(5, 0), textcoords="offset points", va="center",
                          fontsize=8, color=colour("soft"))  # fmt: skip
    rest = []
    if panel.calm:
        rest.append(f"{plural(panel.calm, 'site')} without outage")
    if len(panel.nodes) > len(rows):
        rest.append(f"{plural(len(panel.nodes) - len(rows), 'more node')} not shown")
    axes.set_title(panel.title + (f"  ({'; '.join(rest)})" if rest else ""), fontsize=9)
    axes.set_yticks(range(len(rows)), [label.strip() for label in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", alpha=0.5)
    axes.spines["left"].set_visible(False)
