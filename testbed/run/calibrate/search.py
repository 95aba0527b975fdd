"""The highest rate that holds, found by trying. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

# Bits per second: what a machine does not carry at this rate, it does not carry.
LEAST = 10**6
# The answer holds, and this much more does not.
TOLERANCE = 1.1


def highest(holds: Callable[[int], bool], start: int, most: int) -> int | None:
    """The highest rate up to `most` that holds, in bit/s, within TOLERANCE; None if not even LEAST does.

    From `start` it doubles or halves until one rate holds and another does not, then takes their geometric mean:
    some six trials. `holds` need not be the same each time near the limit; a rate that once did not hold is not tried
    again, nor is any above it.
    """
    good: int | None = None
    bad: int | None = None
    rate = min(start, most)
    while True:
        if holds(rate):
            good = rate
        else:
            bad = rate
        if good is None:
            if rate <= LEAST:
                return None
            rate = max(rate // 2, LEAST)
        elif bad is None:
            if good >= most:
                return good
            rate = min(2 * good, most)
        elif bad <= TOLERANCE * good:
            return good
        else:
            rate = round(math.sqrt(good * bad))
