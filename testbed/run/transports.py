"""Which transport goes over which scheme: one that sends to a group needs a scheme that carries groups."""

from __future__ import annotations

from testbed.schemes import SCHEMES
from testbed.spec.scenario import Scenario, SchemeChoice
from testbed.transfer.base import Transport
from testbed.transfer.registry import TRANSPORTS, transport


def carried() -> dict[str, tuple[str, ...]]:
    """By scheme, the transports that it can carry, its usual one first."""
    return {
        name: tuple(t.name for t in TRANSPORTS.values() if t.multicast == scheme.multicast)
        for name, scheme in SCHEMES.items()
    }


def transport_for(scenario: Scenario, scheme: SchemeChoice) -> Transport:
    """The transport that the scenario names, or else the scheme's usual one. Raises RequestError for an unknown one."""
    return transport(scenario.transport.name or carried()[scheme.name][0])
