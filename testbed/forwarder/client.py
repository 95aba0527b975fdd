"""The control socket of a forwarder, spoken from Python (docs/forwarder.md has the protocol).

The socket lies in the node's folder, so it is reached from outside the node's namespaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from testbed.conversation import Conversation
from testbed.errors import ForwarderError
from testbed.forwarder.state import State
from testbed.forwarder.tables import Tables

T = TypeVar("T")

_OF_THE_PROTOCOL = ("replace", "update", "commit", "abort")


class Forwarder(Conversation):
    """A conversation with the forwarder behind a socket. Every method raises ForwarderError."""

    who = "the forwarder"
    error = ForwarderError

    def replace(self, tables: Tables) -> None:
        """Make these its tables, all of them or none; counters begin anew, except those of ports."""
        self._transact("replace", (row.line() for row in tables))

    def update(self, lines: Iterable[str]) -> None:
        """Change some rows, all of them or none: what `tables.difference` says, or lines of the control language."""
        self._transact("update", lines)

    def tables(self) -> Tables:
        """What it was told."""
        return self._parsed(Tables.parse, "tables")

    def state(self) -> State:
        """Rows with their counters, ports as they are, drops."""
        return self._parsed(State.parse, "state")

    def show(self, view: str) -> str:
        """A text for people: bift, labels, segments, flows, ports or drops."""
        return self.exchange(f"show {view}")

    def _transact(self, opening: str, rows: Iterable[str]) -> None:
        """One transaction: nothing is answered before its end."""
        lines = tuple(rows)
        for line in lines:
            if "\n" in line or line.strip() in _OF_THE_PROTOCOL:
                raise ForwarderError(f"{line!r} cannot be a line of a transaction")
        self.exchange(opening, *lines, "commit")

    def _parsed(self, parse: Callable[[str], T], question: str) -> T:
        answer = self.exchange(question)
        try:
            return parse(answer)
        except ValueError as problem:
            raise ForwarderError(
                f"the forwarder at {self.path} answered {question!r} strangely: {problem}"
            ) from problem
