"""Links are measured before routers run, and a link that is not what was asked for is told of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from shaped_lab import shaped_lab

from testbed.lab.lab import Lab
from testbed.lab.shape_check import LinkCheck, check_links, not_as_asked
from testbed.plan.types import Shape

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

LINKS = {
    "plain": {},
    "rate": {"rate": "50Mbit"},
    "delay": {"delay": "20ms"},
    "loss": {"delay": "5ms", "loss": "20%", "loss_burst": 3},
    "all": {"rate": "100Mbit", "delay": "10ms", "jitter": "2ms", "duplicate": "5%"},
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with shaped_lab(LINKS, check=True) as built:
        built.start()
        yield built


def test_every_link_with_a_shape_is_measured_in_both_directions(lab: Lab) -> None:
    assert lab.checked.keys() == {(name, node) for name in LINKS if name != "plain" for node in "ab"}
    for (name, _), check in lab.checked.items():
        assert check.asked == lab.plan.links[name].shape
        assert check.sent >= 40
        assert check.delay is not None
        assert check.delay >= check.asked.delay - check.asked.jitter
        assert (check.lost > 0) == (name == "loss")
        if name == "rate":  # a queue that runs empty is never faster than its rate, nor much, whoever has the processor
            assert check.rate == pytest.approx(50e6, rel=0.1)


def test_a_link_that_is_not_as_asked_is_told_of(lab: Lab) -> None:
    """What the plan says is changed, not the lab."""
    shapes = {
        "rate": Shape(10**8, 0.0, 0.0, 0.0, lab.plan.links["rate"].shape.queue, lab.plan.links["rate"].shape.burst),
        "delay": Shape(None, 0.001, 0.0, 0.0, 0, 0),
        "loss": Shape(None, 0.005, 0.0, 0.0, 0, 0),
    }
    found = check_links({n: replace(lab.plan.links[n], shape=shape) for n, shape in shapes.items()}, lab.nodes)
    said = {"rate": "where 100 Mb/s was", "delay": "where 1 ms was", "loss": "probes lost where 0 was"}
    for (name, _), check in found.items():
        assert any(said[name] in problem for problem in check.problems()), (name, check)
    (warning,) = not_as_asked(found)
    assert warning.endswith("; and 3 more)")


def test_tolerances_and_records() -> None:
    asked = Shape(10**8, 0.02, 0.0, 0.01, 10**6, 10**5)
    good = LinkCheck(asked, 0.0213, 200, 4, 0.95e8)
    assert good.problems() == []
    assert good.record() == {
        "delay_ms": {"asked": 20.0, "found": 21.3},
        "loss": {"asked": 0.01, "found": 0.02},
        "rate": {"asked": 10**8, "found": 95000000},
    }
    assert len(replace(good, delay=0.0215, lost=40, rate=0.8e8).problems()) == 3
    assert replace(good, delay=None, lost=200, rate=None).problems() == ["none of 200 probes arrived"]
    assert not_as_asked({("x", "a"): good}) == []
