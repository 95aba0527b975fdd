"""An agent's conversation with its router's forwarder: told what changed, and everything again when it was lost."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.tables import Tables, difference


class Source(Protocol):
    """Where lines of the forwarder's language come from."""

    def everything(self) -> list[str]:
        """All rows; `changes` are those that come later."""

    def changes(self) -> list[str]:
        """The lines of an update, to be sent, and to be sent only once."""


class Programmer:
    """Keeps one forwarder up to date, each time in one transaction. `programmed`: whether it has all there is.

    A forwarder that is met is brought up to date by what is different from its tables: one that was restarted gets
    everything, and under an agent that was restarted, packets find the same rows, neighbours and counters as before.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        selector: selectors.BaseSelector,
        report: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.forwarder = Forwarder(path)
        self.programmed = False
        self._source, self._selector, self._report = source, selector, report
        self._conversation: socket.socket | None = None

    def program(self) -> int:
        """Bring the forwarder up to date; how many lines that took. Does not raise: see `programmed`."""
        try:
            return self.demand()
        except ForwarderError:
            return 0

    def demand(self) -> int:
        """The same. Raises ForwarderError."""
        before = self.programmed
        try:
            self.programmed = False  # unless all goes well
            lines = self._source.changes() if before else self._missing()
            if lines:
                self.forwarder.update(lines)
            self.programmed = True
        except ForwarderError as error:
            if before:  # else it is known already, and tried again
                self._report("forwarder-error", {"why": str(error)})
            raise
        finally:
            self._watch()
        return len(lines)

    def _missing(self) -> list[str]:
        present = self.forwarder.tables()
        return list(difference(present, Tables.parse("\n".join(self._source.everything()))))

    def _watch(self) -> None:
        """A forwarder that ends is noticed by its hanging up, not by the next change."""
        connection = self.forwarder.connection if self.programmed else None
        if connection is self._conversation:
            return
        if self._conversation is not None:
            self._selector.unregister(self._conversation)
        self._conversation = connection
        if connection is not None:
            self._selector.register(connection, selectors.EVENT_READ, self._hung_up)

    def _hung_up(self) -> None:
        self._report("forwarder-gone", {})
        self.programmed = False
        self._watch()
        self.forwarder.close()
