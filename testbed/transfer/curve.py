"""Delivery curves: how many verified bytes there were when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_POINTS = 500


def thin(points: Sequence[T], most: int = MAX_POINTS) -> list[T]:
    """At most `most` (>= 2) of the points, evenly picked; the first and the last stay."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[index * last // (most - 1)] for index in range(most)]
