"""FRR's daemons as declarations: configuration files, order, ready check, stop; a dry run before any is started."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.errors import DaemonError
from testbed.lab import vty
from testbed.lab.node import Node
from testbed.lab.waiting import until
from testbed.plan.dryrun import dry_run_problems
from testbed.plan.frr import RouterConfig

FRR = Path("/usr/lib/frr")
READY_DEADLINE = 30.0
_BATCH = 8  # routers a dry run
_TOGETHER = 4  # daemons starting at once: more only makes two cores switch


@dataclass(frozen=True, slots=True)
class Daemon:
    """One FRR daemon of one router. `log` and `socket` are seen from outside the node."""

    node: Node
    name: str
    options: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        return self.node.folder / "log" / f"{self.name}.log"

    @property
    def socket(self) -> Path:
        return self.node.folder / "run" / "frr" / f"{self.name}.vty"

    @property
    def argv(self) -> tuple[str, ...]:
        """Logging goes by the command line: a `log file` line that fails stops vtysh from reading the rest."""
        return (
            str(FRR / self.name),
            *(("-f", f"/etc/frr/{self.name}.conf") if self.name != "mgmtd" else ()),
            *("--log", f"file:/var/log/{self.name}.log", "--log-level", "informational"),
            *("-P", "0"),  # no TCP vty
            *self.options,
        )

    def why_not_ready(self, process: subprocess.Popen[bytes]) -> str:
        """ "" once the daemon takes commands. Raises DaemonError if it died."""
        if (status := process.poll()) is not None:
            raise DaemonError(f"{self.name} of {self.node.name} ended with status {status}\n{self.tail()}")
        return "" if vty.listens(self.socket) else f"{self.name} of {self.node.name}"

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log, indented."""
        try:
            text = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            text = ["(it wrote no log)"]
        return "\n".join(f"    {line}" for line in text)


def write_configs(node: Node, config: RouterConfig) -> None:
    """Put a router's files where its /etc/frr is; they must be readable to user frr."""
    for name, text in config.files.items():
        (node.folder / "etc" / name).write_text(text)


def dry_run(configs: Mapping[str, RouterConfig], folder: Path, environment: dict[str, str]) -> None:
    """Let every daemon read its files with -C. Raises DaemonError naming every line that any of them refused.

    The files of several routers are read in one go, one behind the other: every router's interfaces have names of
    their own, and settings may be repeated. Not of all routers: a daemon's time grows with the square of the lines.
    """
    folder.mkdir(exist_ok=True)
    daemons = dict.fromkeys(name for config in configs.values() for name in config.daemons)

    routers = list(configs)
    batches = [routers[i : i + _BATCH] for i in range(0, len(routers), _BATCH)]

    def check(case: tuple[str, list[str]]) -> list[str]:
        daemon, batch = case
        lines: list[tuple[str, int]] = []
        text = ""
        for router in batch:
            config = configs[router]
            if daemon in config.daemons:
                own = config.files[f"{daemon}.conf"]
                text += own if own.endswith("\n") else f"{own}\n"
                lines += [(router, number) for number, _ in enumerate(own.splitlines(), start=1)]
        path = folder / f"{daemon}-{batch[0]}.conf"
        path.write_text(text)
        result = subprocess.run(
            # In a network namespace of its own: zebra turns forwarding on where it runs, even in a dry run.
            ["unshare", "--net", str(FRR / daemon), "-C", "-f", str(path)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        refused = []
        for problem in dry_run_problems(str(path), result.stderr):
            router, number = lines[problem.line - 1] if problem.line else ("", 0)
            refused.append(str(replace(problem, file=f"{router}/{daemon}.conf", line=number or None)))
        if result.returncode:
            refused.append(f"{daemon}.conf: the dry run ended with {result.returncode}: {result.stderr[-300:]}")
        return refused

    with ThreadPoolExecutor(_TOGETHER) as pool:
        # mgmtd has no dry run.
        cases = [(daemon, batch) for daemon in daemons if daemon != "mgmtd" for batch in batches]
        found = [line for part in pool.map(check, cases) for line in part]
    if found:
        raise DaemonError("FRR refuses its configuration:\n" + "\n".join(found))


def start_daemons(
    routers: Sequence[Sequence[Daemon]],
) -> dict[tuple[str, str], subprocess.Popen[bytes]]:
    """Start every router's daemons in their order, several routers at a time; returns the processes by
    (router, daemon). Raises DaemonError if one dies, NotConverged if one does not get ready."""

    def start(daemons: Sequence[Daemon]) -> list[tuple[tuple[str, str], subprocess.Popen[bytes]]]:
        started = []
        first = [daemon for daemon in daemons if daemon.name in ("mgmtd", "zebra")]
        rest = [daemon for daemon in daemons if daemon not in first]
        for group in (*([daemon] for daemon in first), rest):  # all others are zebra's clients, and need only that
            for daemon, process in [(daemon, _spawn(daemon)) for daemon in group]:
                _wait_ready(daemon, process)
                started.append(((daemon.node.name, daemon.name), process))
        return started

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return dict(item for part in pool.map(start, routers) for item in part)


def start_daemon(daemon: Daemon) -> subprocess.Popen[bytes]:
    """Start one, and return once it takes commands. Raises DaemonError, NotConverged."""
    process = _spawn(daemon)
    _wait_ready(daemon, process)
    return process


def _spawn(daemon: Daemon) -> subprocess.Popen[bytes]:
    with (daemon.node.folder / "log" / f"{daemon.name}.out").open("ab") as out:
        return daemon.node.popen(daemon.argv, stdout=out, stderr=out)


def _wait_ready(daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
    until(lambda: daemon.why_not_ready(process), READY_DEADLINE, "a daemon's start", pause=0.005)


def died(processes: Mapping[tuple[str, str], subprocess.Popen[bytes]]) -> Iterable[str]:
    """`"pimd of r3 (status -11)"` for every daemon that ended by itself."""
    for (router, name), process in processes.items():
        if (status := process.poll()) is not None:
            yield f"{name} of {router} (status {status})"
