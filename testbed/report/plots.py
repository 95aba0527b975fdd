"""The figures of a report but the timeline. Each gives an `<svg>` element, or "" where there is nothing to draw."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from testbed.record import Run, SiteResult
from testbed.report import fmt
from testbed.report.figures import Series, Study, counts, fault_windows, site_labels
from testbed.report.stats import summarise
from testbed.report.svg import CATEGORIES, category, colour, figure, ms_axis, render, style
from testbed.report.tables import link_medians
from testbed.report.words import sending_rate

WIDTH = 9.0
MOST_LINKS = 30
STEPS = 600  # points of a line that is worked out, not measured


def delivery_curves(study: Study, name: str) -> str:
    """Verified share over time, a line for each site, a panel for each scheme, faults shaded."""
    shown = [(s, s.shown) for s in study.series if any(site.curve for site in s.shown.sites)]
    if not shown:
        return ""
    keys = list(dict.fromkeys((x.sync, x.name) for _, run in shown for x in run.sites))
    labels = site_labels([run for _, run in shown])
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    with style(name):
        made = figure(WIDTH, 3.9 * lines + 0.5)
        grid = made.subplots(2 * lines, columns, sharex=True, sharey="row", squeeze=False,
                             height_ratios=[2.2, 1] * lines)  # fmt: skip
        for index in range(lines * columns):
            above, below = grid[index // columns * 2 : index // columns * 2 + 2, index % columns]
            if index >= len(shown):
                above.set_visible(False)
                below.set_visible(False)
                continue
            s, run = shown[index]
            above.set_title(s.scheme + ("" if counts(run) else f" ({run.outcome}: not counted)"))
            _curves(above, study, run, keys)
            _behind(below, study, run, keys)
            below.tick_params(labelbottom=True)
            below.set_xlabel("seconds since the first sync began")
        for below in grid[1::2, 0]:  # only now that all have been drawn: they share one scale
            below.set_ylim(bottom=0)
        if len(keys) <= CATEGORIES:
            handles = [grid[0][0].plot([], [], color=category(i), label=labels[k])[0] for i, k in enumerate(keys)]
            made.legend(handles=handles, loc="outside lower center", ncols=min(len(keys), 8), handlelength=1.2,
                        columnspacing=1.2)  # fmt: skip
        return render(made, name, "Delivery curves: verified share of the model over time, by site and scheme")


def _curves(axes: Axes, study: Study, run: Run, keys: Sequence[tuple[str, str]]) -> None:
    many = len(keys) > CATEGORIES
    latest = 0.0
    for site in (s for s in run.sites if s.curve and s.expected_bytes):
        line = colour("soft") if many else category(keys.index((site.sync, site.name)))
        times = _times(study, site)
        latest = max(latest, times[-1])
        axes.plot(
            times,
            [size / site.expected_bytes for _, size in site.curve],
            color=line,
            linewidth=0.8 if many else 1.4,
            linestyle="-" if site.delivered else (0, (2, 1.5)),
        )
        end = (times[-1], site.curve[-1][1] / site.expected_bytes)
        if site.delivered:
            axes.plot(*end, marker="o", markersize=3, color=line)
        else:
            axes.plot(*end, marker="x", markersize=6, color=colour("bad"))
    _shade(axes, study, run, latest, labelled=True)
    axes.set_xlim(0, latest * 1.02 or 1)
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _behind(axes: Axes, study: Study, run: Run, keys: Sequence[tuple[str, str]]) -> None:
    """How many MiB each site is behind the one of the same sync that is ahead."""
    many = len(keys) > CATEGORIES
    latest = 0.0
    for sync in dict.fromkeys(s.sync for s in run.sites):
        sites = [s for s in run.sites if s.sync == sync and s.curve]
        if not sites:
            continue
        latest = max(latest, *(_times(study, s)[-1] for s in sites))
        times = np.linspace(0, latest, STEPS)
        curves = [np.interp(times, _times(study, s), [size for _, size in s.curve]) for s in sites]
        ahead = np.max(curves, axis=0)
        for site, curve in zip(sites, curves, strict=True):
            line = colour("soft") if many else category(keys.index((site.sync, site.name)))
            axes.plot(times, (ahead - curve) / 2**20, color=line, linewidth=0.7 if many else 1.0)
    _shade(axes, study, run, latest, labelled=False)
    axes.set_ylabel("MiB behind")


def _times(study: Study, site: SiteResult) -> list[float]:
    """The times of a site's curve, counted from the first sync's start as everything else is."""
    starts = {s.name: s.start for s in study.scenario.syncs}
    origin = min(starts.values())
    return [t + starts.get(site.sync, origin) - origin for t, _ in site.curve]


def _shade(axes: Axes, study: Study, run: Run, latest: float, *, labelled: bool) -> None:
    for window in fault_windows(study.events(run), run):
        until = latest if window.end_s is None else window.end_s
        axes.axvspan(window.start_s, until, color=colour("shade"), linewidth=0)
        if labelled:
            axes.annotate(window.label, (window.start_s, 0.0), xytext=(3, 3), textcoords="offset points", fontsize=8,
                          color=colour("soft"))  # fmt: skip


def outage_strip(series: Sequence[Series], name: str) -> str:
    """Every outage of every run that counts, by site: a dot each; of six of one cause the quartiles and median too."""
    points: dict[str, dict[tuple[int, str], list[float]]] = {}  # by site, then by scheme and what the outage follows
    for index, s in enumerate(series):
        runs = [f.run for f in s.usable]
        labels = site_labels(runs)
        for run in runs:
            for site in run.sites:
                for outage in site.outages:
                    found = points.setdefault(labels[site.sync, site.name], {})
                    found.setdefault((index, outage.cause), []).append(outage.length_ms)
    if not points:
        return ""
    rows = sorted(points)
    step = 0.8 / len(series)
    longest = max(v for found in points.values() for values in found.values() for v in values)
    with style(name):
        made = figure(WIDTH, 0.9 + len(rows) * max(0.26, 0.13 * len(series)))
        axes = made.subplots()
        scatter = random.Random(0)
        for row, label in enumerate(rows):
            for (index, _), values in points[label].items():
                hue = category(series[index].hue)
                y = row - 0.4 + step * (index + 0.5)
                jitter = [y + scatter.uniform(-0.25, 0.25) * step * (len(values) > 1) for _ in values]
                summary = summarise(values)
                if summary and summary.n >= 6:
                    axes.barh(y, summary.iqr, left=summary.q1, height=step * 0.8, color=hue, alpha=0.25)
                    axes.plot([summary.median] * 2, [y - step * 0.4, y + step * 0.4], color=hue)
                axes.plot(values, jitter, "o", markersize=4, color=hue, alpha=0.75, markeredgewidth=0)
        handles = [axes.plot([], [], "o", color=category(s.hue), label=s.title)[0] for s in series]
        made.legend(handles=handles, loc="outside upper right", ncols=min(4, len(series)), handletextpad=0.1)
        _rows(axes, rows)
        ms_axis(axes, longest)
        axes.set_xlim(left=0)
        axes.set_xlabel("length of an outage, ms")
        return render(made, name, "Length of every outage, by site and scheme")


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """A horizontal chart: one row a label, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def link_bytes(series: Sequence[Series], name: str) -> str:
    """Bytes of each direction of each core link against the ideal tree; idle directions are left out."""
    per = [link_medians([f.run for f in s.usable]) for s in series]
    keys = dict.fromkeys(k for found in per for k, link in found.items() if not link.is_lan)
    peak = {k: max(max(f[k].bytes, f[k].ideal_bytes) for f in per if k in f) for k in keys}
    busiest = max(peak.values(), default=0)
    busy = sorted((k for k in keys if peak[k] > busiest * 0.005), key=lambda k: -peak[k])[:MOST_LINKS]
    keys_shown = [k for k in keys if k in busy]
    if not keys_shown:
        return ""
    unit, unit_name = next((u for u in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if busiest >= u[0]), (1, "B"))
    step = 0.76 / len(series)
    with style(name):
        made = figure(WIDTH, 1.0 + len(keys_shown) * max(0.24, 0.12 * len(series) + 0.06))
        axes = made.subplots()
        for index, found in enumerate(per):
            at = [row - 0.38 + step * (index + 0.5) for row in range(len(keys_shown))]
            widths = [found[k].bytes / unit if k in found else 0.0 for k in keys_shown]
            s = series[index]
            axes.barh(at, widths, height=step * 0.86, color=category(s.hue), label=s.title, linewidth=0)
        for row, key in enumerate(keys_shown):
            ideal = next(f[key].ideal_bytes for f in per if key in f) / unit
            if ideal:
                axes.plot([ideal, ideal], [row - 0.44, row + 0.44], color=colour("ink"), linewidth=1.8)
        axes.plot([], [], "|", markersize=10, markeredgewidth=1.8, color=colour("ink"), label="ideal tree")
        made.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=min(5, len(series) + 1),
                    handlelength=1.0)  # fmt: skip
        _rows(axes, [f"{src} → {dst}" + ("" if link in (f"{src}-{dst}", f"{dst}-{src}") else f" ({link})")
                     for link, src, dst in keys_shown])  # fmt: skip
        axes.set_xlabel(f"{unit_name} during the transfer")
        axes.set_xlim(left=0)
        return render(made, name, "Bytes on each link against the ideal tree, by scheme")


