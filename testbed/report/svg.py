"""Figures as inline SVG that follows the page: its font, its colours, light or dark.

matplotlib draws with stand-in colours; in the SVG each becomes a CSS variable of the page's style sheet.
The same data gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

# CSS variable -> stand-in. No two alike, and none that matplotlib uses by itself.
_ROLES = ("ink", "soft", "rule", "shade", "bad", *(f"s{n}" for n in range(1, 9)))
_STAND_IN = {role: f"#0a0b{index:02x}" for index, role in enumerate(_ROLES, 0x10)}
CATEGORIES = 8
LINEAR_MS = 1000.0


def colour(role: str) -> str:
    """The stand-in for a colour of the page: ink, soft, rule, shade, bad, s1 .. s8."""
    return _STAND_IN[role]


def category(index: int) -> str:
    """The colour of the index-th series (from 0); they begin again after eight."""
    return _STAND_IN[f"s{index % CATEGORIES + 1}"]


_STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",
    "text.color": colour("ink"),
    "axes.edgecolor": colour("rule"),
    "axes.facecolor": "none",
    "axes.labelcolor": colour("soft"),
    "axes.titlecolor": colour("ink"),
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": colour("rule"),
    "grid.linewidth": 0.6,
    "xtick.color": colour("rule"),
    "ytick.color": colour("rule"),
    "xtick.labelcolor": colour("soft"),
    "ytick.labelcolor": colour("ink"),
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": colour("ink"),
    "figure.facecolor": "none",
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw and render a figure inside this; `name` keeps the ids of one figure apart from another's."""
    settings: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        yield


def figure(width: float, height: float) -> Figure:
    """A figure in inches that belongs to no window system and to no global state."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(made)
    return made


def render(made: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element for an HTML page; `description` is for those who cannot see it."""
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for role, stand_in in _STAND_IN.items():
        text = text.replace(stand_in, f"var(--{role})")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    end = text.index(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", text[:end])  # the page sets the width
    return f'{head} role="img" aria-label="{label}"{text[end:]}'


def ms_axis(axes: Axes, longest: float) -> None:
    """The x axis in ms: linear, or beyond LINEAR_MS logarithmic from 10 ms on, so that short and long both show."""
    if longest > LINEAR_MS:
        axes.set_xscale("symlog", linthresh=10, linscale=0.6)
        axes.xaxis.set_major_locator(FixedLocator([0, 10, 100, 1000, 10_000, 100_000]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("ms")
