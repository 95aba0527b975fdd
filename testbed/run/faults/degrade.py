"""A link that is worse than it was built."""

from __future__ import annotations

from pydantic import model_validator

from testbed.lab.lab import Lab
from testbed.run.faults.base import Action, Strike
from testbed.run.faults.direction import sender
from testbed.spec.types import Duration, Name, Rate, Ratio, Spec


class Degradation(Spec):
    """What is given, changes; the rest stays as the topology has it. `towards`: in that direction only."""

    rate: Rate | None = None
    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Ratio | None = None
    towards: Name | None = None

    @model_validator(mode="after")
    def _something(self) -> Degradation:
        if self.rate is self.delay is self.jitter is self.loss is None:
            raise ValueError("say what gets worse: at least one of rate, delay, jitter, loss")
        return self


class Degrade(Action[Degradation]):
    """Another rate, delay, jitter or loss, in both directions or towards one end."""

    name = "degrade"
    takes = frozenset({"link"})
    parameters = Degradation

    def impairs(self, parameters: Degradation) -> bool:
        return not (parameters.delay is parameters.jitter is parameters.loss is None)

    def inject(self, lab: Lab, strike: Strike[Degradation]) -> None:
        asked = strike.parameters
        for link in strike.links:
            lab.reshape(
                link,
                rate=asked.rate,
                delay=asked.delay,
                jitter=asked.jitter,
                loss=asked.loss,
                direction=sender(lab.plan, link, asked.towards) if asked.towards else None,
            )

    def undo(self, lab: Lab, strike: Strike[Degradation]) -> None:
        for link in strike.links:
            lab.restore_shape(link)
