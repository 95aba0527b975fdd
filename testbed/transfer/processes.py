"""Ending processes, all at once and soon."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def end(processes: Sequence[subprocess.Popen[bytes]], grace: float = 0.3) -> None:
    """Ask all to end (SIGTERM), kill those that have not after `grace` seconds altogether, and reap them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + grace
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in running:
        if process.poll() is None:
            process.kill()
    for process in running:
        process.wait()


def status_text(code: int) -> str:
    """How a process ended, in words: `exited with status 2`, `was killed by signal 9`."""
    return f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"


def tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log as one line, for an error message; "" if there are none."""
    try:
        text = log.read_text(errors="replace").replace("\0", "")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())
