"""The rows of a forwarder's tables, one class a kind; docs/forwarder.md says what each means.

`row.line()` writes the control language and `parse_row` reads it: parsing a row's line gives an equal row. The
forwarder checks every value and reference itself and says what is wrong with a line. What raises ValueError here is
only what it could not notice: a name with a blank in it would be two words, an address 0.0.0.0 would be "any".
"""

from __future__ import annotations

from testbed.forwarder.rows.bier import Bift, End, Path
from testbed.forwarder.rows.flows import Action, BierAction, Flow, PortAction, SegmentAction
from testbed.forwarder.rows.ports import UNSPECIFIED, NextHop, Node, Port
from testbed.forwarder.rows.row import Row, rank
from testbed.forwarder.rows.segments import (
    Branch,
    Context,
    Label,
    MplsBranch,
    Pop,
    PopTo,
    Replicate,
    Role,
    Segment,
    Sid,
    Srv6Branch,
    Swap,
)
from testbed.forwarder.rows.words import Address, Word, Words

__all__ = [
    "UNSPECIFIED",
    "Action",
    "Address",
    "BierAction",
    "Bift",
    "Branch",
    "Context",
    "End",
    "Flow",
    "Label",
    "MplsBranch",
    "NextHop",
    "Node",
    "Path",
    "Pop",
    "PopTo",
    "Port",
    "PortAction",
    "Replicate",
    "Role",
    "Row",
    "Segment",
    "SegmentAction",
    "Sid",
    "Srv6Branch",
    "Swap",
    "Word",
    "order",
    "parse_row",
]

_KINDS: dict[str, type[Row]] = {
    row.kind: row for row in (Node, Port, NextHop, Bift, Path, Label, Sid, Segment, Branch, Flow)
}
_ORDER = {kind: place for place, kind in enumerate(_KINDS)}


def parse_row(line: str) -> Row:
    """The row of a line. Raises ValueError.

    A BitString has the length that its digits say, or the least that holds it: only its BIFT knows (see Tables.parse).
    """
    words = Words(line)
    try:
        kind = words.word()
        if kind not in _KINDS:
            raise ValueError(f"unknown word: {kind}")
        return _KINDS[kind].read(words)
    except ValueError as problem:
        raise ValueError(f"{line.strip()[:200]!r} is no row: {problem}") from problem


def order(row: Row) -> tuple[object, ...]:
    """A key to sort rows by: kinds as the forwarder lists them, and within a kind by the row's key."""
    return (_ORDER[row.kind], *map(rank, row.key))
