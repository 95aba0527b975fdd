"""A lab with a scheme in it, for as long as a `with` lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

import yaml

from testbed.lab.capabilities import frr_version
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.timers import FAST, BfdTimers, Timers
from testbed.schemes import Scheme
from testbed.schemes.base import router_configs
from testbed.spec.topology import Topology

S = TypeVar("S", bound=Scheme)

# On a loaded host BFD at 50 ms would see failures of its own.
PATIENT_BFD = replace(FAST, bfd=BfdTimers(interval=300, multiplier=3))
# No neighbour is thought dead because this machine is busy: what fails here, fails by its carrier.
CARRIER_ONLY = replace(FAST, bfd=None, ospf=replace(FAST.ospf, dead=40))


class SchemeLab(Generic[S]):
    """`hosts` are all but the repository's."""

    def __init__(self, topology: Topology, scheme: S, timers: Timers) -> None:
        self.scheme = scheme
        plan = make_plan(topology)
        self.lab = Lab(plan, router_configs(plan, scheme, timers, frr_version()))
        self.hosts = [node.name for node in plan.hosts if node.name != plan.repository]

    def __enter__(self) -> Self:
        try:
            self.lab.start()
            self.lab.wait_for_igp()
            self.scheme.start(self.lab)
            self.scheme.wait_ready(self.lab)
            self.up()
        except BaseException:
            self.lab.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.stop()

    def up(self) -> None:
        """What else belongs to it."""


def topology(text: str) -> Topology:
    """From YAML."""
    loaded: dict[str, Any] = yaml.safe_load(text)
    return Topology.model_validate(loaded)


# Whatever link between routers fails, each site can still be reached.
SQUARE = topology("""
name: square
defaults:
  link: {rate: 500Mbit, mtu: 9000, cost: 10}
nodes:
  repo: {kind: repository}
  r1: {kind: router}
  s1: {kind: site}
  s2: {kind: site}
  s3: {kind: site}
links:
  - [repo, r1]
  - [r1, s1]
  - [s1, s2]
  - {a: s2, b: s3, cost: 15}
  - [r1, s3]
""")
