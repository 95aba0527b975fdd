"""What a transport is: how one model reaches many hosts reliably, as command lines and as what they left behind.

A transport runs nothing itself. It says which processes to start: those that listen beforehand and those that then
make the bytes move, on whichever side they stand (a sender that pushes, clients that fetch); how to tell that one
listens, where received bytes appear, and what became of each destination. `testbed.transfer.session` does the rest. A
new transport is one file with a class that has the members of `Transport`, and a line in `registry.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from testbed.transfer.manifest import Manifest


class Spawn(Protocol):
    """Starts a command inside a node's namespaces, its output appended to `log`.

    Paths mean the same inside and outside. The process that is returned is the command itself (a wrapper must
    exec it), so that its pid can be looked at in /proc and killed.
    """

    def __call__(self, node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """A host that is to have the model, the site it belongs to, and the address of its interface."""

    host: str
    site: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Delivery:
    """One sync as a transport sees it.

    `rate` is what the source puts on its link, all copies together, in bit/s, link-layer headers counted (Ethernet,
    14 bytes a frame). `block` is the payload of one packet in bytes, `mtu` the IP MTU it has to fit. `patience` is how
    many seconds a destination may make no progress before it is given up. `group` and `source` with `ssm` name the
    (S,G) channel; without a `group` every destination is sent to at its own address.
    """

    sync: str
    model: Path
    manifest: Manifest
    group: IPv4Address | None
    source_host: str
    source: IPv4Address
    ssm: bool
    rate: int
    block: int
    patience: float
    destinations: tuple[Destination, ...]
    port: int = 1044
    mtu: int = 9000
    ttl: int = 64

    @property
    def copies(self) -> int:
        """How often the source sends a byte: once to a group, else once to every destination."""
        return 1 if self.group is not None else max(1, len(self.destinations))


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a delivery keeps things of one host: `work` for lists, logs and status, `data` for what it receives."""

    work: Path
    data: Path


# A host's folder, by its name.
Folders = Callable[[str], Folder]


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start, and what has to be there before: files (path, text) and folders."""

    argv: tuple[str, ...]
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a delivery: what it is called, the host it runs on, and the destinations that depend on it.

    Its output goes to `<name>.log` in its host's work folder.
    """

    name: str
    host: str
    serves: tuple[str, ...]
    command: Command

    def __str__(self) -> str:
        return f"the {self.name} on {self.host}"


@dataclass(frozen=True, slots=True)
class Fate:
    """What a transport says of one destination: it has everything, or why not."""

    complete: bool
    reason: str = ""


class Transport(Protocol):
    """See the module. All methods are pure but for `ready`, which asks the kernel and may tune a listener's sockets,
    and `resume` and `fates`, which read files."""

    @property
    def name(self) -> str: ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The executables it needs."""
        ...

    @property
    def multicast(self) -> bool:
        """Whether it sends to a group; else to each destination by itself."""
        ...

    @property
    def port(self) -> int:
        """Where it listens for a first sync; the next sync has the next port."""
        ...

    @property
    def overhead(self) -> int:
        """Bytes of a packet around its block, IP header included, link-layer header not."""
        ...

    def check(self, delivery: Delivery) -> None:
        """Raise RequestError with every reason why this delivery cannot be made."""
        ...

    def silence(self, delivery: Delivery) -> float:
        """Seconds for which it waits for a mute destination itself, holding up the others if it must."""
        ...

    def listeners(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        """The passive processes. They are ready before the delivery's time starts, and run until its end."""
        ...

    def ready(self, delivery: Delivery, pid: int) -> bool:
        """Whether the listener with this pid can be sent to."""
        ...

    def movers(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        """The active processes: what starts with the delivery's time, and ends when it has done its part."""
        ...

    def resume(
        self, delivery: Delivery, folders: Folders, mover: Process, attempt: int, status: int
    ) -> Process | None:
        """What takes up again where `mover` ended with exit status `status` (negative: killed by that signal).

        `attempt` counts from 1. None: it cannot be taken up.
        """
        ...

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        """Glob patterns of the paths where a destination may keep `file` while it arrives and afterwards."""
        ...

    def marker(self, folder: Folder) -> Path:
        """A file of the destination's that grows whenever it has finished one of the model's files."""
        ...

    def fates(self, delivery: Delivery, folders: Folders) -> dict[str, Fate]:
        """By host, what the transport's own records say after all attempts so far. No record: no entry."""
        ...
