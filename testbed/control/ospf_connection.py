"""The two TCP connections of one OSPF API client, as a pair: frames out, frames in."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time

from testbed.packet.ospf_api import Frame, Frames

# ospfd writes notifications to a blocking socket: a client that does not read in time would stop its hellos.
_RECEIVE_BUFFER = 1 << 22
_SO_RCVBUFFORCE = 33
_PAIRS = 100  # ports tried before we believe that none is free


class OspfConnection:
    """Requests and replies on one socket, notifications on another, which ospfd opens back to the first one's port + 1.

    Raises OSError where it cannot be made, or cannot send. `ended` says why there will be no more frames, "" while
    there may be.
    """

    def __init__(self, address: str, port: int, timeout: float) -> None:
        self.ended = ""
        self._requests, listener = _port_pair(_own_address(address))
        try:
            with listener:
                listener.settimeout(timeout)
                self._requests.settimeout(timeout)
                self._requests.connect((address, port))
                self._notifications, _ = listener.accept()
        except BaseException:
            self._requests.close()
            raise
        self._streams = {each.fileno(): (each, Frames()) for each in (self._notifications, self._requests)}
        self._poll = select.poll()  # whose file numbers may be above select's 1023
        for fileno, (each, _) in self._streams.items():
            each.setblocking(False)
            self._poll.register(fileno, select.POLLIN)

    def filenos(self) -> tuple[int, ...]:
        """What to watch for being readable."""
        return tuple(self._streams)

    def send(self, octets: bytes) -> None:
        """A request is small and answered before the next but few: the socket's buffer always has room for it."""
        self._requests.sendall(octets)

    def receive(self, timeout: float) -> list[tuple[float, Frame]]:
        """The frames that are complete after waiting up to `timeout` seconds for one octet, each with the
        CLOCK_MONOTONIC time of its reading. Raises PacketError."""
        found = []
        for fileno, _ in self._poll.poll(0 if self.ended else math.ceil(1000 * timeout)):
            stream, frames = self._streams[fileno]
            try:
                data = stream.recv(1 << 16)
            except OSError as error:
                data, self.ended = b"", str(error)
            now = time.monotonic()
            if data:
                found += [(now, frame) for frame in frames.feed(data)]
            else:  # what is left on the other one is still read
                self.ended = self.ended or "ospfd closed the connection"
                self._poll.unregister(fileno)
                del self._streams[fileno]
        return found

    def close(self) -> None:
        self._requests.close()
        self._notifications.close()


def _own_address(other: str) -> str:
    """From where we speak to `other`, which need not be this node. Raises OSError where there is no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))  # sends nothing
        own: str = probe.getsockname()[0]
        return own


def _port_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """A socket bound to some port, and one that listens at the next. Raises OSError."""
    error: OSError | None = None
    for _ in range(_PAIRS):
        first, second = socket.socket(), socket.socket()
        try:
            first.bind((address, 0))
            second.bind((address, first.getsockname()[1] + 1))
            with contextlib.suppress(PermissionError):
                second.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            second.listen(1)
            return first, second
        except (OSError, OverflowError) as problem:  # taken, or behind the last port
            first.close()
            second.close()
            error = OSError(str(problem))
    raise error or OSError("no ports")
