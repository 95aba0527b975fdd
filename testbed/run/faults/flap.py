"""A link that goes and comes, again and again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from testbed.lab.lab import Lab
from testbed.plan.types import Plan
from testbed.run.faults.base import Action, Beat, Strike
from testbed.spec.types import Duration, Spec


class Flaps(Spec):
    """`count` times down for `down` of every `period`, which begins with it."""

    period: Annotated[Duration, Field(gt=0)] = 1.0
    count: Annotated[int, Field(ge=1, le=1000)] = 3
    down: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Flap(Action[Flaps]):
    """Cuts at regular intervals. How long it lasts follows from its parameters."""

    name = "flap"
    takes = frozenset({"link"})
    parameters = Flaps

    def inject(self, lab: Lab, strike: Strike[Flaps]) -> None:
        lab.cut(*strike.links)

    def without(self, plan: Plan, strike: Strike[Flaps]) -> tuple[str, ...]:
        return strike.links

    def undo(self, lab: Lab, strike: Strike[Flaps]) -> None:
        lab.restore(*strike.links)

    def length(self, parameters: Flaps, duration: float | None) -> float:
        if duration is not None:
            raise ValueError("a flap lasts count x period: it has no duration besides")
        return parameters.period * (parameters.count - 1 + parameters.down)

    def beats(self, parameters: Flaps, duration: float | None) -> tuple[Beat, ...]:
        beats = []
        for number in range(parameters.count):
            start = number * parameters.period
            beats.append(Beat(start, "fault", self.inject))
            beats.append(Beat(start + parameters.down * parameters.period, "fault-restored", self.undo))
        return tuple(beats)
