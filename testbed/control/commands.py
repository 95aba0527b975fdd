"""JSON lines over TCP, asked and answered: how syncs and agents speak to an agent, through the emulated network."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.control.prompt_tcp import be_prompt

Answer = dict[str, Any]
_LINE_LIMIT = 1 << 20


@dataclass(slots=True)
class Peer:
    """Who is at the other end of one connection. `remote`: not this router itself; `read_at`: when the command was read
    that is being answered (CLOCK_MONOTONIC); `term`: the controller's, None: it has not said that it is one."""

    remote: bool
    read_at: float = 0.0
    term: int | None = None


@dataclass(slots=True)
class Traffic:
    """Commands and answers that came through the network, and their octets."""

    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0


class Refusal(ValueError):
    """A command that is refused; `more` goes into the answer, beside the error."""

    def __init__(self, why: str, **more: Any) -> None:
        super().__init__(why)
        self.more: Answer = more


class CommandServer:
    """Answers each line with what `handle` makes of it; {"error": ...} if that raises ValueError or KeyError.

    The commands of a connection are answered in their order. A "seq" is given back with the answer to it. Registers
    itself and its connections with the caller's selector; their data is a callable to be called when ready.
    """

    def __init__(
        self, selector: selectors.BaseSelector, address: tuple[str, int], handle: Callable[[Answer, Peer], Answer]
    ) -> None:
        self.traffic = Traffic()
        self._selector = selector
        self._handle = handle
        self._listener = socket.create_server(address, backlog=64)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()
        return host, port

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except OSError:
            return
        connection.settimeout(5.0)  # an answer is short: who does not read it is gone
        be_prompt(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # who was cut off does not stay for ever
        rest, peer = bytearray(), Peer(remote=address[0] != self.address[0])
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection, rest, peer))

    def _read(self, connection: socket.socket, rest: bytearray, peer: Peer) -> None:
        try:
            data = connection.recv(1 << 16)
            peer.read_at = time.monotonic()
            rest += data
            if peer.remote:
                self.traffic.received_bytes += len(data)
            while (end := rest.find(b"\n")) >= 0:
                line = bytes(rest[:end])
                del rest[: end + 1]
                self.traffic.received += peer.remote
                self._send(connection, self._answer(line, peer), peer)
            if len(rest) > _LINE_LIMIT:
                self._send(connection, {"error": f"a line has at most {_LINE_LIMIT} octets"}, peer)
                data = b""
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def _send(self, connection: socket.socket, answer: Answer, peer: Peer) -> None:
        octets = json.dumps(answer).encode() + b"\n"
        if peer.remote:
            self.traffic.sent += 1
            self.traffic.sent_bytes += len(octets)
        connection.sendall(octets)

    def _answer(self, line: bytes, peer: Peer) -> Answer:
        seq: Answer = {}
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                raise ValueError("a command is a JSON object")
            seq = {"seq": command["seq"]} if isinstance(command.get("seq"), int) else {}
            return seq | self._handle(command, peer)
        except Refusal as refusal:
            return seq | {"error": str(refusal)} | refusal.more
        except KeyError as error:
            return seq | {"error": f"{error} is missing"}
        except ValueError as error:
            return seq | {"error": str(error)}
        except RecursionError:
            return seq | {"error": "nested too deeply"}


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
