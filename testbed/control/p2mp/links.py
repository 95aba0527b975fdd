"""The controller's connection to one agent: kept up, with short patience, through a network that is being repaired.

TCP alone would wait a second before it sends a lost SYN again, and longer each time. So an attempt ends after a short
while and another one begins, at once where the LSDB says that something has changed; and a connection on which an
answer is overdue is given up for a new one. What got lost with it is found by asking for the agent's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.control.prompt_tcp import be_prompt

Json = dict[str, Any]
ATTEMPT = (0.2, 2.0)  # seconds for a connection to be made: at first, and at most after doubling
PATIENCE = (0.5, 8.0)  # seconds for an answer, likewise
PAUSE = 0.1  # seconds between attempts that are refused at once


@dataclass(slots=True)
class Traffic:
    """Messages and octets, both ways, of all agents."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0


class AgentLink:
    """`heard(request, answer)` is told every answer with its request; `up` and `down` when the connection comes and
    goes. What is sent while there is none is lost: `up` is the time to ask for everything."""

    def __init__(
        self,
        address: tuple[str, int],
        traffic: Traffic,
        up: Callable[[], None],
        down: Callable[[str], None],
        heard: Callable[[Json, Json], None],
    ) -> None:
        self._address, self._traffic = address, traffic
        self._up, self._down, self._heard = up, down, heard
        self._stream: _Stream | None = None
        self._kick = asyncio.Event()
        self._attempt, self._patience = ATTEMPT[0], PATIENCE[0]
        self._task = asyncio.create_task(self._keep_up())

    @property
    def is_up(self) -> bool:
        return self._stream is not None

    def send(self, request: Json) -> None:
        if self._stream:
            self._stream.send(request, self._patience)

    def kick(self) -> None:
        """The network has changed: whatever was waited for may be possible now."""
        self._attempt = ATTEMPT[0]
        self._kick.set()

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._kick.clear()
            stream = await self._connected()
            if stream is None:
                self._attempt = min(2 * self._attempt, ATTEMPT[1])
                await self._pause(PAUSE - (loop.time() - began))
                continue
            self._attempt = ATTEMPT[0]
            self._stream = stream
            try:
                self._up()
                why = await stream.ended
            finally:
                self._stream = None
                stream.transport.abort()
            if stream.overdue and not stream.answered:
                self._patience = min(2 * self._patience, PATIENCE[1])
            elif stream.answered:
                self._patience = PATIENCE[0]
            self._down(why)

    async def _connected(self) -> _Stream | None:
        """A connection, if there is one in time; a kick ends the attempt, so that another SYN is sent."""
        loop = asyncio.get_running_loop()
        connect = loop.create_connection(lambda: _Stream(self._traffic, self._heard), *self._address)
        making = asyncio.create_task(connect)
        kicked = asyncio.create_task(self._kick.wait())
        try:
            await asyncio.wait({making, kicked}, timeout=self._attempt, return_when=asyncio.FIRST_COMPLETED)
            if making.done() and not making.cancelled() and making.exception() is None:
                return making.result()[1]
            return None
        finally:
            for task in (making, kicked):
                if not task.done():
                    task.cancel()
            await asyncio.gather(making, kicked, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), seconds)


class _Stream(asyncio.Protocol):
    """One TCP connection: requests out, answers in, in the same order. `ended` says why it is over."""

    transport: asyncio.Transport

    def __init__(self, traffic: Traffic, heard: Callable[[Json, Json], None]) -> None:
        self._traffic, self._heard = traffic, heard
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.answered = self.overdue = False
        self._rest = bytearray()
        self._waiting: deque[tuple[Json, float]] = deque()  # requests, and when their answers are overdue
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock: socket.socket = transport.get_extra_info("socket")
        be_prompt(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * PATIENCE[1]))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)

    def send(self, request: Json, patience: float) -> None:
        octets = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        self._traffic.sent += 1
        self._traffic.sent_bytes += len(octets)
        self._waiting.append((request, self._loop.time() + patience))
        self._watch()
        self.transport.write(octets)

    def data_received(self, data: bytes) -> None:
        self._traffic.received_bytes += len(data)
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            self._line(line)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the agent hung up")

    def _line(self, line: bytes) -> None:
        self._traffic.received += 1
        try:
            answer = json.loads(line)
            if not self._waiting or not isinstance(answer, dict):
                raise ValueError("an answer to nothing")
        except ValueError as error:
            self._end(f"no answer: {error}")
            return
        request, _ = self._waiting.popleft()
        if answer.get("seq") != request["seq"]:
            self._end(f"an answer to {answer.get('seq')} where one to {request['seq']} was due")
            return
        self.answered = True
        if not self.ended.done():
            self._heard(request, answer)

    def _watch(self) -> None:
        """One timer, for the oldest request."""
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][1], self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting and self._loop.time() >= self._waiting[0][1]:
            self.overdue = True
            self._end("no answer in time")
        self._watch()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
