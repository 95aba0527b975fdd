"""What the runs of a scenario have in common, and what follows from it for a transfer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from testbed.plan.paths import bottleneck_rate
from testbed.plan.types import Plan
from testbed.schemes import Flow
from testbed.spec.limits import ENCAPSULATION_ROOM
from testbed.spec.scenario import Scenario, Sync
from testbed.transfer.base import Delivery, Destination
from testbed.transfer.manifest import Manifest
from testbed.transfer.registry import TRANSPORTS

# The Ethernet header around an IP packet, in bytes.
ETHERNET = 14
# UFTP's own port; each sync has one to itself, or two of them would meet at a host.
FIRST_PORT = 1044


@dataclass(frozen=True, slots=True)
class Cargo:
    """A sync's model on disk."""

    sync: Sync
    directory: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same in every run of a scenario."""

    scenario: Scenario
    plan: Plan
    cargo: tuple[Cargo, ...]
    frr_version: tuple[int, int]
    impaired: bool
    keep: bool


def destinations(plan: Plan, sync: Sync) -> tuple[str, ...]:
    """The hosts a sync delivers to, in topology order."""
    sites = [n.name for n in plan.sites] if sync.to == "all" else list(sync.to)
    return tuple(host.name for site in sites for host in plan.destinations(site, sync.deliver_to))


def block_size(scenario: Scenario, plan: Plan) -> int:
    """Payload bytes of a packet: what the scenario says, or what the smallest MTU leaves for every scheme."""
    if scenario.transport.block is not None:
        return scenario.transport.block
    overhead = TRANSPORTS[scenario.transport.name].overhead
    return min(link.mtu for link in plan.links.values()) - overhead - ENCAPSULATION_ROOM


def make_delivery(job: Job, cargo: Cargo, hosts: tuple[str, ...], flow: Flow) -> Delivery:
    """What the transport is told: rates are layer-2 bit/s."""
    transport, plan = job.scenario.transport, job.plan
    narrowest = bottleneck_rate(plan, hosts) or 10**9
    return Delivery(
        sync=cargo.sync.name,
        model=cargo.directory,
        manifest=cargo.manifest,
        group=IPv4Address(flow.group),
        source=_address(plan, plan.repository),
        ssm=flow.ssm,
        port=FIRST_PORT + flow.number - 1,
        rate=transport.rate or round(transport.utilisation * narrowest),
        block=block_size(job.scenario, plan),
        patience=transport.patience,
        source_host=plan.repository,
        destinations=tuple(
            Destination(host=h, site=plan.nodes[h].site or h, address=_address(plan, h)) for h in hosts
        ),
        mtu=min(link.mtu for link in plan.links.values()),
    )


def ideal_bytes(job: Job, cargo: Cargo) -> int:
    """Layer-2 bytes of one copy of the model in full packets: what each link of the ideal tree would carry."""
    block = block_size(job.scenario, job.plan)
    packets = sum(-(-file.size // block) for file in cargo.manifest.files)
    overhead = TRANSPORTS[job.scenario.transport.name].overhead
    return cargo.manifest.total + packets * (overhead + ETHERNET)


def _address(plan: Plan, host: str) -> IPv4Address:
    return plan.nodes[host].interfaces[0].address.ip
