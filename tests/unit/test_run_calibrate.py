"""The highest rate that holds, how a rate is tried, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan.build import make_plan
from testbed.run.calibrate import carry_out, trial
from testbed.run.calibrate.calibration import Carried, file_of, load, machine, save
from testbed.run.calibrate.search import LEAST, TOLERANCE, highest
from testbed.run.calibrate.trial import Trial, rate_of, short
from testbed.run.observer import Observer
from testbed.spec.load import load_scenario
from testbed.spec.scenario import Scenario, SchemeChoice

SMOKE = load_scenario("smoke")
QUICKSTART = load_scenario("quickstart")
MBIT = 10**6


@given(st.integers(LEAST, 10**11), st.integers(LEAST, 10**11), st.integers(LEAST, 10**11))
def test_the_highest_rate_that_holds_is_found(limit: int, start: int, most: int) -> None:
    tried: list[int] = []

    def holds(rate: int) -> bool:
        tried.append(rate)
        return rate <= limit

    found = highest(holds, start, most)
    assert found is not None
    assert found in tried
    assert found <= min(limit, most)
    assert found == most or found * TOLERANCE * 1.001 + 2 >= limit
    assert max(tried) <= max(most, LEAST)
    assert len(tried) == len(set(tried)) < 30


def test_what_does_not_hold_at_the_least_holds_nowhere() -> None:
    tried: list[int] = []

    def holds(rate: int) -> bool:
        tried.append(rate)
        return False

    assert highest(holds, 8 * LEAST, 100 * LEAST) is None
    assert tried == [8 * LEAST, 4 * LEAST, 2 * LEAST, LEAST]


def test_a_trial_is_the_scenario_short_and_undisturbed() -> None:
    plan = make_plan(QUICKSTART.topology)
    tried = short(QUICKSTART, plan, SchemeChoice(name="bier"), 80 * MBIT)
    assert (tried.transport.rate, tried.timeline, tried.repetitions) == (80 * MBIT, (), 1)
    assert [str(s) for s in tried.schemes] == ["bier"]
    assert tried.syncs[0].model.size == 60 * MBIT  # 6 s of it
    assert (tried.topology, tried.probe, tried.timers) == (QUICKSTART.topology, QUICKSTART.probe, QUICKSTART.timers)
    for scheme in ("unicast", "ingress-replication"):
        assert short(QUICKSTART, plan, SchemeChoice(name=scheme), 80 * MBIT).syncs[0].model.size == 60 * MBIT / 8


@pytest.mark.parametrize(
    ("scheme", "asked", "most"), [("pim-ssm", 150, 485), ("ingress-replication", 150, 485), ("unicast", 150, 485)]
)
def test_what_a_scenario_asks_of_the_links(scheme: str, asked: int, most: int) -> None:
    """One link leads from the repository's router to all: copies or not, its 500 Mb/s are what there is."""
    plan, choice = make_plan(QUICKSTART.topology), SchemeChoice(name=scheme)
    assert rate_of(QUICKSTART, plan, choice) == asked * MBIT
    assert rate_of(QUICKSTART, plan, choice, most=True) <= most * 2 * MBIT
    assert rate_of(SMOKE, make_plan(SMOKE.topology), choice) >= 100 * MBIT


# -- what is kept --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path))
    return tmp_path


def changed(**changes: Any) -> Scenario:
    return Scenario.model_validate(QUICKSTART.model_dump(mode="json") | changes)


def test_calibrations_are_kept_by_what_they_depend_on(state: Path) -> None:
    path = file_of(QUICKSTART, impaired=True)
    assert path.parent == state / "calibrations"
    same = changed(name="other", seed=9, timeline=[], repetitions=5, transport={"rate": "1Gbit"}, schemes=["bier"])
    assert file_of(same, impaired=True) == path
    resized = changed(syncs=[{"name": "x", "model": {"size": "1MiB"}}])
    assert file_of(resized, impaired=True) == path
    others = {
        file_of(QUICKSTART, impaired=False),
        file_of(SMOKE, impaired=True),
        file_of(changed(timers="rfc"), impaired=True),
        file_of(changed(probe={"interval": 0.01}), impaired=True),
        file_of(changed(syncs=[{"to": ["gpu1"]}]), impaired=True),
        path,
    }
    assert len(others) == 6


def test_a_scheme_is_added_to_what_is_known(state: Path) -> None:
    path = file_of(QUICKSTART, impaired=True)
    assert load(path) is None
    save(path, {"pim-ssm": Carried(300 * MBIT, "x", 5)})
    save(path, {"bier": Carried(200 * MBIT, "y", 5)})
    found = load(path)
    assert found is not None
    assert found.machine == machine()
    assert {name: c.rate for name, c in found.carried.items()} == {"pim-ssm": 300 * MBIT, "bier": 200 * MBIT}
    assert found.rate == 200 * MBIT
    assert all(c.date for c in found.carried.values())
    save(path, {"bier": Carried(None, "y", 5)})
    assert (load(path) or found).rate is None
    path.write_text("{")
    assert load(path) is None


def test_who_sends_faster_than_is_carried_is_warned() -> None:
    assert carry_out.beyond(QUICKSTART, impaired=True) == []
    save(file_of(QUICKSTART, impaired=True),
         {"pim-ssm": Carried(150 * MBIT, "x", 5), "bier": Carried(100 * MBIT, "y", 5)})  # fmt: skip
    (warning,) = carry_out.beyond(QUICKSTART, impaired=True)
    assert warning.startswith("bier is to send 150 Mb/s, and this machine carries at most 100 Mb/s of it faithfully")
    assert carry_out.beyond(QUICKSTART, impaired=False) == []
    save(file_of(QUICKSTART, impaired=True), {"sr-p2mp": Carried(None, "z", 5)})
    assert "carries no rate of it" in carry_out.beyond(QUICKSTART, impaired=True)[1]


def test_every_scheme_is_tried_and_saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"pim-ssm": 10**9, "bier": 120 * MBIT}
    told: list[tuple[str, Trial]] = []

    def attempt(
        scenario: Scenario, plan: object, choice: SchemeChoice, rate: int, observer: Observer, *, impaired: bool
    ) -> Trial:
        if choice.name == "sr-p2mp":
            raise KeyboardInterrupt
        return Trial(rate, rate <= limits[choice.name], "too much" if rate > limits[choice.name] else "")

    monkeypatch.setattr(carry_out, "attempt", attempt)
    with pytest.raises(KeyboardInterrupt):
        carry_out.calibrate(QUICKSTART, Observer(), lambda c, t: told.append((str(c), t)), impaired=True)
    found = carry_out.saved(QUICKSTART, impaired=True)
    assert found is not None
    assert (found.carried["pim-ssm"].rate, found.carried["pim-ssm"].limit) == (485 * MBIT, "")
    bier = found.carried["bier"]
    assert bier.rate is not None
    assert 109 * MBIT < bier.rate <= 120 * MBIT
    assert bier.limit == "too much"
    assert len(told) == found.carried["pim-ssm"].trials + bier.trials
    assert trial.SECONDS > 5  # a run's rates are taken from whole periods of it
