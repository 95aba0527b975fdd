"""How the report writes numbers: few digits, fixed units a column, so that columns can be compared by eye."""

from __future__ import annotations

from collections.abc import Callable

from testbed.report.stats import Summary
from testbed.report.table import NONE, Cell
from testbed.units import format_rate, format_size

Format = Callable[[float], str]


def seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) < 100 else f"{value:,.1f} s"


def ms(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:.1f} s"
    text = f"{value:.1f} ms" if 0 < abs(value) < 10 else f"{value:,.0f} ms"
    return text.replace("-", "\N{MINUS SIGN}")


def beyond(value: float) -> str:
    """Milliseconds beyond something that was over before: there is nothing beyond it then."""
    return ms(value) if value else "none"


def rate(value: float) -> str:
    """Bits per second with a fixed number of decimals."""
    return _fixed(format_rate(value), 1 if abs(value) < 1e9 else 2)


def size(value: float) -> str:
    """Bytes with a fixed number of decimals."""
    return _fixed(format_size(value), 0 if abs(value) < 1024 else 2)


def _fixed(text: str, decimals: int) -> str:
    number, _, unit = text.partition(" ")
    return f"{float(number):.{decimals}f} {unit}"


def count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def ratio(value: float) -> str:
    return f"{value:.2f}×"


def percent(value: float) -> str:
    return f"{value * 100:.0f} %" if value >= 0.1 or value == 0 else f"{value * 100:.1f} %"


def spread(summary: Summary, show: Format) -> str:
    """The small print under a median: [its confidence interval], else its range; nothing where all values are one."""
    if summary.minimum == summary.maximum:
        return ""
    low, high = summary.ci or (summary.minimum, summary.maximum)
    text, unit = between(low, high, show), show(summary.median).partition(" ")[2]
    if text.count(unit) == 1:  # the unit stands beside the median already
        text = text.removesuffix(f" {unit}")
    return f"[{text}]" if summary.ci else text


def between(low: float, high: float, show: Format) -> str:
    """`36.10–36.90 s`: the unit once where both ends have the same."""
    a, b = show(low), show(high)
    if a == b:
        return a
    (number, _, unit), (_, _, other) = a.partition(" "), b.partition(" ")
    return f"{number}–{b}" if unit == other else f"{a} – {b}"


def cell(summary: Summary | None, show: Format, of: int = 0) -> Cell:
    """A median with its spread, and with how many of the `of` runs it is made, if not of all."""
    if summary is None:
        return Cell(NONE, tone="muted")
    partial = f"{summary.n} of {of} runs" if summary.n < of else ""
    return Cell(show(summary.median), ", ".join(filter(None, (spread(summary, show), partial))))


def value(number: float | None, show: Format) -> Cell:
    return Cell(NONE, tone="muted") if number is None else Cell(show(number))


def listing(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def plural(number: int, noun: str) -> str:
    """`1 site`, `2 sites`, `no sites`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
