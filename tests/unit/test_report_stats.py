"""Order statistics against what is known of them."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.report.stats import summarise


def test_nothing_has_no_summary() -> None:
    assert summarise([]) is None
    assert summarise([None, None]) is None


def test_one_value_is_everything() -> None:
    summary = summarise([None, 3.0])
    assert summary is not None
    assert (summary.n, summary.median, summary.q1, summary.q3, summary.iqr, summary.ci) == (1, 3.0, 3.0, 3.0, 0.0, None)


@settings(deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40))
def test_order_statistics(values: list[int]) -> None:
    summary = summarise(values)
    assert summary is not None
    assert summary.median == statistics.median(values)
    assert summary.minimum <= summary.q1 <= summary.median <= summary.q3 <= summary.maximum
    assert (summary.ci is None) == (len(values) < 6)
    if summary.ci:
        assert summary.minimum <= summary.ci[0] <= summary.median <= summary.ci[1] <= summary.maximum


# The ranks of the distribution-free 95 % interval, as tables of the sign test print them.
@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (11, 2, 10), (12, 3, 10), (15, 4, 12),
                                                (20, 6, 15), (25, 8, 18), (30, 10, 21)])  # fmt: skip
def test_interval_ranks_are_the_tabulated_ones(n: int, low: int, high: int) -> None:
    summary = summarise(range(1, n + 1))
    assert summary is not None
    assert summary.ci == (low, high)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(2000):
        summary = summarise([rng.expovariate(1.0) for _ in range(10)])
        assert summary is not None
        assert summary.ci is not None
        hits += summary.ci[0] <= 0.693147 <= summary.ci[1]
    assert hits / 2000 > 0.94  # its exact coverage is 0.979
