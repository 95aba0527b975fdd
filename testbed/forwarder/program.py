"""The forwarder as a program: where it was built, and as a router's daemon, for whoever starts those."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from testbed.errors import DaemonError, ForwarderError, MachineError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.tables import Tables
from testbed.precedence import take_precedence

BIN = Path(__file__).resolve().parent / "bin"
STOP_DEADLINE = 10.0
NICE = -10


def program(name: str = "mcfwd") -> Path:
    """A program of the forwarder's: mcfwd, mcfwd-checked (with sanitizers) or sim. Raises MachineError."""
    path = BIN / name
    if not path.exists():
        raise MachineError(f"the forwarder is not built: there is no {path}", "make forwarder")
    return path


class Host(Protocol):
    """Where a daemon runs: what it needs of a lab's node, which `testbed.lab.node.Node` has.

    `folder` holds the node's private folders: `run` is its /run, `log` its /var/log.
    """

    name: str
    folder: Path

    def popen(
        self, argv: Sequence[str], *, stdout: IO[bytes] | None, stderr: IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        """Start a process in the node, in a session of its own."""


@dataclass(frozen=True, slots=True)
class ForwarderDaemon:
    """The forwarder of one router. The paths are those seen from outside the node.

    A router's forwarder is started by `start`, is ready when `why_not_ready` says nothing, is spoken to with
    `Forwarder(daemon.socket)`, and is ended by `stop` or with the lab.
    """

    host: Host
    binary: str = "mcfwd"

    @property
    def socket(self) -> Path:
        return self.host.folder / "run" / "mcfwd.sock"

    @property
    def tables(self) -> Path:
        """What it begins with. See `save`."""
        return self.host.folder / "run" / "mcfwd.tables"

    @property
    def log(self) -> Path:
        return self.host.folder / "log" / "mcfwd.log"

    @property
    def argv(self) -> tuple[str, ...]:
        """The command inside the node. Raises MachineError."""
        return str(program(self.binary)), "--control", "/run/mcfwd.sock", "--tables", "/run/mcfwd.tables"

    def save(self, tables: Tables) -> None:
        """Begin with these tables at the next start: a forwarder keeps nothing when it ends."""
        new = self.tables.with_suffix(".new")
        new.write_text(tables.text())
        os.replace(new, self.tables)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it with the saved tables. What it logs goes to standard error. Raises MachineError, OSError.

        It runs at a high priority: a router's data plane does not wait for the processes that share our cores, no more
        than the kernel's own forwarding does.
        """
        if not self.tables.exists():
            self.save(Tables())
        with self.log.open("ab") as log:
            process = self.host.popen(self.argv, stdout=log, stderr=log)
        take_precedence(process.pid, NICE)
        return process

    def why_not_ready(self, process: subprocess.Popen[bytes]) -> str:
        """ "" once the forwarder answers. Raises DaemonError if it ended."""
        if (status := process.poll()) is not None:
            raise DaemonError(f"mcfwd of {self.host.name} ended with status {status}\n{self.tail()}")
        try:
            with Forwarder(self.socket) as forwarder:
                forwarder.show("ports")
        except ForwarderError:
            return f"mcfwd of {self.host.name}"
        return ""

    def stop(self, process: subprocess.Popen[bytes], deadline: float = STOP_DEADLINE) -> None:
        """End it with SIGTERM. Raises DaemonError if it did not within `deadline` seconds; then it was killed."""
        process.terminate()
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise DaemonError(f"mcfwd of {self.host.name} did not end within {deadline:.0f} s\n{self.tail()}") from None

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log, indented."""
        try:
            text = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            text = ["(it wrote no log)"]
        return "\n".join(f"    {line}" for line in text)
