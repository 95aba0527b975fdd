"""A table before it is drawn: the terminal and the HTML show the same cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

Tone = Literal["", "good", "bad", "muted"]

NONE = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """`note` is the small print under the value: its spread, or the reason."""

    text: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """`number`: aligned right, digits of equal width. `group`: a heading shared with the columns beside it."""

    head: str
    number: bool = True
    group: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`source`: where in the bundle the numbers come from. A None among the rows is a rule between sections.

    `ditto`: the first column repeats itself, so that only its changes need to stand out.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...] | None, ...]
    source: str = ""
    note: str = ""
    ditto: bool = False

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headings above the columns with the number of columns each spans; empty if there are none."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(group for group, _ in spans) else []


_STYLE = {"": "", "good": "green", "bad": "bold red", "muted": "dim"}


def rich_table(table: Table) -> RichTable:
    """The table for a terminal. Names are shown as they are, whatever brackets they hold."""
    drawn = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "right" if column.number else "left"
        drawn.add_column(_rich_head(column), justify=justify, overflow="fold", min_width=_width(table, index))
    before = None
    for row in table.rows:
        if row is None:
            drawn.add_section()
            continue
        shown = [_rich_cell(cell) for cell in row]
        if table.ditto and row[0] == before:
            shown[0] = Text("")
        drawn.add_row(*shown)
        before = row[0]
    if table.note:
        drawn.caption = Text(table.note, style="dim")
        drawn.caption_justify = "left"
    return drawn


def _rich_head(column: Column) -> Text:
    """A scheme's options may each have a line: two schemes that differ in the last must not look alike."""
    return Text(re.sub(r"(?<=[:,])(?=\S)", " ", column.head), overflow="fold")


def _rich_cell(cell: Cell) -> Text:
    text = Text(cell.text, style=_STYLE[cell.tone])
    if cell.note:
        text.append(f"\n{cell.note}", style="dim")
    return text


def _width(table: Table, index: int) -> int | None:
    """A number stays on one line with its unit, while a heading, a name or a reason may wrap."""
    if not table.columns[index].number:
        return None
    return max((max(len(row[index].text), len(row[index].note)) for row in table.rows if row), default=None)
