"""What the command says to people: errors, tables, live progress."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from testbed.errors import MachineError, RequestError, TestbedError
from testbed.record import Event, Run, fault_words
from testbed.run.observer import Observer
from testbed.units import format_rate

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

_BAR = 24


def say_error(error: TestbedError, *, as_json: bool = False) -> None:
    """The error on standard error; as one JSON object on standard output where a program listens."""
    if as_json:
        say_json({"error": type(error).__name__, "exit_status": error.exit_status, **_fields(error)})
        return
    print(f"testbed: {error}", file=sys.stderr)


def say_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=1, default=str))


def _fields(error: TestbedError) -> dict[str, object]:
    if isinstance(error, RequestError):
        return {
            "problems": [
                {"what": p.what, "where": p.where, "hint": p.hint, "file": p.file, "line": p.line}
                for p in error.problems
            ]
        }
    if isinstance(error, MachineError):
        return {"what": error.what, "remedy": error.remedy}
    return {"what": str(error)}


class LiveObserver(Observer):
    """Progress on a terminal: a line a site while a transfer runs, the phase before and after. Where standard error
    is no terminal, only the phases are printed, a line each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run = self._text = ""
        self._since = time.monotonic()
        self._verified: dict[str, int] = {}
        self._done: dict[str, float] = {}
        self._silent: set[str] = set()
        self._expected, self._elapsed = 1, 0.0
        self._live = (
            Live(get_renderable=self._render, console=stderr, refresh_per_second=8, transient=True)
            if stderr.is_terminal
            else None
        )

    def __enter__(self) -> LiveObserver:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, run: str, text: str) -> None:
        with self._lock:
            if run != self._run:
                self._verified, self._done, self._silent = {}, {}, set()
            self._run, self._text, self._since = run, text, time.monotonic()
            if not text.startswith("delivering"):
                self._verified = {}
        if self._live is None:
            stderr.print(f"{run + ': ' if run else ''}{text}", soft_wrap=True)

    def progress(self, run: str, verified: Mapping[str, int], expected: int, elapsed: float) -> None:
        with self._lock:
            self._verified, self._expected, self._elapsed = dict(verified), expected, elapsed
            for host, size in verified.items():
                if size >= expected:
                    self._done.setdefault(host, elapsed)

    def event(self, event: Event) -> None:
        line = ""
        with self._lock:
            if event.kind == "silent":
                self._silent.add(event.node)
            elif event.kind == "heard-again":
                self._silent.discard(event.node)
            elif event.kind in ("fault", "fault-restored"):
                what = "fault" if event.kind == "fault" else "restored"
                line = f"{event.run}: {what}: {fault_words(event.detail)}"
            elif event.kind == "fault-skipped":
                line = f"{event.run}: no fault: {fault_words(event.detail)}: {event.detail.get('why')}"
        if line:
            stderr.print(line, style="yellow")

    def finished(self, run: Run) -> None:
        style = "green" if run.outcome == "passed" else "red"
        text = f"{run.scheme} repetition {run.repetition}: {run.outcome}"
        stderr.print(text + (f" ({run.reason})" if run.reason else ""), style=style, soft_wrap=True)

    def _render(self) -> Table:
        with self._lock:
            table = Table.grid(padding=(0, 1))
            took = time.monotonic() - self._since
            head = f"{self._run}: {self._text}" if self._run else self._text
            table.add_row(Text(f"{head}  {took:.0f} s", style="bold"))
            for host, size in self._verified.items():
                share = size / self._expected
                full = round(share * _BAR)
                bar = "█" * full + "░" * (_BAR - full)
                took = self._done.get(host, self._elapsed)
                rate = format_rate(size * 8 / took) if took else ""
                note = "  no packets arrive" if host in self._silent else ""
                style = "red" if note else "green" if host in self._done else ""
                table.add_row(Text(f"  {host:<14} {bar} {share:>4.0%}  {rate:>10}{note}", style=style))
            return table
