"""What each router and site did after a fault, on one clock: the figure that lines the events up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from testbed.record import Event, Run
from testbed.report.figures import Series, Study, fault_label, site_labels
from testbed.report.fmt import plural
from testbed.report.folded import Folded, fold
from testbed.report.loose import words_of
from testbed.report.svg import category, colour, figure, render, style

# mark -> (what the legend calls it, marker, index of its colour), in the order of a convergence's course
_MARKS = {
    "link-down": ("carrier lost", "v", 7),
    "link-up": ("carrier back", "^", 7),
    "bfd": ("BFD session lost", "X", 7),
    "neighbour": ("adjacency lost or full", "s", 4),
    "lsa-sent": ("router-LSA originated", ">", 3),
    "lsa": ("router-LSA heard", "<", 3),
    "route": ("unicast routes changed", "o", 0),
    "mroute": ("multicast route changed", "D", 1),
    "bift": ("BIFT updated", "D", 2),
}
_SCHEMES = (("P", 5), ("p", 6), ("h", 1), ("d", 2))  # marker and colour of stages that a scheme named
_NOT_OWN = {"outage-start", "first-probe"}  # kinds of events that are keys of a stage, too
_CONFIRM_MS = 2.0  # an agent hears that its change is done when packets may have come already
_HEARSAY = {"lsa", "route"}  # what every router has, however little the fault concerns it
_ROUTER_LSA = 1
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
    """One run around one instant. Times in ms after it; `marks` as (node, time, mark), `outages` as (site, start, end);
    `later`: how many changes came after the last outage and are not among the marks."""

    title: str
    marks: tuple[tuple[str, float, str], ...]
    outages: tuple[tuple[str, float, float], ...]
    calm: int
    later: int = 0

    @property
    def times(self) -> list[float]:
        return [*(t for _, t, _ in self.marks), *(t for _, start, end in self.outages for t in (start, end))]

    @property
    def nodes(self) -> set[str]:
        # The space keeps a site from its edge router of the same name.
        return {node for node, _, _ in self.marks} | {f"{site} " for site, _, _ in self.outages}


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
    outages = _outages(run, instant)
    own = {key for stage in run.stages for key in stage if key.endswith("_ms")}
    marks = [
        (e.node, (e.t - instant.t) * 1000, mark)
        for e in events
        if e.node and instant.t <= e.t < instant.until and (mark := _mark(e, own))
    ]
    # Once every packet is back, what still changes is of no more concern, and would only make the scale coarse.
    over = max((end + _CONFIRM_MS for _, _, end in outages), default=float("inf"))
    shown = [m for m in marks if m[1] <= over]
    changed = {node for node, _, mark in shown if mark != "lsa"}  # who only hears of it does nothing
    shown = [m for m in shown if m[0] in changed]
    calm = len(run.sites) - len({site for site, _, _ in outages})
    later = sum(1 for _, t, mark in marks if t > over and mark != "lsa")
    title = f"{series.scheme}, run {run.repetition}"
    return _Panel(title, tuple(shown), tuple(outages), calm, later)


def _mark(event: Event, own: set[str]) -> str:
    """What an event is drawn as; "" for one that is not. `own` are the keys of the run's stages, among which a scheme's
    own kinds of events are."""
    kind, detail = event.kind, event.detail
    if kind == "lsa":
        return "" if detail.get("type") != _ROUTER_LSA else "lsa-sent" if detail.get("own") else "lsa"
    if kind == "bfd":
        return "bfd" if detail.get("from") == "up" else ""
    known = kind in _MARKS or (kind not in _NOT_OWN and f"{kind.replace('-', '_')}_ms" in own)
    return kind if known else ""


def _outages(run: Run, instant: Instant) -> list[tuple[str, float, float]]:
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
    return sorted(outages, key=lambda o: (o[1], o[0]))


def _rows(panels: Sequence[_Panel]) -> list[str]:
    """The rows of all panels in one order: routers as they first took note in any, then sites by name.

    Where there are too many, routers go first of which nothing but LSAs and unicast routes is known.
    """
    routers = list(dict.fromkeys(node for _, node in sorted((t, node) for p in panels for node, t, _ in p.marks)))
    telling = {node for p in panels for node, _, mark in p.marks if mark not in _HEARSAY}
    sites = sorted({f"{site} " for p in panels for site, _, _ in p.outages})[: MOST_ROWS // 2]
    chosen = set(sorted(routers, key=lambda r: r not in telling)[: MOST_ROWS - len(sites)])
    return [*(r for r in routers if r in chosen), *sites]


def _looks(panels: Iterable[_Panel]) -> dict[str, tuple[str, str, str]]:
    """mark -> (legend, marker, colour), for the marks that occur, in the order of their course."""
    there = dict.fromkeys(mark for p in panels for _, _, mark in p.marks)
    looks = {mark: (text, marker, category(hue)) for mark, (text, marker, hue) in _MARKS.items() if mark in there}
    for index, mark in enumerate(sorted(m for m in there if m not in _MARKS)):
        marker, hue = _SCHEMES[index % len(_SCHEMES)]
        text = words_of(mark.replace("-", "_"))
        looks[mark] = (text[:1].lower() + text[1:], marker, category(hue))
    return looks


def _draw(panels: Sequence[_Panel], label: str, name: str) -> str:
    axis = fold([0.0, *(t for p in panels for t in p.times)])
    looks, rows = _looks(panels), _rows(panels)
    with style(name):
        heights = [len(p.nodes.intersection(rows)) + 2.2 for p in panels]
        made = figure(9.0, 1.1 + 0.2 * sum(heights))
        grid = made.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            _draw_panel(axes, panel, [r for r in rows if r in panel.nodes], axis, looks)
        axis.dress(grid[-1, 0])
        folded = " (grey: nothing happened)" if axis.folds else ""
        grid[-1, 0].set_xlabel(f"ms after: {label}{folded}")
        for axes in grid[:-1, 0]:
            for left, right in axis.folds:
                axes.axvspan(left, right, color=colour("rule"), alpha=0.7, linewidth=0)
        first = grid[0, 0]
        handles = [
            first.plot([], [], marker, markersize=5.5, color=shade, markeredgewidth=0, label=text)[0]
            for text, marker, shade in looks.values()
        ]
        if any(p.outages for p in panels):
            handles += first.plot([], [], linewidth=5, color=colour("bad"), alpha=0.45, label="outage, with its ms",
                                  solid_capstyle="butt")  # fmt: skip
            handles += first.plot([], [], "|", markersize=9, markeredgewidth=2, color=colour("bad"),
                                  label="first packet after")  # fmt: skip
        made.legend(handles=handles, loc="outside upper right", ncols=4, handlelength=1.2, columnspacing=1.4)
        return render(made, name, f"What routers and sites did after: {label}")


def _draw_panel(
    axes: Axes, panel: _Panel, shown: Sequence[str], axis: Folded, looks: dict[str, tuple[str, str, str]]
) -> None:
    rows = {label: index for index, label in enumerate(shown)}
    axes.axvline(axis.x([0.0])[0], color=colour("ink"), linewidth=1.2)
    for mark, (_, marker, shade) in looks.items():
        # A router changes hundreds of routes within a ms: what would fall on one spot is drawn once.
        times = [(t, rows[node]) for node, t, m in panel.marks if m == mark and node in rows]
        spots = {(row, round(x * 600)): x for (_, row), x in zip(times, axis.x([t for t, _ in times]), strict=True)}
        size = 6.5 if marker == "s" else 5.2  # an LSA follows its adjacency at once, and is drawn upon it
        axes.plot(list(spots.values()), [row for row, _ in spots], marker, markersize=size, color=shade, alpha=0.9,
                  markeredgewidth=0)  # fmt: skip
    longest: dict[str, float] = {}
    for site, start, end in panel.outages:
        longest[site] = max(longest.get(site, 0.0), end - start)
    for site, start, end in panel.outages:
        if (row := rows.get(f"{site} ")) is not None:
            left, right = axis.x([start, end])
            axes.plot([left, right], [row, row], linewidth=5, color=colour("bad"), alpha=0.45, solid_capstyle="butt")
            axes.plot(right, row, "|", markersize=9, markeredgewidth=2, color=colour("bad"))
            if end - start < longest[site]:
                continue
            beside = {"xytext": (-5, 0), "ha": "right"} if right > 0.9 * axis.knots[-1][1] else {"xytext": (5, 0)}
            axes.annotate(f"{end - start:,.0f}", (right, row), textcoords="offset points", va="center", fontsize=8,
                          color=colour("ink"), **beside)  # fmt: skip
    rest = []
    if panel.calm:
        rest.append(f"{plural(panel.calm, 'site')} without outage")
    if len(panel.nodes) > len(rows):
        rest.append(f"{plural(len(panel.nodes) - len(rows), 'more node')} not shown")
    if panel.later:
        rest.append(f"{plural(panel.later, 'change')} after the last outage not shown")
    axes.set_title(panel.title + (f"  ({'; '.join(rest)})" if rest else ""), fontsize=9)
    axes.set_yticks(range(len(rows)), [f"site {name.strip()}" if name.endswith(" ") else name for name in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", alpha=0.5)
    axes.spines["left"].set_visible(False)
