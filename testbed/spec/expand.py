"""Syncs written once and meant several times, or for sites that a seed draws, made what they stand for."""

from __future__ import annotations

import random
from collections.abc import Iterator

from testbed.spec.scenario import Scenario, Sync
from testbed.spec.topology import Site, Topology


def expanded(scenario: Scenario) -> Scenario:
    """The same scenario with every sync written out and every draw made; one that has neither is given back equal.

    A draw follows from the scenario's seed and the sync's own name, and from nothing else: neither from the syncs
    before it nor from how it is set up. The scenario is one without problems (`check_scenario`)."""
    syncs = tuple(drawn for sync in scenario.syncs for drawn in _written_out(scenario, sync))
    return scenario.model_copy(update={"syncs": syncs})


def sites_of(topology: Topology, sync: Sync) -> tuple[str, ...]:
    """The sites that a sync goes to, in topology order for `all`; with a draw, those that it is made from."""
    if sync.to == "all":
        return tuple(n for n, node in topology.nodes.items() if isinstance(node, Site))
    return tuple(sync.to)


def names_of(sync: Sync) -> tuple[str, ...]:
    """What the syncs are called that this one stands for."""
    return (sync.name,) if sync.count == 1 else tuple(f"{sync.name}-{n}" for n in range(1, sync.count + 1))


def _written_out(scenario: Scenario, sync: Sync) -> Iterator[Sync]:
    sites = sites_of(scenario.topology, sync)
    for number, name in enumerate(names_of(sync)):
        changes: dict[str, object] = {"name": name, "start": sync.start + number * sync.every}
        if sync.draw is not None:
            drawn = random.Random(f"{scenario.seed} {name}").sample(sites, sync.draw)
            changes["to"] = tuple(sorted(drawn, key=sites.index))
        yield sync.model_copy(update={**changes, "draw": None, "count": 1, "every": 0.0})
