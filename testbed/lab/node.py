"""A node of the lab: a Mininet node with its own network, mount and UTS namespaces, and a thread that lives there."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import IO, Any, TypeVar

from mininet.node import Node as MininetNode
from pyroute2 import IPRoute

from testbed import plan
from testbed.errors import NodeStartError
from testbed.lab import namespace
from testbed.lab.waiting import SCALE

T = TypeVar("T")

START_DEADLINE = 20.0

# Where a node's private folders stand in it; each is a folder of the lab's state, so it is readable from outside too.
# ospfd of FRR 10 keeps its sequence numbers under /var/lib/frr.
PRIVATE = {"etc": "/etc/frr", "lib": "/var/lib/frr", "log": "/var/log", "run": "/run"}

_ROUTER_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/igmp_max_memberships": "4096",
}
_HOST_SYSCTLS = {"net/ipv4/igmp_max_memberships": "4096", "net/ipv4/conf/all/rp_filter": "0"}
_COMMON_SYSCTLS = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}


class _Shell(MininetNode):  # type: ignore[misc]
    """A Mininet node whose processes carry the lab's tag."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self._environment = environment
        super().__init__(name, inNamespace=True)

    def _popen(self, cmd: Any, **params: Any) -> Any:
        params.setdefault("env", self._environment)
        return super()._popen(cmd, **params)


class Node:
    """One namespace of the lab and the way into it.

    Everything that must happen inside runs on the node's own thread (`call`, `submit`, `netlink`); processes started
    with `popen` inherit its namespaces. Nothing here appears in the root namespace.
    """

    def __init__(self, spec: plan.Node, folder: Path, environment: dict[str, str]) -> None:
        self.spec = spec
        self.name = spec.name
        self.folder = folder
        self._environment = environment
        self._shell: _Shell | None = None
        self._worker: namespace.Worker | None = None
        self._iproute: IPRoute | None = None
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The process that holds the node's namespaces."""
        assert self._shell is not None, f"node {self.name} is not started"
        return int(self._shell.pid)

    @property
    def mininet(self) -> MininetNode:
        """The Mininet node underneath, for interactive use."""
        assert self._shell is not None, f"node {self.name} is not started"
        return self._shell

    def start(self) -> None:
        """Create the namespaces and the private folders. Raises NodeStartError."""
        for part in PRIVATE:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "run" / "frr").mkdir(exist_ok=True)
        if self.spec.role.is_router:
            _give_to_frr(*(self.folder / part for part in ("etc", "lib", "log", "run/frr")))
        self._worker = namespace.Worker(self.name, lambda: None)
        entered = self._worker.submit(self._enter)
        try:
            entered.result(START_DEADLINE * SCALE)
        except FutureTimeout:
            raise NodeStartError(
                f"node {self.name}: its shell gave no prompt within {START_DEADLINE * SCALE:.0f} s\n"
                "    mnexec needs / to be a mount point (in a chroot: mount --bind DIR DIR first); see testbed doctor"
            ) from None
        except OSError as error:
            raise NodeStartError(f"node {self.name}: {error}") from error

    def _enter(self) -> None:
        """On the node's own thread: own UTS namespace, Mininet's shell in new net and mount ones, then join those."""
        namespace.unshare(namespace.CLONE_FS | namespace.CLONE_NEWUTS)
        namespace.sethostname(self.name)
        self._shell = _Shell(self.name, self._environment)
        namespace.join(self.pid, namespace.CLONE_NEWNET | namespace.CLONE_NEWNS)
        namespace.mount("none", "/", "none", namespace.MS_REC | namespace.MS_PRIVATE)
        for part, place in PRIVATE.items():  # /run last: it hides the folder these come from
            if os.path.isdir(place):
                namespace.mount(str(self.folder / part), place, "none", namespace.MS_BIND)
        sysctls = _ROUTER_SYSCTLS if self.spec.role.is_router else _HOST_SYSCTLS
        for key, value in (_COMMON_SYSCTLS | sysctls).items():
            path = Path("/proc/sys") / key
            if path.exists():
                path.write_text(value)
        self._iproute = IPRoute()
        self._iproute.link("set", index=1, state="up")

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the node's namespaces and wait for it."""
        return self.submit(work).result()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work` for the node's thread."""
        assert self._worker is not None, f"node {self.name} is not started"
        return self._worker.submit(work)

    def netlink(self, work: Callable[[IPRoute], T]) -> T:
        """Run `work` with a route netlink socket of the node. Raises pyroute2's NetlinkError."""
        return self.submit_netlink(work).result()

    def submit_netlink(self, work: Callable[[IPRoute], T]) -> Future[T]:
        """Queue `work` with a route netlink socket of the node."""
        return self.submit(lambda: work(self._iproute))

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = subprocess.DEVNULL,
        cwd: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in the node; it belongs to the lab and dies with it. Raises OSError."""

        def spawn() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd or "/",
                env=self._environment,
                start_new_session=True,  # the terminal's Ctrl-C is for the harness, which then ends us in order
            )

        process = self.call(spawn)
        self.processes.append(process)
        return process

    def run(self, argv: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the node to its end; streams and exit status are kept apart."""
        return self.call(
            lambda: subprocess.run(
                list(argv),
                capture_output=True,
                text=True,
                timeout=timeout,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        )

    def kill(self) -> None:
        """Kill what was started in the node, and its shell; does not wait."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        if self._shell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)

    def close(self) -> None:
        """Reap the processes and leave the namespaces."""
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        if self._worker is not None:
            if self._iproute is not None:
                self._worker.call(self._iproute.close)
            self._worker.close()
        if self._shell is not None:
            self._shell.shell.wait()
            self._shell.cleanup()
            self._shell = None


def _give_to_frr(*folders: Path) -> None:
    """FRR drops its rights to user frr, who must be able to write here."""
    try:
        user, group = pwd.getpwnam("frr").pw_uid, grp.getgrnam("frr").gr_gid
    except KeyError:
        return
    for folder in folders:
        os.chown(folder, user, group)
