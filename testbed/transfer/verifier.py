"""The sink process as its user sees it: started, listened to, asked to finish."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from testbed.errors import TransferError
from testbed.transfer.processes import end, status_text, tail
from testbed.transfer.sink import Config, write_config

Line = dict[str, Any]


class Verifier:
    """Runs `testbed.transfer.sink`; `hear` is called for each of its lines, from a thread of its own."""

    def __init__(self, config: Config, work: Path, hear: Callable[[Line], None]) -> None:
        """Start the process; its files go to `work`. Raises OSError."""
        self._log, self._hear = work / "sink.log", hear
        self._ready, self._closing = Event(), False
        path = work / "sink.json"
        write_config(config, path)
        argv = [sys.executable, "-m", "testbed.transfer.sink", "--config", str(path)]
        root = str(Path(__file__).parents[2])  # the package is importable there whether installed or not
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=root, start_new_session=True
            )
        self._thread = Thread(target=self._listen, name="sink", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why it ended though it was not asked to; "" if it did not."""
        if self._closing or self.process.poll() is None:
            return ""
        return f"the verifying process {status_text(self.process.returncode)}: {tail(self._log)}"

    def wait_ready(self, timeout: float) -> None:
        """Wait until it watches. Raises TransferError."""
        if not self._ready.wait(timeout) or self.failure:
            raise TransferError(self.failure or f"the verifying process was not ready in {timeout:g} s")

    def finish(self, timeout: float) -> None:
        """Have it look a last time and write its summaries; kill it if that takes more than `timeout` seconds."""
        self._closing = not self.failure
        with contextlib.suppress(BrokenPipeError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            end([self.process])
        self._thread.join()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for raw in stream:
                with contextlib.suppress(ValueError):  # half a line of a killed process
                    line = json.loads(raw)
                    if line["kind"] == "ready":
                        self._ready.set()
                    else:
                        self._hear(line)
        self._ready.set()  # nobody shall wait for a process that has ended
