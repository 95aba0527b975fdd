"""An axis of ms on which the times when nothing happens are folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

from testbed.report.svg import colour

IDLE_MS = 100.0  # a shorter silence is never folded
_IDLE_SHARE = 0.25  # nor one that is less than this of everything
_FOLD, _LEAST = 0.05, 0.12  # widths of a fold and of the narrowest busy stretch; the whole axis is 1 or a little more
_MARGIN_MS = 0.5  # at the ends of a stretch, at least
_TICKS = 8  # about so many on a whole axis


@dataclass(frozen=True, slots=True)
class Folded:
    """Busy stretches of time (ms) side by side, each as wide as it is long; what lies between is one fold, however
    long. `knots` are (ms, x) of their ends."""

    knots: tuple[tuple[float, float], ...]

    @property
    def folds(self) -> list[tuple[float, float]]:
        """From where to where on the x axis nothing happens."""
        ends = [x for _, x in self.knots][1:-1]
        return list(zip(ends[::2], ends[1::2], strict=True))

    def x(self, ms: Sequence[float]) -> list[float]:
        """Where on the x axis times lie."""
        times, places = zip(*self.knots, strict=True)
        return [float(x) for x in np.interp(ms, times, places)]

    def dress(self, axes: Axes) -> None:
        """Ticks in ms, and a grey band for each fold."""
        ticks, labels = [], []
        for (start, left), (end, right) in zip(self.knots[::2], self.knots[1::2], strict=True):
            count = max(1, round(_TICKS * (right - left) / self.knots[-1][1]))
            found = [t for t in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(start, end) if start <= t <= end]
            ticks += self.x(found)
            labels += [f"{t:,.0f}" if float(t).is_integer() else f"{t:,.10g}" for t in found]
        for left, right in self.folds:
            axes.axvspan(left, right, color=colour("rule"), alpha=0.7, linewidth=0)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter(labels))
        axes.set_xlim(0, self.knots[-1][1])


def fold(times: Iterable[float]) -> Folded:
    """The axis for these times (ms, at least one)."""
    ordered = sorted(set(times))
    span = ordered[-1] - ordered[0]
    idle = max(IDLE_MS, _IDLE_SHARE * span)
    cuts = [i for i, (a, b) in enumerate(pairwise(ordered), start=1) if b - a > idle]
    stretches = [(ordered[a], ordered[b - 1]) for a, b in pairwise([0, *cuts, len(ordered)])]
    busy = sum(end - start for start, end in stretches) or 1.0
    margin = max(0.02 * busy, _MARGIN_MS)
    knots: list[tuple[float, float]] = []
    x = 0.0
    for start, end in stretches:
        width = max(_LEAST, (end - start + 2 * margin) / (busy + 2 * margin * len(stretches)))
        if knots:
            x += _FOLD
        knots += [(start - margin, x), (end + margin, x + width)]
        x += width
    return Folded(tuple(knots))
