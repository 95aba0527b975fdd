"""One delivery, carried out: listeners, verifier and movers started, followed, ended, and judged.

    session = Session(delivery, transport, spawn, work, bulk)
    with session:                       # stop() at the end, whatever happens
        session.prepare()               # watch() and listen(): the verifier watches, the listeners are ready
        t0 = session.start()
        while not session.wait(0.2): show(session.progress())
    results = session.results()

Times count from t0, the moment before the movers are started: joining is over by then, starting the movers is not.
A destination's delivery time ends when its last block was found and proved right; a block counts from the poll that
found it, so times are late by at most the verifier's poll (20 ms) and the receiver's own write buffer.

Where joining is to count, too: watch() beforehand; then listen(), and start(since) with the moment from which on.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from testbed.errors import TransferError
from testbed.lab.waiting import SCALE
from testbed.record import SiteResult
from testbed.transfer.base import Delivery, Destination, Fate, Folder, Process, Spawn, Transport
from testbed.transfer.manifest import NAME
from testbed.transfer.outcome import State, site_result
from testbed.transfer.processes import end, status_text, tail
from testbed.transfer.receipt import Shortfall
from testbed.transfer.sink import Config, Watch
from testbed.transfer.verifier import Line, Verifier

# What happened, as it is heard of: time (CLOCK_MONOTONIC), kind, host ("": not one destination's), detail. Kinds:
# sync-start, first-byte, delivered, corrupt, resumed. Called from the session's threads.
Notify = Callable[[float, str, str, dict[str, Any]], None]

READY = 60.0 * SCALE  # seconds for processes to be ready: many syncs start theirs at once
_TICK = 0.02
_GRACE = 1.0
_PACE = 1.0  # an attempt that failed is followed by the next no sooner than this after its own start


@dataclass(slots=True)
class _Mover:
    """A mover while it lasts; times are CLOCK_MONOTONIC. `after`: its destinations' silence counts from here at the
    earliest."""

    process: Process
    running: subprocess.Popen[bytes]
    started: float
    after: float
    attempt: int = 0


class Session:
    """See the module. `prepare`, `start`, `wait`, `stop` are for one thread; `progress` is for any."""

    def __init__(
        self,
        delivery: Delivery,
        transport: Transport,
        spawn: Spawn,
        work: Path,
        bulk: Path,
        *,
        keep: bool = False,
        notify: Notify | None = None,
    ) -> None:
        """`work` gets lists, logs and status files; `bulk` (on tmpfs) what is received, in `<host>/<sync>/`.

        `keep`: received files stay there after `stop`; otherwise their memory is freed as they are verified.
        """
        self.delivery, self.transport, self.keep = delivery, transport, keep
        self._spawn, self._work, self._bulk = spawn, work / delivery.sync, bulk
        self._notify = notify or (lambda t, kind, host, detail: None)
        self._lock = Lock()
        self._states = {d.host: State() for d in delivery.destinations}
        self._fates: dict[str, Fate] = {}
        self._listeners: list[tuple[Process, subprocess.Popen[bytes]]] = []
        self._movers: list[_Mover] = []
        self._lost: dict[str, str] = {}  # destinations that nothing more will reach, and why
        self._verifier: Verifier | None = None
        self._driver: Thread | None = None
        self._zero = 0.0
        self._trouble = ""
        self._stopping, self._over, self._stopped = Event(), Event(), False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def folder(self, host: str) -> Folder:
        """Where a host's files are."""
        return Folder(self._work / host, self._bulk / host / self.delivery.sync)

    def prepare(self, timeout: float = READY) -> None:
        """Start the verifier and the listeners; return when all are ready.

        Raises RequestError (the delivery cannot be made), TransferError (a process died or is not ready in time).
        """
        self.watch()
        self.listen(timeout)

    def watch(self) -> None:
        """Start the verifier: what needs no network, and makes nobody join. Raises RequestError, OSError."""
        self.transport.check(self.delivery)
        for destination in self.delivery.destinations:
            shutil.rmtree(self.folder(destination.host).data, ignore_errors=True)
        self._work.mkdir(parents=True, exist_ok=True)
        self._verifier = Verifier(self._watches(), self._work, self._hear)

    def listen(self, timeout: float = READY) -> None:
        """Start the listeners; return when all are ready, and so is the verifier. Raises TransferError."""
        assert self._verifier is not None
        deadline = time.monotonic() + timeout
        for process in self.transport.listeners(self.delivery, self.folder):
            self._listeners.append((process, self._run(process)))
        waiting = list(self._listeners)
        while waiting:
            for process, running in tuple(waiting):
                if running.poll() is not None:
                    raise TransferError(self._ending(process, running))
                if self.transport.ready(self.delivery, running.pid):
                    waiting.remove((process, running))
            if waiting and time.monotonic() > deadline:
                raise TransferError(f"not listening after {timeout:g} s: {', '.join(str(p) for p, _ in waiting)}")
            if waiting:
                self._stopping.wait(_TICK / 4)
        self._verifier.wait_ready(max(0.1, deadline - time.monotonic()))

    def start(self, since: float | None = None) -> float:
        """Start the movers; return t0, which is now or a moment before that times shall count from (CLOCK_MONOTONIC).
        Raises OSError."""
        now = time.monotonic()
        with self._lock:
            self._zero = now if since is None else since
            for state in self._states.values():
                state.moved = now
        self._notify(self._zero, "sync-start", "", {"sync": self.delivery.sync, "transport": self.transport.name})
        for process in self.transport.movers(self.delivery, self.folder):
            self._movers.append(_Mover(process, self._run(process), time.monotonic(), now))
        self._driver = Thread(target=self._drive, name=f"sync-{self.delivery.sync}", daemon=True)
        self._driver.start()
        return self._zero

    def progress(self) -> dict[str, int]:
        """Verified bytes by host, at most a fraction of a second old."""
        with self._lock:
            return {host: state.verified for host, state in self._states.items()}

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the transfer is over for every destination, well or not. False: not yet."""
        return self._over.wait(timeout)

    def stop(self) -> None:
        """End everything this session started; what was measured stays. Takes well under a second or two."""
        if self._stopped:
            return
        self._stopped = True
        self._stopping.set()
        end([*(mover.running for mover in self._movers), *(running for _, running in self._listeners)])
        if self._driver is not None:
            self._driver.join()
        elif self._verifier is not None:
            self._verifier.finish(1.0)
        if not self.keep:
            for host in self._states:
                shutil.rmtree(self.folder(host).data, ignore_errors=True)

    def results(self) -> list[SiteResult]:
        """What became of each destination (no probes in it). Complete once `wait` was true or `stop` was called."""
        with self._lock:
            return [
                site_result(
                    self.delivery,
                    destination,
                    self._states[destination.host],
                    self._fates.get(destination.host),
                    self._lost.get(destination.host, self._trouble),
                    self._zero,
                )
                for destination in self.delivery.destinations
            ]

    # -- starting ------------------------------------------------------------------------------------------

    def _watches(self) -> Config:
        return Config(
            manifest=str(self.delivery.model / NAME),
            watches=tuple(self._watch(destination) for destination in self.delivery.destinations),
            keep=self.keep,
        )

    def _watch(self, destination: Destination) -> Watch:
        folder = self.folder(destination.host)
        names = [file.name for file in self.delivery.manifest.files]
        places = tuple(self.transport.places(self.delivery, folder, name) for name in names)
        return Watch(destination.host, places, str(self.transport.marker(folder)))

    def _run(self, process: Process) -> subprocess.Popen[bytes]:
        command, log = process.command, self._log(process)
        for folder in (log.parent, *command.folders, *(path.parent for path in command.files)):
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in command.files.items():
            path.write_text(text)
        return self._spawn(process.host, command.argv, log=log)

    def _log(self, process: Process) -> Path:
        return self.folder(process.host).work / f"{process.name}.log"

    # -- following -----------------------------------------------------------------------------------------

    def _hear(self, line: Line) -> None:
        t, host, kind = line["t"], line["host"], line["kind"]
        with self._lock:
            state = self._states[host]
            if line.get("verified", 0) > state.verified:
                state.verified, state.moved = line["verified"], t
            if kind == "first-byte":
                state.first_byte = t
            elif kind == "done":
                state.finished = t
            elif kind == "summary":
                state.first_byte, state.finished = line["first_byte"], line["finished"]
                state.curve = [(at, size) for at, size in line["curve"]]
                state.shortfalls = [Shortfall(s["file"], s["missing"], tuple(s["wrong"])) for s in line["shortfalls"]]
        if kind == "first-byte":
            self._notify(t, kind, host, {"sync": self.delivery.sync})
        elif kind == "done":
            self._notify(t, "delivered", host, {"sync": self.delivery.sync, "bytes": line["verified"]})
        elif kind == "corrupt":
            self._notify(t, kind, host, {"file": line["file"], "block": line["block"]})

    def _drive(self) -> None:
        """Follow the movers until each has ended for good; then have it all summed up."""
        assert self._verifier is not None
        mine = list(self._movers)
        try:
            while mine and not self._stopping.wait(_TICK):
                self._note_deaths()
                if self._verifier.failure:
                    self._trouble = self._verifier.failure
                    break
                mine = [mover for mover in mine if self._follow(mover)]
            if self._stopping.is_set():
                self._trouble = "stopped before the end"
        except Exception as error:  # whatever it was, the results must be told
            self._trouble = f"the session failed: {error}"
        finally:
            self._conclude()

    def _follow(self, mover: _Mover) -> bool:
        """Look after a mover; take up again what it left, as long as patience lasts. False when it is over."""
        hosts = mover.process.serves
        if mover.running.poll() is None:
            if self._hopeful(mover) or self._finished(hosts):
                return True
            self._lose(hosts, f"given up after {self.delivery.patience:g} s without progress")
            end([mover.running])
            return False
        self._fates |= self.transport.fates(self.delivery, self.folder)
        heir = self._heir(mover)
        if heir is None:
            if mover.running.returncode < 0 or not self._fates.keys() & set(hosts):
                self._lose(hosts, self._ending(mover.process, mover.running))
            return False
        now = time.monotonic()
        mover.after = mover.after if mover.attempt else now
        if not self._hopeful(mover):
            return False
        if now >= mover.started + _PACE:
            mover.attempt += 1
            whose = hosts[0] if len(hosts) == 1 else ""
            self._notify(now, "resumed", whose, {"sync": self.delivery.sync, "attempt": mover.attempt})
            mover.process, mover.running, mover.started = heir, self._run(heir), now
        return True

    def _heir(self, mover: _Mover) -> Process | None:
        """What is to take up again where a mover ended; None if nothing can, or need."""
        behind = [
            host
            for host in mover.process.serves
            if host not in self._lost and not self._finished([host]) and not self._fates.get(host, Fate(False)).complete
        ]
        if not behind:
            return None
        status = mover.running.returncode
        return self.transport.resume(self.delivery, self.folder, mover.process, mover.attempt + 1, status)

    def _hopeful(self, mover: _Mover) -> bool:
        """Whether a mover has destinations that may still get there: not lost, nor silent for longer than the patience.

        On top of the patience comes what is not a destination's own fault: the transport's wait for a mute one, and
        the time of a block, by which progress is seen.
        """
        delivery = self.delivery
        block = 8 * delivery.manifest.block * delivery.copies / delivery.rate
        limit = delivery.patience + self.transport.silence(delivery) + 2 * block + _GRACE
        now = time.monotonic()
        with self._lock:
            states = [(host, self._states[host]) for host in mover.process.serves]
            return any(
                state.finished is None and host not in self._lost and now - max(state.moved, mover.after) <= limit
                for host, state in states
            )

    def _finished(self, hosts: Iterable[str]) -> bool:
        with self._lock:
            return all(self._states[host].finished is not None for host in hosts)

    def _note_deaths(self) -> None:
        for process, running in self._listeners:
            if running.poll() is not None:
                self._lose(process.serves, self._ending(process, running))

    def _lose(self, hosts: Iterable[str], why: str) -> None:
        if not self._stopping.is_set():  # else it may be ourselves who ended a process
            for host in hosts:
                self._lost.setdefault(host, why)

    def _ending(self, process: Process, running: subprocess.Popen[bytes]) -> str:
        log = tail(self._log(process))
        return f"{process} {status_text(running.returncode)}" + (f": {log}" if log else "")

    def _conclude(self) -> None:
        try:
            end([mover.running for mover in self._movers])
            if self._verifier is not None:
                self._verifier.finish(1.0 if self._stopping.is_set() else 10.0)
            self._fates = self.transport.fates(self.delivery, self.folder)
        finally:
            self._over.set()
