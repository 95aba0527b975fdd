"""One delivery, carried out: receivers, verifier and sender started, followed, ended, and judged.

    session = Session(delivery, transport, spawn, work, bulk)
    with session:                       # stop() at the end, whatever happens
        session.prepare()               # receivers listen (by their state), the verifier watches
        t0 = session.start()
        while not session.wait(0.2): show(session.progress())
    results = session.results()

Times count from t0, the moment before the sender is started: joining is over by then, starting the sender is not.
A destination's delivery time ends when its last block was found and proved right; a block counts from the poll that
found it, so times are late by at most the verifier's poll (20 ms) and the receiver's own write buffer.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from testbed.errors import TransferError
from testbed.record import SiteResult
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Spawn, Transport
from testbed.transfer.manifest import NAME
from testbed.transfer.outcome import State, site_result
from testbed.transfer.processes import end, status_text, tail
from testbed.transfer.receipt import Shortfall
from testbed.transfer.sink import Config, Watch
from testbed.transfer.verifier import Line, Verifier

# What happened, as it is heard of: time (CLOCK_MONOTONIC), kind, host ("" for the sender), detail. Kinds:
# sync-start, first-byte, delivered, corrupt, resumed. Called from the session's threads.
Notify = Callable[[float, str, str, dict[str, Any]], None]

_TICK = 0.02
_GRACE = 1.0


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
        self._receivers: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: dict[str, str] = {}
        self._sender: subprocess.Popen[bytes] | None = None
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
        """Where a destination's files are."""
        return Folder(self._work / host, self._bulk / host / self.delivery.sync)

    def prepare(self, timeout: float = 20.0) -> None:
        """Start the verifier and the receivers; return when all are ready.

        Raises RequestError (the delivery cannot be made), TransferError (a process died or is not ready in time).
        """
        self.transport.check(self.delivery)
        deadline = time.monotonic() + timeout
        hosts = [d.host for d in self.delivery.destinations]
        self._sender_folder.work.mkdir(parents=True, exist_ok=True)
        for host in hosts:
            shutil.rmtree(self.folder(host).data, ignore_errors=True)
        self._verifier = Verifier(self._watches(), self._work, self._hear)
        for destination in self.delivery.destinations:
            folder = self.folder(destination.host)
            command = self.transport.receiver(self.delivery, destination, folder)
            self._receivers[destination.host] = self._run(destination.host, command, folder.work / "receiver.log")
        waiting = dict(self._receivers)
        while waiting:
            for host, process in tuple(waiting.items()):
                if process.poll() is not None:
                    raise TransferError(self._death(host, process))
                if self.transport.ready(self.delivery, process.pid):
                    del waiting[host]
            if waiting and time.monotonic() > deadline:
                group = self.delivery.group
                raise TransferError(f"receivers not listening on {group} after {timeout:g} s: {', '.join(waiting)}")
            if waiting:
                self._stopping.wait(_TICK / 4)
        self._verifier.wait_ready(max(0.1, deadline - time.monotonic()))

    def start(self) -> float:
        """Start sending; return t0. Raises OSError."""
        with self._lock:
            self._zero = time.monotonic()
            for state in self._states.values():
                state.moved = self._zero
        self._notify(self._zero, "sync-start", "", {"sync": self.delivery.sync})
        self._send(0)
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
        end([p for p in (self._sender, *self._receivers.values()) if p is not None])
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
                    self._deaths.get(destination.host, self._trouble),
                    self._zero,
                )
                for destination in self.delivery.destinations
            ]

    # -- starting ------------------------------------------------------------------------------------------

    @property
    def _sender_folder(self) -> Folder:
        return Folder(self._work / "sender", self.delivery.model)

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

    def _run(self, node: str, command: Command, log: Path) -> subprocess.Popen[bytes]:
        for folder in (log.parent, *command.folders, *(path.parent for path in command.files)):
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in command.files.items():
            path.write_text(text)
        return self._spawn(node, command.argv, log=log)

    def _send(self, attempt: int) -> None:
        command = self.transport.sender(self.delivery, self._sender_folder, attempt)
        self._sender = self._run(self.delivery.source_host, command, self._sender_folder.work / "sender.log")

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
        """Follow the sender; take up again what it left, as long as patience lasts; then have it all summed up."""
        try:
            attempt, after = 0, self._zero
            while self._follow(after) and self._again():
                after = after if attempt else time.monotonic()
                attempt += 1
                if not self._unfinished(after):
                    break
                self._notify(time.monotonic(), "resumed", "", {"sync": self.delivery.sync, "attempt": attempt})
                self._send(attempt)
        except Exception as error:  # whatever it was, the results must be told
            self._trouble = f"the session failed: {error}"
        finally:
            self._conclude()

    def _follow(self, after: float) -> bool:
        """Wait for the sender's end; False when the session is to end instead of being taken up again."""
        assert self._sender is not None
        assert self._verifier is not None
        while self._sender.poll() is None and not self._stopping.wait(_TICK):
            self._note_deaths()
            if self._verifier.failure:
                self._trouble = self._verifier.failure
                return False
            if not self._unfinished(after) and not self._all_finished():
                self._trouble = f"given up after {self.delivery.patience:g} s without progress"
                return False
        if self._stopping.is_set():
            self._trouble = "stopped before the end"
            return False
        return True

    def _again(self) -> bool:
        self._fates = self.transport.fates(self.delivery, self._sender_folder)
        sender = self._sender
        if not self._fates and sender is not None:
            log = tail(self._sender_folder.work / "sender.log")
            self._trouble = f"the sender {status_text(sender.returncode)}: {log}"
            return False
        behind = [h for h, state in self._states.items() if state.finished is None and h not in self._deaths]
        lost = [host for host in behind if not self._fates.get(host, Fate(False)).complete]
        return bool(lost) and self.transport.resumable(self.delivery, self._sender_folder)

    def _unfinished(self, after: float) -> list[str]:
        """Destinations that may still get there: alive, and not silent for longer than the patience.

        Silence counts from `after` at the earliest. On top comes what is not a destination's own fault: the sender's
        wait for a mute one, and the time of a block, by which progress is seen.
        """
        now, block = time.monotonic(), 8 * self.delivery.manifest.block / self.delivery.rate
        limit = self.delivery.patience + self.transport.silence(self.delivery) + 2 * block + _GRACE
        with self._lock:
            return [
                host
                for host, state in self._states.items()
                if state.finished is None and host not in self._deaths and now - max(state.moved, after) <= limit
            ]

    def _all_finished(self) -> bool:
        with self._lock:
            return all(state.finished is not None for state in self._states.values())

    def _note_deaths(self) -> None:
        for host, process in self._receivers.items():
            if host not in self._deaths and process.poll() is not None and not self._stopping.is_set():
                self._deaths[host] = self._death(host, process)

    def _death(self, host: str, process: subprocess.Popen[bytes]) -> str:
        log = tail(self.folder(host).work / "receiver.log")
        return f"the receiver on {host} {status_text(process.returncode)}" + (f": {log}" if log else "")

    def _conclude(self) -> None:
        try:
            if self._sender is not None:
                end([self._sender])
            if self._verifier is not None:
                self._verifier.finish(1.0 if self._stopping.is_set() else 10.0)
            self._fates = self.transport.fates(self.delivery, self._sender_folder)
        finally:
            self._over.set()
