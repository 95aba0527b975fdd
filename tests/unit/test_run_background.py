"""Background flows: which are watched, how they are numbered, and what a scenario may ask for."""

from __future__ import annotations

from typing import Any

import pytest
import sample_bundle
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan.build import make_plan
from testbed.record import FlowResult, Outage
from testbed.report.distribution import LEAST, curves, distribution, quantile
from testbed.report.figures import series_of
from testbed.run.background import make_crowd, spread
from testbed.schemes import SCHEMES, make_scheme
from testbed.spec.check_scenario import scenario_findings
from testbed.spec.load import load_topology
from testbed.spec.scenario import Background, Scenario, SchemeChoice


@given(st.integers(1, 1000).flatmap(lambda flows: st.tuples(st.just(flows), st.integers(0, min(32, flows)))))
def test_the_watched_are_spread_evenly_and_the_last_is_among_them(asked: tuple[int, int]) -> None:
    flows, watched = asked
    chosen = spread(flows, watched)
    assert len(set(chosen)) == watched
    assert all(0 <= position < flows for position in chosen)
    assert not watched or chosen[-1] == flows - 1
    gaps = [b - a for a, b in zip((-1, *chosen), chosen, strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("name", SCHEMES)
def test_every_flow_has_a_group_of_its_own_however_many_there_are(name: str) -> None:
    plan, scheme = make_plan(load_topology("ring")), make_scheme(SchemeChoice(name=name))
    crowd = make_crowd(Background(flows=1000, watched=8), scheme, plan, first=3)
    if not scheme.multicast:
        assert not crowd.streams
        return
    assert [stream.flow.number for stream in crowd.streams] == list(range(3, 1003))
    assert len({stream.flow.group for stream in crowd.streams}) == 1000
    assert len(crowd.watched) == 8
    assert all(len(stream.hosts) == len(plan.sites) for stream in crowd.streams)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"background": {"flows": 5, "watched": 8}}, "8 of 5 background flows cannot be watched"),
        ({"background": {"flows": 50}, "probe": {"interval": 0}}, "watched by probes, and the scenario has none"),
    ],
)
def test_what_cannot_be_watched_is_said(changes: dict[str, Any], said: str) -> None:
    found = scenario_findings(Scenario.model_validate(sample_bundle.scenario(**changes)), None)
    assert [f.what for f in found if said in f.what], found


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_quantile_is_a_length_that_was_measured(lengths: list[float], share: float) -> None:
    lengths.sort()
    value = quantile(lengths, share)
    no_longer = sum(length <= value for length in lengths)
    assert value in lengths
    assert no_longer >= share * len(lengths) - 1e-6


def test_the_distribution_tells_syncs_and_background_flows_apart() -> None:
    flows = tuple(
        FlowResult(n, f"{site}-st", (Outage(10.0, float(n), n, 0, "cut r1-r2"),), 100, n)
        for n in range(1, LEAST + 1)
        for site in ("milan", "paris")
    )
    run = sample_bundle.replace(sample_bundle.run("pim-ssm", 1), flows=flows)
    table = distribution(series_of([run]))
    told = {row[1].text: [cell.text for cell in row[2:]] for row in table.rows if row}
    assert told["background flows"] == ["20", "110", "1.0 ms", "5.0 ms", "9.0 ms", "–", "10 ms"]
    assert told["syncs"][0] == str(sum(len(site.outages) for site in run.sites))
    assert "background flows" in curves(series_of([run]), "n")
    few = sample_bundle.replace(run, flows=flows[:2], sites=())
    assert not distribution(series_of([few])).rows
    assert curves(series_of([few]), "n") == ""
