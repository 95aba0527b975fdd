"""Namespaces of a test's own: holders that die with the test, and the programs that run beside them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

DEADLINE_S = 30.0 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition()` is true and return it; fails after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come within {DEADLINE_S} s"
        time.sleep(0.005)
    return value


class Spaces:
    """Network namespaces by name, each held by a sleeping process that dies with this one."""

    def __init__(self) -> None:
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def add(self, *names: str) -> None:
        for name in names:
            command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-n", "-u", "-m", "sleep", "infinity"]
            self._holders[name] = subprocess.Popen(command)
        for name in names:
            link = f"/proc/{self.pid(name)}/exe"
            wait_for(lambda link=link: os.readlink(link).endswith(("sleep", "coreutils")), f"namespace {name}")

    def pid(self, name: str) -> int:
        return self._holders[name].pid

    def run(self, name: str, *commands: str) -> str:
        """Shell commands in the namespace, one after the other; fails if one does."""
        script = "\n".join(["set -e", *commands])
        enter = ["nsenter", "-t", str(self.pid(name)), "-n", "-m", "-u"]
        done = subprocess.run([*enter, "sh", "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wire(self, a: str, a_name: str, b: str, b_name: str) -> None:
        """A veth pair between two namespaces, both ends up."""
        self.run(a, f"ip link add {a_name} type veth peer name {b_name} netns {self.pid(b)}")
        self.run(a, f"ip link set {a_name} up")
        self.run(b, f"ip link set {b_name} up")

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()


class Program:
    """A program of testbed.run that prints JSON lines; they are kept in `lines`."""

    def __init__(self, module: str, *arguments: str, pid: int | None = None) -> None:
        enter = [] if pid is None else ["nsenter", "-t", str(pid), "-n", "-u"]
        command = [*enter, sys.executable, "-m", f"testbed.run.{module}", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid  # nsenter without -p execs: its pid is the program's
        self.lines: list[dict[str, Any]] = []
        self._rest = b""

    def poll(self) -> None:
        """Take over the lines that are there."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while select.select([fd], [], [], 0)[0]:
            data = os.read(fd, 1 << 16)
            if not data:
                return
            *whole, self._rest = (self._rest + data).split(b"\n")
            self.lines += [json.loads(line) for line in whole]

    def wait(self, kind: str, after: int = 0, **fields: Any) -> dict[str, Any]:
        """The first line from index `after` on of that kind, whose node or details have these values."""

        def found() -> dict[str, Any] | None:
            self.poll()
            for line in self.lines[after:]:
                known = line["detail"] | {"node": line["node"]}
                if line["kind"] == kind and fields.items() <= known.items():
                    return line
            assert not self._process.poll(), f"the program ended: {self._process.returncode}"
            return None

        return wait_for(found, f"{kind} {fields}")

    def tell(self, order: str) -> None:
        """A line for its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """End it and return its summary."""
        self._process.terminate()
        summary = self.wait("summary")["detail"]
        assert self._process.wait(DEADLINE_S) == 0
        return summary

    def alive(self) -> bool:
        return self._process.poll() is None

    def hang_up(self) -> None:
        """Stop listening to it."""
        if self._process.stdout:
            self._process.stdout.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.hang_up()
        if self._process.stdin:
            self._process.stdin.close()


@contextlib.contextmanager
def spaces(*names: str) -> Iterator[Spaces]:
    made = Spaces()
    try:
        made.add(*names)
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def program(module: str, *arguments: str, pid: int | None = None) -> Iterator[Program]:
    started = Program(module, *arguments, pid=pid)
    try:
        yield started
    finally:
        started.close()
