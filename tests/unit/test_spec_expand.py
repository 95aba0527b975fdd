"""Syncs that stand for several, and the sites that a seed draws for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testbed.spec.dump import dump_scenario
from testbed.spec.expand import expanded
from testbed.spec.load import Overrides, load_scenario, load_topology
from testbed.spec.scenario import Scenario, Sync

TOPOLOGY = load_topology("gpu-clouds-8")
SITES = [f"gpu{n}" for n in range(1, 9)]


def scenario(*syncs: dict[str, Any], seed: int = 1) -> Scenario:
    return Scenario(
        name="x", topology=TOPOLOGY, schemes=["pim-ssm"], seed=seed, syncs=tuple(map(Sync.model_validate, syncs))
    )


def test_a_sync_that_stands_for_several_is_written_out() -> None:
    several = {"name": "a", "start": 2, "count": 3, "every": 1.5, "to": ["gpu2", "gpu1"]}
    found = expanded(scenario(several, {"name": "b"}))
    assert [(s.name, s.start, s.to, s.count, s.every) for s in found.syncs] == [
        ("a-1", 2.0, ("gpu2", "gpu1"), 1, 0.0),
        ("a-2", 3.5, ("gpu2", "gpu1"), 1, 0.0),
        ("a-3", 5.0, ("gpu2", "gpu1"), 1, 0.0),
        ("b", 0.0, "all", 1, 0.0),
    ]


@given(seed=st.integers(), draw=st.integers(1, 8), count=st.integers(1, 20))
def test_draws_are_sites_as_many_as_asked_for_and_the_same_for_the_same_seed(seed: int, draw: int, count: int) -> None:
    asked = scenario({"name": "a", "draw": draw, "count": count}, seed=seed)
    found = expanded(asked)
    assert len(found.syncs) == count
    for sync in found.syncs:
        assert sync.draw is None
        assert len(set(sync.to)) == len(sync.to) == draw
        assert list(sync.to) == sorted(sync.to, key=SITES.index)
    assert expanded(found) == found == expanded(asked)


@given(seed=st.integers())
def test_a_draw_depends_on_no_other_sync_and_not_on_how_it_is_set_up(seed: int) -> None:
    cold = expanded(scenario({"name": "a", "draw": 4, "count": 3, "setup": "on-demand"}, seed=seed)).syncs
    warm = expanded(scenario({"name": "z", "draw": 2}, {"name": "a", "draw": 4, "count": 5}, seed=seed)).syncs
    assert [s.to for s in cold] == [s.to for s in warm[1:4]]


def test_draws_differ_and_reach_every_site() -> None:
    found = expanded(scenario({"name": "a", "draw": 4, "count": 60})).syncs
    assert {site for s in found for site in s.to} == set(SITES)
    assert len({s.to for s in found}) > 30
    one, other = (expanded(scenario({"draw": 4, "count": 5}, seed=seed)).syncs for seed in (1, 2))
    assert [s.to for s in one] != [s.to for s in other]


def test_only_the_named_sites_are_drawn_from() -> None:
    found = expanded(scenario({"to": ["gpu7", "gpu3", "gpu5"], "draw": 2, "count": 20})).syncs
    assert {s.to for s in found} == {("gpu7", "gpu3"), ("gpu7", "gpu5"), ("gpu3", "gpu5")}


def test_what_is_loaded_is_resolved_with_the_seed_of_the_command_line_and_loads_again_to_the_same(
    tmp_path: Path,
) -> None:
    found = load_scenario("on-demand", overrides=Overrides(seed="7"))
    assert found.seed == 7
    drawn = expanded(scenario({"name": "model", "draw": 4, "count": 6}, seed=7)).syncs
    assert [(s.name, s.to) for s in found.syncs] == [(s.name, s.to) for s in drawn]
    again = tmp_path / "again.yaml"
    again.write_text(dump_scenario(found))
    assert load_scenario(str(again)) == found
    # Another seed draws other sites; but a scenario that is resolved has no draw left.
    assert [s.to for s in load_scenario("on-demand").syncs] != [s.to for s in found.syncs]
    assert load_scenario(str(again), overrides=Overrides(seed="8")).syncs == found.syncs


def test_the_counterparts_go_to_the_same_sites() -> None:
    cold, warm = load_scenario("on-demand"), load_scenario("pre-established")
    one, other = ([(s.name, s.start, s.to, s.model) for s in of.syncs] for of in (cold, warm))
    assert one == other
    assert {s.setup for s in cold.syncs} == {"on-demand"}
    assert {s.setup for s in warm.syncs} == {"beforehand"}
