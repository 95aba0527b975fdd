"""The control socket of a forwarder, spoken from Python (docs/forwarder.md has the protocol).

The socket lies in the node's folder, so it is reached from outside the node's namespaces.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

from testbed.errors import ForwarderError
from testbed.forwarder.state import State
from testbed.forwarder.tables import Tables

T = TypeVar("T")

TIMEOUT = 10.0
_OF_THE_PROTOCOL = ("replace", "update", "commit", "abort")


class Forwarder:
    """A conversation with the forwarder behind a socket; threads may share it, one command goes at a time.

    It connects when it is first asked something, and anew after an error: a forwarder may be restarted in between.
    `timeout` in seconds is for each silence, not for a whole command. Every method raises ForwarderError.
    """

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._replies: BinaryIO | None = None

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def connection(self) -> socket.socket | None:
        """The present conversation, to be watched: between commands it is readable only when the forwarder hung up."""
        return self._socket

    def close(self) -> None:
        """Hang up; the forwarder keeps its tables."""
        with self._lock:
            self._hang_up()

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
        return self._exchange(f"show {view}")

    def _transact(self, opening: str, rows: Iterable[str]) -> None:
        """One transaction: nothing is answered before its end."""
        lines = tuple(rows)
        for line in lines:
            if "\n" in line or line.strip() in _OF_THE_PROTOCOL:
                raise ForwarderError(f"{line!r} cannot be a line of a transaction")
        self._exchange(opening, *lines, "commit")

    def _parsed(self, parse: Callable[[str], T], question: str) -> T:
        answer = self._exchange(question)
        try:
            return parse(answer)
        except ValueError as problem:
            raise ForwarderError(
                f"the forwarder at {self.path} answered {question!r} strangely: {problem}"
            ) from problem

    def _exchange(self, *lines: str) -> str:
        """Send these lines and read the one reply to them."""
        with self._lock:
            try:
                answer, errors = self._talk(lines)
            except OSError as error:
                self._hang_up()
                raise ForwarderError(f"the forwarder at {self.path} does not answer: {error}") from error
            except BaseException:
                self._hang_up()  # in the middle of a reply: the next one could not be told from its rest
                raise
            if errors is not None:
                self._hang_up()  # as the forwarder does after some mistakes
        if errors is not None:
            explained = [_with_its_line(error, lines) for error in errors]
            raise ForwarderError(f"the forwarder at {self.path} refused this {lines[0]}:", explained)
        return answer

    def _talk(self, lines: Sequence[str]) -> tuple[str, list[str] | None]:
        """The answer, and the errors if the reply ended in "failed". Raises OSError."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(self.timeout)
            self._socket.connect(str(self.path))
            self._replies = self._socket.makefile("rb")
        assert self._replies is not None
        refused: OSError | None = None
        try:
            self._socket.sendall("".join(f"{line}\n" for line in lines).encode())
        except ConnectionError as error:  # what it said before it hung up is still there to be read
            refused = error
        answer: list[str] = []
        errors: list[str] = []
        for reply in self._replies:
            line = reply.decode(errors="replace")
            if line == "ok\n":
                return "".join(answer), None
            if line == "failed\n":
                return "".join(answer), errors
            if line.startswith("error "):
                errors.append(line.removeprefix("error ").rstrip())
            else:
                answer.append(line)
        raise refused or ConnectionError("; ".join(["it hung up", *errors]))

    def _hang_up(self) -> None:
        for end in (self._replies, self._socket):
            if end is not None:
                end.close()
        self._replies = self._socket = None


def _with_its_line(error: str, lines: Sequence[str]) -> str:
    """The error and the row that it is about; rows are counted from 1, behind the line that opened the transaction."""
    place = re.match(r"line (\d+): ", error)
    return f"{error} (in: {lines[int(place[1])]:.100})" if place and int(place[1]) < len(lines) else error
