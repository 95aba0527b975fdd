"""Bucket and queue follow from rate, delay and MTU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.plan import shape
from testbed.plan.types import Shape
from testbed.spec.limits import MAX_RATE, MIN_RATE
from testbed.spec.topology import Link, LinkDefaults

RATES = st.integers(MIN_RATE, MAX_RATE)
MTUS = st.integers(1280, 9216)
DELAYS = st.floats(0, 1)


def test_known_sizes() -> None:
    assert shape.burst_for(10**9, 9000) == 500_000
    assert shape.queue_for(10**9, 0.0, 9000) == 3_750_000
    assert shape.queue_for(10**9, 0.050, 9000) == 12_500_000
    assert shape.burst_for(10**6, 9000) == shape.LARGEST_BUFFER
    assert shape.queue_for(10**6, 0.0, 9000) == 64 * 9014


@given(RATES, DELAYS, MTUS)
def test_sizes_honour_the_rate(rate: int, delay: float, mtu: int) -> None:
    burst, queue = shape.burst_for(rate, mtu), shape.queue_for(rate, delay, mtu)
    assert burst * 8 >= rate * shape.TIMER_SLACK, "a late timer costs rate"
    segments = -(-64 * 1024 // (mtu - 52))  # IPv4 and TCP with timestamps
    assert burst >= 64 * 1024 + 66 * segments, "a segmented buffer would be cut in software"
    assert queue >= burst
    assert queue * 8 >= min(rate * 2 * delay, shape.LARGEST_QUEUE * 8), "one round trip"
    assert queue >= 64 * mtu


@given(RATES, DELAYS, MTUS)
def test_sizes_fit_into_what_netlink_carries(rate: int, delay: float, mtu: int) -> None:
    assert shape.burst_for(rate, mtu) < 2**32
    assert shape.queue_for(rate, delay, mtu) < 2**32


@given(RATES, DELAYS, MTUS)
def test_netem_holds_what_is_on_the_way(rate: int, delay: float, mtu: int) -> None:
    limit = shape.netem_limit(Shape(rate, delay, 0.0, 0.0, shape.queue_for(rate, delay, mtu), 0))
    assert limit >= 1000
    assert limit * shape.SMALL_PACKET * 8 >= rate * delay


def test_a_link_overrides_its_defaults_even_with_zero() -> None:
    defaults = LinkDefaults(rate=10**9, delay=0.01, jitter=0.001, loss=0.1, queue=10**6)
    link = Link(a="x", b="y", delay=0.0, jitter=0.0, loss=0.0)
    assert shape.shape_of(link, defaults, 9000) == Shape(10**9, 0.0, 0.0, 0.0, 10**6, 500_000)


def test_an_unshaped_link_has_no_bucket() -> None:
    assert shape.shape_of(Link(a="x", b="y"), LinkDefaults(), 9000) == shape.LAN


def test_a_queue_that_netlink_cannot_carry_is_refused() -> None:
    with pytest.raises(RequestError, match="link x-y: a queue of 4 GiB is more than a TBF can be told"):
        shape.shape_of(Link(a="x", b="y", rate=10**9, queue=2**32), LinkDefaults(), 9000)
