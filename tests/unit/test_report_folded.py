"""The axis that folds idle time away."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.report.folded import IDLE_MS, fold
from testbed.report.svg import figure

times = st.lists(st.floats(-100, 1e5, allow_nan=False), min_size=1, max_size=30)


def test_a_second_of_waiting_is_folded_and_what_comes_before_and_after_is_not() -> None:
    axis = fold([0, 5, 20, 1010, 1030])
    assert len(axis.folds) == 1
    early, late = axis.x([0, 20]), axis.x([1010, 1030])
    assert late[0] - early[1] < early[1] - early[0]
    assert late[1] - late[0] == pytest.approx(early[1] - early[0])


def test_a_short_silence_is_not_folded() -> None:
    assert fold([0, 5, 5 + IDLE_MS, 110]).folds == []
    assert fold([0]).folds == []


@given(times)
def test_later_lies_further_right_and_within_the_axis(values: list[float]) -> None:
    axis = fold(values)
    places = axis.x(sorted(set(values)))
    assert all(a <= b for a, b in pairwise(places))
    assert places[0] >= 0
    assert places[-1] <= axis.knots[-1][1] + 1e-9
    assert all(left < right for left, right in axis.folds)


@settings(deadline=None, max_examples=30)  # a figure takes its time
@given(times)
def test_ticks_stand_at_their_times(values: list[float]) -> None:
    axis = fold(values)
    axes = figure(4, 1).subplots()
    axis.dress(axes)
    labels = [float(label.replace(",", "")) for label in axes.xaxis.get_major_formatter().seq]
    for place, label in zip(axes.get_xticks(), labels, strict=True):
        assert axis.x([label])[0] == pytest.approx(place, abs=0.01)
