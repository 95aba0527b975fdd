"""The other side of program.py: starts one of the small programs, hands on what it says, and ends it in order."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import LabError
from testbed.lab.waiting import SCALE

Handler = Callable[[float, str, str, dict[str, Any]], None]
# argv, standard input, output and error -> the process.
Starter = Callable[[Sequence[str], int, int, Any], "subprocess.Popen[bytes]"]

READY_DEADLINE = 60.0 * SCALE  # seconds
END_DEADLINE = 60.0 * SCALE


class Program:
    """A running program. `on_event(t, kind, node, detail)` is called from a thread of ours for each line but
    `ready` and `summary`."""

    def __init__(self, start: Starter, module: str, arguments: Sequence[str], on_event: Handler, log: Path) -> None:
        self.name = module.rpartition(".")[2]
        self.summary: dict[str, Any] = {}
        self._log = log
        self._ready = threading.Event()
        self._on_event = on_event
        with log.open("wb") as errors:
            self._process = start([sys.executable, "-m", module, *arguments], subprocess.PIPE, subprocess.PIPE, errors)
        self._thread = threading.Thread(target=self._read, name=f"read-{self.name}", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return once the program says so. Raises LabError if it ends or stays silent instead."""
        if not self._ready.wait(READY_DEADLINE) or self._process.poll() is not None:
            raise LabError(f"{self.name} did not get ready: {self._errors() or 'it said nothing'}")

    def tell(self, order: str) -> None:
        """Give it an order, a line on its standard input; one that has ended hears no more."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()

    def stop(self) -> dict[str, Any]:
        """Ask it to end and return its summary ({} if it had none left to give)."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(END_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return self.summary

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said["kind"] == "ready":
                self._ready.set()
            elif said["kind"] == "summary":
                self.summary = said["detail"]
            else:
                self._on_event(said["t"], said["kind"], said["node"], said["detail"])
        self._ready.set()  # it ended: nobody need wait any longer

    def _errors(self) -> str:
        try:
            return self._log.read_text(errors="replace").strip()[-800:]
        except OSError:
            return ""
