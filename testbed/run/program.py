"""How the small programs beside a run are told what to do and say what they saw: JSON in, JSON lines out."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any


class Stop:
    """SIGTERM and SIGINT as a file descriptor: make one early in the main thread.

    Handlers, not a blocked mask and sigwait: numpy's threads, started at its import, would not have the signals
    blocked, and one that came while the main thread was at work would end the process there and then.
    """

    def __init__(self) -> None:
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """Readable from the moment the program shall end."""
        return self._woken.fileno()

    def request(self) -> None:
        """End the program from inside."""
        self._waker.send(b"!")

    def wait(self, seconds: float | None, orders: Orders | None = None) -> bool:
        """Sleep until there are orders (None: whenever), and answer whether the program shall end."""
        also: list[Stop | Orders] = [orders] if orders is not None and orders.open else []
        return self in select.select([self, *also], [], [], seconds)[0]


class Orders:
    """What a program is told while it runs: lines on its standard input. `open`: more may come."""

    def __init__(self) -> None:
        self.open = True
        self._rest = b""

    def fileno(self) -> int:
        return sys.stdin.fileno()

    def read(self) -> list[str]:
        """The lines that have come since the last time; does not wait."""
        while self.open and select.select([self], [], [], 0)[0]:
            data = os.read(self.fileno(), 1 << 16)
            self.open, self._rest = bool(data), self._rest + data
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


def raise_priority() -> str:
    """Ask for real-time scheduling of this thread, else for a better nice value; a refusal only costs precision."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return "fifo"
    except OSError:
        pass
    try:
        os.nice(-10)
        return "nice"
    except OSError:
        return "normal"


def read_config(text: str) -> Any:
    """The JSON given on the command line: itself, or the name of a file. Raises OSError, ValueError."""
    return json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())


def say(t: float, kind: str, node: str = "", detail: dict[str, Any] | None = None) -> None:
    """One line {"t", "kind", "node", "detail"} to whoever started this program; `t` is CLOCK_MONOTONIC seconds.

    Raises BrokenPipeError when nobody listens any more: these programs then have nothing left to do.
    """
    sys.stdout.write(json.dumps({"t": float(t), "kind": kind, "node": node, "detail": detail or {}}) + "\n")
    sys.stdout.flush()
