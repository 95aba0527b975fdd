"""No multicast at all: the source sends each destination a copy of its own, by the IGP's routes. The baseline."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from testbed.lab.fib import unicast_tree
from testbed.lab.lab import Lab
from testbed.lab.messages import Reading
from testbed.plan.frr import PimFeatures, Underlay
from testbed.plan.paths import DirectedLink
from testbed.schemes.base import Flow, SchemeEvent, refuse_options
from testbed.spec.scenario import OptionValue


class Unicast:
    """Nothing runs beside the IGP: once that stands, all does, and there is neither state nor a message of its own."""

    name = "unicast"
    features: PimFeatures | None = None
    underlay = Underlay()
    multicast = False
    stages: tuple[str, ...] = ()

    def __init__(self, options: dict[str, OptionValue]) -> None:
        refuse_options(self.name, options)

    def flow(self, number: int) -> Flow:
        return Flow(number)

    def start(self, lab: Lab) -> None:
        """There is nothing to start."""

    def wait_ready(self, lab: Lab) -> None:
        """The IGP is waited for before: every router has a route to everywhere."""

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        """Hosts have addresses, and that is all."""

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        return unicast_tree(lab, [lab.plan.nodes[host].interfaces[0].address.ip for host in hosts])

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return ()

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        return {}

    def control(self, lab: Lab) -> Reading:
        return {}
