"""Figures from runs: what enters them, what they come to, and what is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_bundle

from testbed.bundle import read_bundle
from testbed.errors import RequestError
from testbed.record import Event, LinkResult, Outage, Run, SiteResult
from testbed.report.figures import (
    RunFigures,
    beyond_igp,
    fault_windows,
    goodput,
    series_of,
    site_figures,
    site_labels,
    studies,
)
from testbed.report.timeline import instants


def site(where: str, delivery_s: float | None, **changes: Any) -> SiteResult:
    done = delivery_s is not None
    made = SiteResult(f"{where}-st", where, "sync", done, 1000 if done else 10, 1000, 0.1, delivery_s)
    return replace(made, **{"probes_received": 9, **changes})


def run(repetition: int, *sites: SiteResult, **changes: Any) -> Run:
    return replace(Run("pim-ssm", repetition, 1, "passed", sites=sites), **changes)


def test_goodput_is_verified_bits_over_delivery_time() -> None:
    assert goodput(site("a", 4.0)) == 2000.0
    assert goodput(site("a", None)) is None


def test_figures_of_a_run() -> None:
    a, b = site("a", 4.0, outages=(Outage(1, 50, 50, 0), Outage(2, 7, 7, 1)), duplicates=1), site("b", 5.0)
    links = (LinkResult("l", "x", "y", 300, 3, 0, 200, False), LinkResult("l", "y", "x", 100, 1, 0, 0, False))
    stages = ({"fault": "cut l", "first_probe_ms": 50.0, "igp_ms": 20.0}, {"fault": "cut l", "first_probe_ms": None},
              {"fault": "restored: cut l", "first_probe_ms": 900.0, "igp_ms": 1.0})  # fmt: skip
    f = RunFigures(run(1, a, b, links=links, stages=stages))
    assert f.slowest is b
    assert f.slowest_goodput == 1600.0
    assert (f.link_bytes, f.ideal_bytes, f.against_ideal) == (400, 200, 2.0)
    assert (f.longest_outage_ms, f.interrupted_sites, f.duplicates) == (50, 1, 1)
    assert f.beyond_igp_ms == 30.0


@pytest.mark.parametrize(
    ("times", "beyond"),
    [
        ({"outage_start_ms": 1.0, "igp_ms": 20.0, "first_probe_ms": 50.0}, 30.0),
        ({"outage_start_ms": 1.0, "igp_ms": 30.0, "first_probe_ms": 27.0}, 0.0),  # over before the repair was seen
        ({"outage_start_ms": 1.0, "igp_ms": 0.0, "first_probe_ms": 50.0}, 49.0),  # the path needed no repair
        ({"outage_start_ms": 40.0, "igp_ms": 20.0, "first_probe_ms": 50.0}, 10.0),  # began after the repair
        ({"outage_start_ms": -0.5, "igp_ms": 0.0, "first_probe_ms": 2.0}, 2.0),  # probes in flight at the cut
        ({"outage_start_ms": 1.0, "igp_ms": None, "first_probe_ms": 50.0}, None),
        ({"outage_start_ms": 1.0, "igp_ms": 20.0, "first_probe_ms": None}, None),
        ({"outage_start_ms": 1.0, "route_ms": 20.0, "first_probe_ms": 50.0}, None),  # an old bundle
    ],
)
def test_beyond_the_igp_is_the_part_of_the_outage_after_its_repair(times: dict[str, Any], beyond: float | None) -> None:
    assert beyond_igp({"fault": "cut l", "site": "a-st", **times}) == beyond
    assert beyond_igp({"fault": "restored: cut l", "site": "a-st", **times}) is None


def test_a_run_that_did_not_deliver_has_no_slowest_site() -> None:
    f = RunFigures(run(1, site("a", 4.0), site("b", None)))
    assert (f.slowest, f.slowest_s, f.slowest_goodput, f.delivered) == (None, None, None, 1)
    assert RunFigures(run(1)).slowest is None


def test_without_probes_no_outage_is_not_zero_outages() -> None:
    f = RunFigures(run(1, site("a", 4.0, probes_received=0)))
    assert (f.longest_outage_ms, f.interrupted_sites, f.lost) == (None, None, None)
    assert RunFigures(run(1, site("a", 4.0))).longest_outage_ms == 0.0


def test_invalid_and_interrupted_runs_enter_nothing() -> None:
    good, bad, cut = run(1, site("a", 4.0)), run(2, site("a", 400.0), outcome="invalid"), run(3, outcome="interrupted")
    (series,) = series_of([good, bad, cut])
    assert [f.run for f in series.measured] == [good]
    summary = series.of("slowest_s")
    assert summary is not None
    assert (summary.n, summary.maximum) == (1, 4.0)


def test_the_run_shown_is_the_median_one() -> None:
    slow, middle, fast = run(1, site("a", 9.0)), run(2, site("a", 5.0)), run(3, site("a", 4.0))
    assert series_of([slow, middle, fast])[0].shown is middle
    invalid = run(1, site("a", 9.0), outcome="invalid")
    assert series_of([invalid])[0].shown is invalid


def test_destinations_are_called_by_what_tells_them_apart() -> None:
    one = run(1, site("a", 1.0))
    assert site_labels([one]) == {("sync", "a-st"): "a"}
    servers = run(1, site("a", 1.0, name="a-g1"), site("a", 2.0, name="a-g2"), site("b", 1.0, name="b-g1"))
    assert list(site_labels([servers]).values()) == ["a-g1", "a-g2", "b"]
    syncs = run(1, site("a", 1.0), site("a", 1.0, sync="other"))
    assert list(site_labels([syncs]).values()) == ["sync: a", "other: a"]


def test_a_site_over_several_runs() -> None:
    runs = [run(1, site("a", 4.0, outages=(Outage(1, 60, 60, 0),))), run(2, site("a", 6.0)), run(3, site("a", None))]
    (found,) = site_figures(runs)
    assert (found.delivered, len(found.results)) == (2, 3)
    assert found.delivery_s is not None
    assert (found.delivery_s.n, found.delivery_s.median) == (2, 5.0)
    assert found.longest_ms is not None
    assert (found.longest_ms.n, found.longest_ms.median, found.longest_ms.maximum) == (3, 0.0, 60.0)


def test_fault_windows_pair_by_link() -> None:
    def event(t: float, kind: str, link: str) -> Event:
        return Event(t, "r", kind, detail={"action": "cut", "link": link})

    events = [
        event(11, "fault", "a"),
        event(12, "fault", "b"),
        event(13, "fault-restored", "b"),
        event(20, "fault", "a"),
        event(21, "fault-restored", "a"),
    ]
    windows = fault_windows(events, run(1, zero=10.0))
    assert [(w.label, w.start_s, w.end_s) for w in windows] == [("cut a", 1, 11), ("cut b", 2, 3), ("cut a", 10, None)]
    assert [(i.label, i.until) for i in instants(events)][:3] == [("cut a", 12), ("cut b", 13), ("cut b restored", 20)]


def test_a_scenario_that_is_not_understood_is_a_request_error(tmp_path: Path) -> None:
    bundle = read_bundle(sample_bundle.write(tmp_path / "b"))
    scenario = {**bundle.scenario, "timers": "slow", "novelty": 1}
    with pytest.raises(RequestError) as caught:
        studies([replace(bundle, scenario=scenario)])
    assert len(caught.value.problems) == 2
    assert "scenario.yaml: timers" in str(caught.value)
