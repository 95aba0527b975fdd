"""TCP for short requests and answers over a network that is being repaired."""

from __future__ import annotations

import contextlib
import socket

_TCP_RTO_MIN_US = 45  # since Linux 6.15
_TCP_THIN_LINEAR_TIMEOUTS = 16
_RTO_MIN = 5000  # microseconds


def be_prompt(connection: socket.socket) -> None:
    """Send at once, and send again soon what a failing link has swallowed: Linux waits 200 ms at least before, and
    twice as long each time, while the IGP has repaired the way after some 20. With this it waits for a round trip and
    5 ms (rounded up to its clock's ticks), and no longer the next times (RFC 6298 leaves that to who knows his network:
    a request and its answer are a packet or a few). An older kernel does as it always does."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in ((_TCP_RTO_MIN_US, _RTO_MIN), (_TCP_THIN_LINEAR_TIMEOUTS, 1)):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
