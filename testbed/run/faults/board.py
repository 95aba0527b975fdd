"""The faults of a lab while they last: no two on one target, each recorded as it happens, each undone once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import TestbedError
from testbed.run.faults import ACTIONS
from testbed.run.faults.base import Beat, Strike
from testbed.run.faults.resolve import NoTarget, Scene, resolve
from testbed.spec.check_faults import claimed
from testbed.spec.fault_claims import Claim
from testbed.spec.faults import Fault

Record = Callable[[float, str, dict[str, Any]], None]


@dataclass(slots=True)
class _Course:
    """A fault from its beginning to its end."""

    strike: Strike[Any]
    claim: Claim
    ends: bool  # by itself
    since: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while something is done to the lab


class Board:
    """Carries faults out, for a timeline or for somebody at the keyboard. Called from several threads.

    `record(t, kind, detail)` hears of each fault and its end; `t` is CLOCK_MONOTONIC just before it was made, so that
    every effect, however quick, comes after its cause.
    """

    def __init__(self, scene: Scene, record: Record) -> None:
        self._scene, self._record = scene, record
        self._changed = threading.Condition()
        self._courses: dict[int, _Course] = {}
        self._count = 0
        self._closed = False
        self.touched: dict[str, None] = {}  # links where a fault may have lost packets, in order
        self.resolved: list[Fault] = []  # what came to pass, by names alone

    def find(self, fault: Fault) -> tuple[Fault, str]:
        """The fault with its target by names alone, and how that was found. Raises NoTarget, RequestError."""
        target, found_by = resolve(self._scene, fault)
        return fault.model_copy(update={"target": target}), found_by

    def admit(self, asked: Fault, found: Fault, found_by: str = "", *, wait: bool = False) -> int:
        """Claim the target and give the fault its number. One that is under another fault is waited for with `wait`,
        if that ends by itself. Raises NoTarget."""
        action = ACTIONS[found.action]
        parameters = action.parameters.model_validate(found.parameters)
        claim = claimed(found, self._scene.lab.plan.topology, ACTIONS)
        with self._changed:
            while other := next((c for c in self._courses.values() if c.claim.shared(claim)), None):
                if self._closed:
                    raise NoTarget("faults are over")
                if not wait or not other.ends:
                    shared, name = claim.shared(other.claim), other.strike.fault.action
                    raise NoTarget(f"{shared} is under fault {other.strike.id} ({name}) already; undo that first")
                self._changed.wait()
            self._count += 1
            target = found.target
            strike = Strike(
                self._count,
                asked,
                parameters,
                links=target.link_names,
                nodes=target.node_names,
                daemon=target.daemon.name if target.daemon else "",
                found_by=found_by,
            )
            ends = action.length(parameters, found.duration) is not None
            self._courses[strike.id] = _Course(strike, claim, ends, since=time.monotonic())
            self.touched |= dict.fromkeys(action.touches(self._scene.lab.plan, strike))
            self.resolved.append(found)
        return strike.id

    def begin(self, number: int) -> tuple[Beat, ...]:
        """Do the first thing that the fault does, and return what is still to come. Raises TestbedError after undoing
        what was done."""
        course = self._courses[number]
        action = ACTIONS[course.strike.fault.action]
        first, *rest = action.beats(course.strike.parameters, course.strike.fault.duration)
        try:
            with course.lock:
                course.since = time.monotonic()
                self._do(course, first)
        except BaseException:
            with suppress(TestbedError, OSError):
                action.undo(self._scene.lab, course.strike)
            self._release(number)
            raise
        return tuple(rest)

    def go_on(self, number: int, beats: tuple[Beat, ...]) -> None:
        """Do what is still to come, each thing at its time, until the fault is over or cancelled. Raises LabError."""
        course = self._courses.get(number)
        if course is None:  # undone already
            return
        for beat in beats:
            if course.cancelled.wait(max(0.0, course.since + beat.after - time.monotonic())):
                return
            with course.lock:
                if course.cancelled.is_set():
                    return
                self._do(course, beat)
        if course.ends:
            with course.lock:
                self._release(number)

    def undo(self, number: int) -> dict[str, Any]:
        """End a fault now; what it was. Raises NoTarget, LabError."""
        course = self._courses.get(number)
        if course is None:
            raise NoTarget(f"no fault {number} is in effect; in effect: {', '.join(map(str, self._courses)) or 'none'}")
        course.cancelled.set()
        with course.lock:
            if number not in self._courses:
                raise NoTarget(f"fault {number} has just ended by itself")
            self._do(course, Beat(0.0, "fault-restored", ACTIONS[course.strike.fault.action].undo))
            self._release(number)
        return detail(course.strike)

    def cancel(self) -> None:
        """Do nothing more; what is in effect stays."""
        with self._changed:
            self._closed = True
            for course in self._courses.values():
                course.cancelled.set()
            self._changed.notify_all()

    def in_effect(self) -> list[dict[str, Any]]:
        """What lasts, in order; `since`, CLOCK_MONOTONIC seconds, and `duration`, None: until it is undone."""
        with self._changed:
            courses = list(self._courses.values())
        return [
            {**detail(course.strike), "since": course.since, "duration": course.strike.fault.duration}
            for course in courses
        ]

    def _do(self, course: _Course, beat: Beat) -> None:
        t, strike = time.monotonic(), course.strike
        beat.do(self._scene.lab, strike)
        holds = beat.kind == "fault" if beat.holds is None else beat.holds
        without = ACTIONS[strike.fault.action].without(self._scene.lab.plan, strike) if holds else ()
        self._record(t, beat.kind, {**detail(strike, beat.step), "without": list(without)})

    def _release(self, number: int) -> None:
        with self._changed:
            self._courses.pop(number, None)
            self._changed.notify_all()


def detail(strike: Strike[Any], step: str = "") -> dict[str, Any]:
    """A fault in an event. `target` as it was asked for, `links`, `nodes` and `daemon` as it was found; `text` is the
    fault in words."""
    what = f"{strike.daemon} of {', '.join(strike.nodes)}" if strike.daemon else ", ".join(strike.links or strike.nodes)
    said: dict[str, Any] = {
        "id": strike.id,
        "action": strike.fault.action,
        "text": f"{strike.fault.action} {what}" + (f" ({step})" if step else ""),
        "target": str(strike.fault.target),
        "links": list(strike.links),
        "nodes": list(strike.nodes),
        "parameters": strike.parameters.model_dump(mode="json", exclude_none=True),
    }
    optional = {"daemon": strike.daemon, "found_by": strike.found_by, "step": step}
    return said | {key: value for key, value in optional.items() if value}
