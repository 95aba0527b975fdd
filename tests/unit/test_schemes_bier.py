"""What scheme bier makes of a plan: who is a BFR, BFR-ids, and the MTU of the domain."""

from __future__ import annotations

import pytest

from testbed.plan.build import make_plan
from testbed.plan.types import Plan
from testbed.schemes.bier import TUNNEL_OVERHEAD, bfr_ids, bier_mtu, supports_bier
from testbed.spec.dump import dump_topology
from testbed.spec.load import load_topology
from testbed.spec.topology import Router


def plan_of(*without: str) -> Plan:
    topology = load_topology("ring")
    plain = {name: Router(kind="router", bier=False) for name in without}
    return make_plan(topology.model_copy(update={"nodes": topology.nodes | plain}))


@pytest.mark.parametrize("without", [(), ("r3",), ("r1", "r2", "r3", "r4")])
def test_only_routers_that_say_so_are_no_bfrs(without: tuple[str, ...]) -> None:
    plan = plan_of(*without)
    assert {node.name for node in plan.routers if not supports_bier(plan, node.name)} == set(without)
    assert bfr_ids(plan) == {"s1": 1, "s2": 2, "s3": 3, "repo": 4}


def test_a_tunnel_takes_of_the_mtu() -> None:
    assert bier_mtu(plan_of()) == 9000
    assert bier_mtu(plan_of("r2")) == 9000 - TUNNEL_OVERHEAD


def test_a_topology_that_is_written_says_so_too() -> None:
    plan = plan_of("r2")
    assert "r2: {kind: router, bier: false}" in dump_topology(plan.topology)
    assert dump_topology(plan.topology).count("bier") == 1
