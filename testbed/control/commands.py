"""JSON lines over TCP, asked and answered: how syncs and agents speak to an agent, through the emulated network."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
_LINE_LIMIT = 1 << 20


class CommandServer:
    """Answers each line with what `handle` makes of it; {"error": ...} if that raises ValueError or KeyError.

    Registers itself and its connections with the caller's selector; their data is a callable to be called when ready.
    """

    def __init__(
        self, selector: selectors.BaseSelector, address: tuple[str, int], handle: Callable[[Answer], Answer]
    ) -> None:
        self._selector = selector
        self._handle = handle
        self._listener = socket.create_server(address, backlog=64)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.settimeout(5.0)  # an answer is short: who does not read it is gone
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection, rest))

    def _read(self, connection: socket.socket, rest: bytearray) -> None:
        try:
            data = connection.recv(1 << 16)
            rest += data
            while (end := rest.find(b"\n")) >= 0:
                line = bytes(rest[:end])
                del rest[: end + 1]
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:
            data = b""
        if not data or len(rest) > _LINE_LIMIT:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, line: bytes) -> Answer:
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                raise ValueError("a command is a JSON object")
            return self._handle(command)
        except KeyError as error:
            return {"error": f"{error} is missing"}
        except ValueError as error:
            return {"error": str(error)}


def ask(address: tuple[str, int], command: Answer, timeout: float = 5.0) -> Answer:
    """One command to an agent, from the namespace of the calling thread. Raises OSError; ValueError if refused."""
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(json.dumps(command).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise ConnectionError(f"the agent at {address[0]}:{address[1]} hung up")
    answer: Answer = json.loads(line)
    if "error" in answer:
        raise ValueError(f"the agent at {address[0]}:{address[1]}: {answer['error']}")
    return answer
