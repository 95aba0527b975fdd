"""Descriptive statistics of a few repeated measurements, without assuming how they are distributed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """Order statistics of `n` values (at least one), in their own unit.

    `q1`, `q3`: the quartiles (linear between values), equal to the median of a single value. `ci`: the exact
    order-statistic confidence interval of the median at `CONFIDENCE` or better, None where n is below 6.
    """

    n: int
    median: float
    minimum: float
    maximum: float
    q1: float
    q3: float
    ci: tuple[float, float] | None

    @property
    def iqr(self) -> float:
        return self.q3 - self.q1


def summarise(values: Iterable[float | None]) -> Summary | None:
    """The summary of the values that are there; None if there is none."""
    data = sorted(v for v in values if v is not None)
    if not data:
        return None
    q1, median, q3 = statistics.quantiles(data, n=4, method="inclusive") if len(data) > 1 else data * 3
    return Summary(len(data), median, data[0], data[-1], q1, q3, _median_interval(data))


def _median_interval(data: list[float]) -> tuple[float, float] | None:
    """The narrowest [x(k), x(n+1-k)] that covers the median of any continuous distribution often enough.

    Its coverage is 1 - 2 P(B < k) with B binomial(n, 1/2); with n = 5 not even k = 1 reaches 95 %.
    """
    n = len(data)
    best, below = None, 0
    for k in range(1, n // 2 + 1):
        below += comb(n, k - 1)
        if 1 - 2 * below / 2**n < CONFIDENCE:
            break
        best = (data[k - 1], data[n - k])
    return best
