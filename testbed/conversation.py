"""Conversations with our programs in C over their control sockets: lines there, replies back.

A reply's last line is "ok" or "failed"; what went wrong stands before that, in lines "error ...".
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from testbed.errors import ProgramError

TIMEOUT = 10.0


class Conversation:
    """A conversation with the program behind a socket; threads may share it, one command goes at a time.

    It connects when it is first asked something, and anew after an error: a program may be restarted in between.
    `timeout` in seconds is for each silence, not for a whole command. Every method raises `error`.
    """

    who = "the program"
    error: type[ProgramError] = ProgramError

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._replies: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def connection(self) -> socket.socket | None:
        """The present conversation, to be watched: between commands it is readable only when the program hung up."""
        return self._socket

    def close(self) -> None:
        """Hang up; the program keeps what it was told."""
        with self._lock:
            self._hang_up()

    def exchange(self, *lines: str) -> str:
        """Send these lines and read the one reply to them."""
        with self._lock:
            try:
                answer, errors = self._talk(lines)
            except OSError as error:
                self._hang_up()
                raise self.error(f"{self.who} at {self.path} does not answer: {error}") from error
            except BaseException:
                self._hang_up()  # in the middle of a reply: the next one could not be told from its rest
                raise
            if errors is not None:
                self._hang_up()  # as it does after some mistakes
        if errors is not None:
            explained = [_with_its_line(error, lines) for error in errors]
            raise self.error(f"{self.who} at {self.path} refused this {lines[0]}:", explained)
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
