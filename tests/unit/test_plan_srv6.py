"""Locators: as written down for router numbers, in no one else's, and names that Linux and the plan leave free."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan import srv6
from testbed.plan.build import make_plan
from testbed.spec.load import load_topology
from testbed.spec.names import INTERFACE_NAME_MAX

NUMBERS = st.integers(1, 65534)  # as many routers as there are loopback addresses


@pytest.mark.parametrize(("number", "locator"), [(1, "fc00:0:1::"), (17, "fc00:0:11::"), (65534, "fc00:0:fffe::")])
def test_locators_are_numbers_in_hexadecimal(number: int, locator: str) -> None:
    assert srv6.locator(number) == IPv6Network(f"{locator}/48")
    assert srv6.source(number) == IPv6Address(f"{locator}1")


@given(NUMBERS, NUMBERS)
def test_each_router_has_its_own(a: int, b: int) -> None:
    assert srv6.locator(a).subnet_of(srv6.LOCATORS)
    assert srv6.locator(a).overlaps(srv6.locator(b)) == (a == b)
    assert (srv6.source(a) in srv6.locator(b)) == (a == b)


def test_the_forwarders_pair_has_names_that_nothing_else_has() -> None:
    taken = {i.name for node in make_plan(load_topology("gpu-clouds-8")).nodes.values() for i in node.interfaces}
    pair = {srv6.KERNEL_PORT, srv6.KERNEL_PEER}
    assert len(pair) == 2
    assert not pair & taken
    assert all(len(name) <= INTERFACE_NAME_MAX and "-" not in name for name in pair)
