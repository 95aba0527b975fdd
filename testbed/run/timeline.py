"""The timeline: faults injected and undone at their times, on the run's clock, each recorded as it happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from testbed.run.faults.board import Board, Record
from testbed.run.faults.resolve import NoTarget, Scene
from testbed.spec.faults import Fault

# How long before its time a fault looks for its target where that depends on the tree, in seconds.
AHEAD = 1.0


class Timeline:
    """Carries faults out, each in a thread of its own from its time on. An error in one ends the timeline and is kept
    in `error`. A fault that has nothing to hit under this scheme is recorded as `fault-skipped`, and in `skipped`."""

    def __init__(self, scene: Scene, faults: Sequence[Fault], record: Record) -> None:
        self._faults, self._record = sorted(faults, key=lambda fault: fault.at), record
        self._board = Board(scene, self._happened)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timeline", daemon=True)
        self._threads: list[threading.Thread] = []
        self._zero = 0.0
        self.last = 0.0
        """When something last happened, on CLOCK_MONOTONIC."""
        self.error: BaseException | None = None
        self.skipped: list[str] = []

    @property
    def touched(self) -> tuple[str, ...]:
        """Links where a fault may have lost packets until now."""
        return tuple(self._board.touched)

    @property
    def resolved(self) -> tuple[Fault, ...]:
        """The faults that came to pass, their targets by names alone: this timeline does the same again."""
        return tuple(self._board.resolved)

    def start(self, zero: float) -> None:
        """Start; `zero` is on CLOCK_MONOTONIC."""
        self._zero = zero
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive() and not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Do nothing more; what is in effect stays (the lab is torn down anyway)."""
        self._stop.set()
        self._board.cancel()
        if self._thread.ident is not None:
            self._thread.join()
        self._board.cancel()
        for thread in self._threads:
            thread.join()

    def _happened(self, t: float, kind: str, detail: dict[str, Any]) -> None:
        self.last = max(self.last, t)
        self._record(t, kind, detail)

    def _run(self) -> None:
        for fault in self._faults:
            ahead = AHEAD if fault.target.most_sites is not None else 0.0
            if self._stop.wait(max(0.0, self._zero + fault.at - ahead - time.monotonic())):
                return
            thread = threading.Thread(target=self._one, args=(fault,), name=f"fault-{fault.action}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, fault: Fault) -> None:
        try:
            found, found_by = self._board.find(fault)
            if self._stop.wait(max(0.0, self._zero + fault.at - time.monotonic())):
                return
            number = self._board.admit(fault, found, found_by, wait=True)
            self._board.go_on(number, self._board.begin(number))
        except NoTarget as error:
            text = f"{fault.action} {fault.target}"
            self.skipped.append(f"{text}: {error}")
            self._record(time.monotonic(), "fault-skipped", {"text": text, "why": str(error)})
        except BaseException as error:  # told to the run, which fails with it
            self.error = error
            self._stop.set()
