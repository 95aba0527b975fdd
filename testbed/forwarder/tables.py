"""The tables of one router as a value: made, compared, written, read, and turned into one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from testbed.forwarder.rows import (
    Action,
    BierAction,
    Bift,
    Branch,
    Flow,
    Node,
    Path,
    Row,
    Segment,
    Word,
    order,
    parse_row,
)
from testbed.packet import BitString, Encapsulation

R = TypeVar("R", bound=Row)
Key = tuple[Word, ...]


class Tables:
    """Rows, at most one of each key, sorted. There is always a Node: what is not said of it has its defaults.

    Immutable, hashable, equal if the rows are. References are for the forwarder to check; what raises ValueError here
    is a key given twice, and a BitString that is not as long as its BIFT's BSL.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[Key, Row] = {}
        for row in sorted(rows, key=order):
            if (other := self._rows.get(identity(row))) is not None:
                raise ValueError(f"two rows of one key: {other.line()} and {row.line()}")
            self._rows[identity(row)] = row
        if not self.all(Node):
            self._rows = {identity(Node()): Node()} | self._rows
        lengths = {(bift.encapsulation, bift.id): bift.bsl for bift in self.all(Bift)}
        for row in self._rows.values():
            for bift, bits in _bit_strings(row):
                if bits.length != lengths.get(bift, bits.length):
                    raise ValueError(f"{bits.length} bits where the BIFT has {lengths[bift]}: {row.line()}")

    @classmethod
    def parse(cls, text: str) -> Tables:
        """What `text()` or the forwarder wrote. Raises ValueError.

        The forwarder leaves out leading zeros of a BitString: its length is that of its BIFT.
        """
        lines = (line.strip() for line in text.splitlines())
        rows = [parse_row(line) for line in lines if line and not line.startswith("#")]
        lengths = {(row.encapsulation, row.id): row.bsl for row in rows if isinstance(row, Bift)}
        return cls(_with_lengths(row, lengths) for row in rows)

    def text(self) -> str:
        """The control language, a line a row: what `--tables` of the forwarder reads."""
        return "".join(f"{row.line()}\n" for row in self)

    def all(self, kind: type[R]) -> tuple[R, ...]:
        """The rows of one kind."""
        return tuple(row for row in self if isinstance(row, kind))

    def put(self, *rows: Row) -> Tables:
        """With these rows, in place of those of the same keys."""
        return Tables((self._rows | {identity(row): row for row in rows}).values())

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: object) -> bool:
        return isinstance(row, Row) and self._rows.get(identity(row)) == row

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, Tables) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Tables({list(self)!r})"


def identity(row: Row) -> Key:
    """What no two rows of a router share."""
    return (row.kind, *row.key)


def difference(old: Tables, new: Tables) -> tuple[str, ...]:
    """The lines of an update that turns `old` into `new`: nothing of rows that stay as they are."""
    gone = {identity(row) for row in old} - {identity(row) for row in new}
    deletions = [row.delete_line() for row in old if identity(row) in gone and _parent(row) not in gone]
    # Rows whose parent goes go with it: if `new` has them all the same, it is for the forwarder to refuse it.
    changes = [row.line() for row in new if row not in old or _parent(row) in gone]
    return (*deletions, *changes)


def _parent(row: Row) -> Key | None:
    """The row with which this one is deleted."""
    match row:
        case Path(encapsulation, bift):
            return (Bift.kind, encapsulation, bift)
        case Branch(segment):
            return (Segment.kind, segment)
    return None


def _bit_strings(row: Row) -> Iterator[tuple[tuple[Encapsulation, int], BitString]]:
    """The BitStrings of a row, each with the BIFT that it belongs to."""
    if isinstance(row, Path):
        yield (row.encapsulation, row.bift), row.fbm
    elif isinstance(row, Flow):
        for action in row.actions:
            if isinstance(action, BierAction):
                yield (action.encapsulation, action.bift), action.bits


def _with_lengths(row: Row, lengths: dict[tuple[Encapsulation, int], int]) -> Row:
    """The row with its BitStrings as long as their BIFTs' BSL; ValueError where one does not fit."""

    def resized(bift: tuple[Encapsulation, int], bits: BitString) -> BitString:
        return BitString(bits.value, lengths.get(bift, bits.length))

    def action_resized(action: Action) -> Action:
        if not isinstance(action, BierAction):
            return action
        return replace(action, bits=resized((action.encapsulation, action.bift), action.bits))

    if isinstance(row, Path):
        return replace(row, fbm=resized((row.encapsulation, row.bift), row.fbm))
    if isinstance(row, Flow):
        return replace(row, actions=tuple(map(action_resized, row.actions)))
    return row
