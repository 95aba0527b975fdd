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


@given(st.floats(0.001, 0.5), st.floats(1, 100))
def test_bursts_of_losses_are_as_long_and_as_frequent_as_asked(loss: float, burst: float) -> None:
    """Gilbert's chain: its mean stay in the losing state, and the share of time it spends there."""
    to_bad, to_good = shape.burst_chances(loss, burst)
    assert 0 < to_bad <= 1
    assert 1 / to_good == pytest.approx(burst)
    assert to_bad / (to_bad + to_good) == pytest.approx(loss)


def test_chances_come_from_the_link_else_from_the_defaults() -> None:
    defaults = LinkDefaults(loss=0.1, loss_burst=3, duplicate=0.2, reorder=0.3, delay=0.01, seed=5)
    inherited = shape.shape_of(Link(a="x", b="y"), defaults, 9000)
    assert (inherited.loss_burst, inherited.duplicate, inherited.reorder, inherited.seed) == (3, 0.2, 0.3, 5)
    own = shape.shape_of(Link(a="x", b="y", loss_burst=0, duplicate=0, reorder=0, seed=6), defaults, 9000)
    assert (own.loss_burst, own.duplicate, own.reorder, own.seed) == (0, 0, 0, 6)
    assert not shape.without_impairments(inherited).impaired
    assert Shape(None, 0.0, 0.0, 0.0, 0, 0, duplicate=0.1).impaired


def test_a_link_keeps_its_queue_when_its_rate_changes_but_holds_a_bucket() -> None:
    before = shape.shape_of(Link(a="x", b="y"), LinkDefaults(rate=10**9), 9000)
    slower = shape.reshaped(before, 9000, rate=10**7)
    assert (slower.queue, slower.burst) == (before.queue, shape.burst_for(10**7, 9000))
    faster = shape.reshaped(before, 9000, rate=10**11)
    assert faster.queue == faster.burst == shape.burst_for(10**11, 9000)
    assert shape.reshaped(shape.LAN, 9000, rate=10**9).queue == before.queue
    assert shape.reshaped(before, 9000, loss=1.0).loss == 1.0


def test_all_that_no_link_can_be_like_is_told_at_once() -> None:
    with pytest.raises(RequestError) as error:
        shape.reshaped(shape.LAN, 9000, rate=1, delay=-1.0, jitter=2.0, loss=1.5)
    assert len(error.value.problems) == 4
    bursty = Shape(None, 0.0, 0.0, 0.1, 0, 0, loss_burst=2)
    with pytest.raises(RequestError, match=r"0\.9 of its packets lost with 2 in a row"):
        shape.reshaped(bursty, 9000, loss=0.9)
