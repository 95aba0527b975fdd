"""What a transport is: how one model reaches many hosts reliably, as command lines and as what they left behind.

A transport runs nothing itself. It says which processes to start (`Command`), how to tell that a receiver listens,
where received bytes appear, and what became of each destination; `testbed.transfer.session` does the rest. A new
transport is one file with a class that has the members of `Transport`, and a line in `registry.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
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

    `rate` is what the sender puts on its link, in bit/s, link-layer headers counted (Ethernet, 14 bytes a frame).
    `block` is the payload of one packet in bytes, `mtu` the IP MTU it has to fit. `patience` is how many seconds a
    destination may make no progress before it is given up. `group` and `source` with `ssm` name the (S,G) channel.
    """

    sync: str
    model: Path
    manifest: Manifest
    group: IPv4Address
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


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one process of a delivery keeps things: `work` for lists, logs and status, `data` for what it receives."""

    work: Path
    data: Path


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start, and what has to be there before: files (path, text) and folders."""

    argv: tuple[str, ...]
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Fate:
    """What a transport says of one destination: it has everything, or why not."""

    complete: bool
    reason: str = ""


class Transport(Protocol):
    """See the module. All methods are pure but for `ready` and `fates`, which read files."""

    @property
    def name(self) -> str: ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The executables it needs."""
        ...

    @property
    def overhead(self) -> int:
        """Bytes of a packet around its block, IP header included, link-layer header not."""
        ...

    @property
    def max_block(self) -> int:
        """The largest block it can send, whatever the MTU."""
        ...

    def check(self, delivery: Delivery) -> None:
        """Raise RequestError with every reason why this delivery cannot be made."""
        ...

    def silence(self, delivery: Delivery) -> float:
        """Seconds for which the sender itself waits for a mute destination, holding up the others if it must."""
        ...

    def receiver(self, delivery: Delivery, destination: Destination, folder: Folder) -> Command: ...

    def ready(self, delivery: Delivery, pid: int) -> bool:
        """Whether the receiver with this pid has its socket bound and is a member of the group."""
        ...

    def sender(self, delivery: Delivery, folder: Folder, attempt: int) -> Command:
        """The sending process. `attempt` counts from 0; a later one resumes for the destinations not yet served."""
        ...

    def resumable(self, delivery: Delivery, folder: Folder) -> bool:
        """Whether another attempt can take up where the last one ended."""
        ...

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        """Glob patterns of the paths where a receiver may keep `file` while it arrives and afterwards."""
        ...

    def marker(self, folder: Folder) -> Path:
        """A file of the receiver that grows whenever it has finished one of the model's files."""
        ...

    def fates(self, delivery: Delivery, folder: Folder) -> dict[str, Fate]:
        """By host, what the sender's own records say after all attempts so far. No record: no entry."""
        ...