def comparison(series: Sequence[Series], studies: Sequence[Study], name: str) -> str:
    """Four small charts: slowest site, its goodput, longest outage, bytes against the ideal tree."""
    rates = {r for s in series if (r := sending_rate(studies[s.bundle].scenario))}
    rate = rates.pop() if len(rates) == 1 else None
    panels: list[tuple[str, str, Callable[[float], str], float | None]] = [
        ("slowest_s", "Slowest site, s", fmt.seconds, None),
        ("slowest_goodput", "Lowest goodput, Mb/s (line: sending rate)", fmt.rate, rate),
        ("longest_outage_ms", "Longest outage, ms", fmt.ms, None),
        ("against_ideal", "Bytes against the ideal tree (line: ideal)", fmt.ratio, 1.0),
    ]
    with style(name):
        made = figure(WIDTH, 1.3 + 0.5 * len(series))
        grid = made.subplots(2, 2, sharey=True)
        for axes, (what, title, show, mark) in zip(grid.flat, panels, strict=True):
            scale = 1e6 if what == "slowest_goodput" else 1.0
            _bars(axes, series, what, scale, show, mark)
            if mark:
                axes.axvline(mark / scale, color=colour("ink"), linewidth=1.2)
            axes.set_title(title)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
            _rows(axes, [s.title for s in series])
        return render(made, name, "Schemes compared: slowest site, goodput, longest outage, bytes against ideal")


def _bars(
    axes: Axes, series: Sequence[Series], what: str, scale: float, show: Callable[[float], str], mark: float | None
) -> None:
    """Medians as bars with their values beside them, clear of the mark; with repetitions a dot for each run."""
    widest = (mark or 0.0) / scale
    for row, s in enumerate(series):
        values = [v / scale for f in s.usable if (v := getattr(f, what)) is not None]
        summary = summarise(values)
        if summary is None:
            axes.annotate("–", (0, row), xytext=(4, 0), textcoords="offset points", va="center", color=colour("soft"))
            continue
        alpha = 1.0 if s.measured else 0.35
        axes.barh(row, summary.median, height=0.56, color=category(s.hue), alpha=alpha, linewidth=0)
        if len(values) > 1:
            axes.plot(values, [row] * len(values), "o", markersize=3, color=colour("ink"), alpha=0.6, markeredgewidth=0)
        beside = max([*values, (mark or 0.0) / scale])
        widest = max(widest, beside)
        axes.annotate(show(summary.median * scale), (beside, row), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=8.5)  # fmt: skip
    axes.set_xlim(0, widest * 1.25 or 1)  # room for the values
