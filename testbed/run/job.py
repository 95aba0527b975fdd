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
from testbed.spec.scenario import Transport as Asked
from testbed.transfer.base import Delivery, Destination, Transport
from testbed.transfer.manifest import Manifest

# The Ethernet header around an IP packet, in bytes.
ETHERNET = 14
# To a destination over links without a rate, in bit/s.
UNSHAPED = 10**9


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


def block_size(scenario: Scenario, plan: Plan, transport: Transport) -> int:
    """Payload bytes of a packet: what the scenario says, or what the smallest MTU leaves for every scheme."""
    if scenario.transport.block is not None:
        return scenario.transport.block
    return min(link.mtu for link in plan.links.values()) - transport.overhead - ENCAPSULATION_ROOM


def make_delivery(job: Job, cargo: Cargo, hosts: tuple[str, ...], flow: Flow, transport: Transport) -> Delivery:
    """What the transport is told: rates are layer-2 bit/s."""
    asked, plan = job.scenario.transport, job.plan
    group = IPv4Address(flow.group) if flow.group is not None else None
    return Delivery(
        sync=cargo.sync.name,
        model=cargo.directory,
        manifest=cargo.manifest,
        group=group,
        source=_address(plan, plan.repository),
        ssm=flow.ssm,
        port=transport.port + flow.number - 1,  # two syncs with one port would meet at a host
        rate=_rate(asked, plan, hosts, flow),
        block=block_size(job.scenario, plan, transport),
        patience=asked.patience,
        source_host=plan.repository,
        destinations=tuple(
            Destination(host=h, site=plan.nodes[h].site or h, address=_address(plan, h)) for h in hosts
        ),
        mtu=min(link.mtu for link in plan.links.values()),
    )


def ideal_bytes(job: Job, cargo: Cargo, transport: Transport) -> int:
    """Layer-2 bytes of one copy of the model in full packets: what each link of the ideal tree would carry."""
    block = block_size(job.scenario, job.plan, transport)
    packets = sum(-(-file.size // block) for file in cargo.manifest.files)
    return cargo.manifest.total + packets * (transport.overhead + ETHERNET)


def link_copies(plan: Plan, hosts: tuple[str, ...], flow: Flow) -> int:
    """How many copies go on the links behind the repository's router: one to a group, else one to each of the hosts,
    or to each of their sites where that router makes them."""
    if flow.group is not None and not flow.copied:
        return 1
    return len(_takers(plan, hosts, flow))


def total_rate(asked: Asked, plan: Plan, hosts: tuple[str, ...], flow: Flow) -> int:
    """What goes on the links behind the repository's router, all copies together, in bit/s."""
    copies = link_copies(plan, hosts, flow)
    each = bottleneck_rate(plan, _takers(plan, hosts, flow), shared=copies == 1) or UNSHAPED
    return asked.rate or round(asked.utilisation * each * copies)


def _takers(plan: Plan, hosts: tuple[str, ...], flow: Flow) -> tuple[str, ...]:
    return tuple({plan.nodes[host].site: host for host in hosts}.values()) if flow.copied else hosts


def _rate(asked: Asked, plan: Plan, hosts: tuple[str, ...], flow: Flow) -> int:
    """What the repository's host is to send, in bit/s: where its router makes the copies, one copy's part of it all."""
    total = total_rate(asked, plan, hosts, flow)
    return total // link_copies(plan, hosts, flow) if flow.copied else total


def _address(plan: Plan, host: str) -> IPv4Address:
    return plan.nodes[host].interfaces[0].address.ip
