"""Who owns what: a tag in every process's environment, and one folder of state a lab.

Every process that a lab starts carries `LLMSYNC_LAB=<lab>:<owner pid>:<owner start time>:<PID namespace>` in its
environment and hands it on to its children. Namespaces, interfaces and mounts live only as long as those processes, so
ending the tagged processes of a lab and removing its folders leaves nothing of it behind. The tag names its owner, so
an orphan (the owner is gone) is told from a running lab even when the lab's folder was lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from testbed.errors import LabError

TAG = "LLMSYNC_LAB"
STATE_ROOT = Path("/run/llmsync-testbed")
_BULK_ROOTS = (Path("/dev/shm"), Path("/var/tmp"))
# Process numbers mean nothing outside their PID namespace, and a container may well share /dev/shm with its host:
# what was made under another PID namespace is not ours to judge, let alone to remove.
_PID_NAMESPACE = Path("/proc/self/ns/pid").stat().st_ino
_BULK_PREFIX = f"llmsync-testbed-{_PID_NAMESPACE:x}-"


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks after boot (with the pid: unique); None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that answers for a lab."""

    pid: int
    started: int
    namespace: int = _PID_NAMESPACE

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    @property
    def is_here(self) -> bool:
        """Whether its process number means anything to us."""
        return self.namespace == _PID_NAMESPACE

    @property
    def tag(self) -> str:
        """How it is written in a lab's tag."""
        return f"{self.pid}:{self.started}:{self.namespace}"

    @classmethod
    def me(cls) -> Owner:
        pid = os.getpid()
        return cls(pid, start_time(pid) or 0)


@dataclass(slots=True)
class LabState:
    """What `lab.json` says of a lab: enough for another process to enter its nodes or end it."""

    lab: str
    owner: Owner
    topology: str
    phase: str = "starting"
    scheme: str = ""
    nodes: dict[str, int] = field(default_factory=dict)
    links: dict[str, dict[str, str]] = field(default_factory=dict)  # the interface at each of its nodes
    created: float = field(default_factory=time.time)


class Registry:
    """The entry of one lab: its id, its tag, its folders."""

    def __init__(self, topology: str, lab: str | None = None) -> None:
        """Claim a new lab id (or exactly `lab`). Raises LabError if that id is taken."""
        self.state = LabState(lab or secrets.token_hex(4), Owner.me(), topology)
        self.folder = STATE_ROOT / self.state.lab
        # Filled first, named afterwards: nobody may see a lab that does not say yet whose it is.
        draft = STATE_ROOT / f".{self.state.lab}-{os.getpid()}"
        while True:
            try:
                draft.mkdir(parents=True, mode=0o755)
                break
            except FileNotFoundError:  # somebody's last lab just took the folder above away
                continue
        final, self.folder = self.folder, draft
        self.save()
        try:
            draft.rename(final)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise LabError(f"a lab named {self.state.lab} exists already; end it with: testbed down") from None
        self.folder = final

    @property
    def environment(self) -> dict[str, str]:
        """The environment for this lab's processes: ours, tagged."""
        return {**os.environ, TAG: f"{self.state.lab}:{self.state.owner.tag}"}

    def bulk(self, root: str) -> Path:
        """A folder for big files under /dev/shm (memory) or /var/tmp (disk), removed with the lab."""
        folder = Path(root) / f"{_BULK_PREFIX}{self.state.lab}"
        folder.mkdir(exist_ok=True, mode=0o755)
        return folder

    def save(self) -> None:
        """Write `lab.json`, whole or not at all."""
        draft = self.folder / "lab.json.new"
        draft.write_text(json.dumps(asdict(self.state), indent=1))
        draft.replace(self.folder / "lab.json")

    def remove(self) -> None:
        """End every process of the lab and remove its folders."""
        end_processes(self.state.lab)
        remove_folders(self.state.lab)


def labs() -> dict[str, LabState | None]:
    """Every lab of which there is a trace, orphaned or running; None where its `lab.json` cannot be read."""
    found: dict[str, LabState | None] = {}
    for folder in STATE_ROOT.iterdir() if STATE_ROOT.is_dir() else ():
        state = _load(folder)
        if state is None or state.owner.is_here:
            found[folder.name] = state
    for root in _BULK_ROOTS:
        for folder in root.glob(f"{_BULK_PREFIX}*"):
            found.setdefault(folder.name.removeprefix(_BULK_PREFIX), None)
    for _, lab, owner in _tagged():
        found.setdefault(lab, LabState(lab, owner, topology="?", phase="lost"))
    return found


def is_running(lab: str, state: LabState | None) -> bool:
    """Whether the process that answers for the lab is alive."""
    if state is not None:
        return state.owner.alive
    return any(owner.alive for _, name, owner in _tagged() if name == lab)


def end_processes(lab: str, deadline: float = 10.0) -> int:
    """Kill every process tagged with `lab` but this one; returns how many. Raises LabError if some will not die.

    A process caught between fork and exec shows its parent's environment, so the search is repeated until it comes
    back empty twice.
    """
    ended: set[int] = set()
    until = time.monotonic() + deadline
    empty = 0
    while empty < 2:
        alive = [pid for pid, name, _ in _tagged() if name == lab]
        empty = 0 if alive else empty + 1
        for pid in alive:
            ended.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if alive and time.monotonic() > until:
            raise LabError(f"processes {alive} of lab {lab} do not end; they may hang in the kernel (see dmesg)")
        if alive:
            time.sleep(0.005)  # the kernel needs a moment to take a killed process down
    return len(ended)


def remove_folders(lab: str) -> None:
    """Remove what the lab kept on disk and in memory."""
    for folder in (STATE_ROOT / lab, *(root / f"{_BULK_PREFIX}{lab}" for root in _BULK_ROOTS)):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        STATE_ROOT.rmdir()  # only when it was the last


def _load(folder: Path) -> LabState | None:
    try:
        raw = json.loads((folder / "lab.json").read_text())
        return LabState(**{**raw, "owner": Owner(**raw["owner"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _tagged() -> list[tuple[int, str, Owner]]:
    """(pid, lab, owner) of every process on this machine that carries a lab's tag, this one left out."""
    key = f"{TAG}=".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(key):
                lab, *numbers = variable[len(key) :].decode(errors="replace").split(":")
                if len(numbers) != 3 or not all(map(str.isdigit, numbers)) or start_time(int(entry.name)) is None:
                    continue
                owner = Owner(*map(int, numbers))
                if owner.is_here:
                    found.append((int(entry.name), lab, owner))
    return found
