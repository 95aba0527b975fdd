"""The timeline: faults injected and undone at their times, on the run's clock, each recorded as it happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.lab.lab import Lab
from testbed.run.faults import ACTIONS

Record = Callable[[float, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do `at` seconds after the run's zero. `undo` is how a fault ends."""

    at: float
    action: str
    link: str
    undo: bool

    def describe(self) -> dict[str, str]:
        return {"action": self.action, "link": self.link}


def steps(faults: Sequence[tuple[float, str, str, float | None]]) -> tuple[Step, ...]:
    """(at, action, link, duration) -> the steps in order; a fault without a duration is never undone."""
    plan = []
    for at, action, link, duration in faults:
        plan.append(Step(at, action, link, undo=False))
        if duration is not None:
            plan.append(Step(at + duration, action, link, undo=True))
    return tuple(sorted(plan, key=lambda s: (s.at, s.undo)))


class Timeline:
    """Carries the steps out in a thread of its own. An error in a step ends the timeline and is kept in `error`."""

    def __init__(self, lab: Lab, plan: Sequence[Step], record: Record) -> None:
        self._lab, self._steps, self._record = lab, plan, record
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timeline", daemon=True)
        self._zero = 0.0
        self.error: BaseException | None = None

    def start(self, zero: float) -> None:
        """Start; `zero` is on CLOCK_MONOTONIC."""
        self._zero = zero
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Do nothing more; what is in effect stays (the lab is torn down anyway)."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for step in self._steps:
                if self._stop.wait(max(0.0, self._zero + step.at - time.monotonic())):
                    return
                action = ACTIONS[step.action]
                # Stamped before: every effect, however quick, comes after its cause.
                t = time.monotonic()
                if step.undo:
                    action.undo(self._lab, step.link)
                else:
                    action.inject(self._lab, step.link)
                self._record(t, "fault-restored" if step.undo else "fault", step.describe())
        except BaseException as error:  # told to the run, which fails with it
            self.error = error
