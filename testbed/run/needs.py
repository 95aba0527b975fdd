"""What a scenario, or a lab by itself, needs of the machine: derived from it, so that nothing is started in vain.

The sizes are what a run cannot do without, and no more: a machine that has them may still be too slow, which the
run's fidelity says, but is not refused. Measured with 20 routers and 8 sites: 0.94 GiB of memory at the peak
with PIM and a model of 2 GiB, 1.03 GiB with BIER and one of 1 GiB, all of the machine's growth taken together, and
15 MiB in /dev/shm. (A starved machine, whose verifier lags behind, has been seen to hold 4.3 GiB there: that the doctor
warns of.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from testbed.lab.capabilities import Capabilities
from testbed.lab.requirements import OLDEST_FRR, Needs
from testbed.plan.timers import Timers, profile
from testbed.plan.types import Plan
from testbed.run.job import destinations
from testbed.run.transports import transport_for
from testbed.schemes import Scheme, make_scheme, router_configs
from testbed.spec.scenario import Scenario
from testbed.spec.types import Impairments
from testbed.transfer.model import BLOCK

# FRR's daemons of one router, and everything that runs once: the harness, senders, monitor, verifier. In bytes.
ROUTER_MEMORY = 32 * 2**20
# A BIER agent and its forwarder, of one router (11.3 and 0.8 MiB were seen).
AGENT_MEMORY = 13 * 2**20
HARNESS_MEMORY = 256 * 2**20
# What is on its way to one destination: the block that arrives, and the one that is being verified. In bytes.
IN_FLIGHT = 2 * BLOCK


def lab_needs(
    plan: Plan, schemes: Sequence[Scheme], timers: Timers, cap: Capabilities, impairments: Impairments | None
) -> Needs:
    """What the plan's lab needs with any of the schemes; nothing is sent in it. `impairments` None: none are made."""
    shapes = [link.shape for link in plan.links.values()]
    agents = any(scheme.underlay.ospf_api for scheme in schemes)
    return Needs(
        daemons=_daemons(plan, schemes, timers, cap),
        shaping=any(shape.rate is not None for shape in shapes),
        netem=impairments == "netem" and any(shape.impaired for shape in shapes),
        multicast_routing=any(scheme.features is not None for scheme in schemes),
        ipv6=any(scheme.underlay.srv6 for scheme in schemes),
        uftp=False,
        memory=HARNESS_MEMORY + (ROUTER_MEMORY + agents * AGENT_MEMORY) * len(plan.routers),
    )


def scenario_needs(scenario: Scenario, plan: Plan, cap: Capabilities, *, impaired: bool, keep: bool) -> Needs:
    """What the runs of a scenario need. `keep`: every run leaves what it delivered in the bundle."""
    schemes = [make_scheme(choice) for choice in scenario.schemes]
    timers = profile(scenario.timers, scenario.detection)
    lab = lab_needs(plan, schemes, timers, cap, scenario.impairments if impaired else None)
    transports = {transport_for(scenario, choice).name for choice in scenario.schemes}
    hosts = {sync.name: len(destinations(plan, sync)) for sync in scenario.syncs}
    shm = 0 if keep else sum(hosts[s.name] * min(s.model.size, IN_FLIGHT) for s in scenario.syncs)
    delivered = sum(hosts[s.name] * s.model.size for s in scenario.syncs)
    return replace(
        lab,
        uftp="uftp" in transports,
        http="http" in transports,
        memory=lab.memory + shm,
        shm=shm,
        disk=sum(sync.model.size for sync in scenario.syncs),
        bundle=delivered * len(schemes) * scenario.repetitions if keep else 0,
    )


def _daemons(plan: Plan, schemes: Sequence[Scheme], timers: Timers, cap: Capabilities) -> tuple[str, ...]:
    """Those that a router is configured for; none where there is no FRR to configure, which is said by itself."""
    version = cap.frr_release
    if version < OLDEST_FRR:
        return ()
    configs = (config for s in schemes for config in router_configs(plan, s, timers, version).values())
    return tuple(dict.fromkeys(daemon for config in configs for daemon in config.daemons))
