"""The sentences of a report: they say what the numbers say, and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_bundle
from hypothesis import given
from hypothesis import strategies as st

from testbed.bundle import read_bundle
from testbed.report import words
from testbed.report.figures import Study, series_of, studies
from testbed.report.scale import rate_for, scaling, sending_time, stands_for
from testbed.spec.scenario import Scenario


def study(path: Path, **options: Any) -> Study:
    return studies([read_bundle(sample_bundle.write(path, **options))])[0]


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(sample_bundle.scenario(**changes))


def test_sending_rate_is_the_transports_or_a_share_of_the_narrowest_link() -> None:
    assert words.sending_rate(scenario()) == 485e6
    assert words.sending_rate(scenario(transport={"rate": "100Mbit"})) == 100e6
    unshaped = scenario().model_dump(mode="json")
    unshaped["topology"]["defaults"]["link"]["rate"] = None
    assert words.sending_rate(Scenario.model_validate(unshaped)) is None
    assert "stand for nothing" in scaling(Scenario.model_validate(unshaped)).rule


def test_the_scaling_rule_keeps_the_time() -> None:
    """2 GiB at 485 Mb/s: 35.4 s; so are 44.3 GB at 10 Gb/s, and 70 GB at 15.8 Gb/s."""
    rule = scaling(scenario()).rule
    assert rule.startswith("2 GiB at 485 Mb/s stands for 44.3 GB at 10 Gb/s and 443 GB at 100 Gb/s;")
    assert "a 70 GB model needs 15.81 Gb/s and a 1 TB model needs 225.8 Gb/s for the same" in rule
    assert "1 TB alone takes 800 s at 10 Gb/s and 80 s at 100 Gb/s" in rule
    time = 2 * 2**30 * 8 / 485e6
    assert pytest.approx(time, rel=0.002) == 44.3e9 * 8 / 10e9
    assert pytest.approx(time, rel=0.002) == 70e9 * 8 / 15.81e9


@given(*[st.floats(1e3, 1e13)] * 3)
def test_what_a_result_stands_for_takes_as_long(size: float, rate: float, other: float) -> None:
    time = sending_time(size, rate)
    assert sending_time(stands_for(size, rate, other), other) == pytest.approx(time)
    assert sending_time(other, rate_for(size, rate, other)) == pytest.approx(time)


def test_what_does_not_scale_is_told() -> None:
    said = " ".join(scaling(scenario()).unscaled)
    for subject in ("control-plane", "round trips", "a fault lasts", "queue", "packets a second", "8 sites stay 8"):
        assert subject in said


def test_the_verdict_of_a_single_run_claims_no_difference(tmp_path: Path) -> None:
    said = words.verdict(study(tmp_path / "b"))
    assert said[0].startswith("Every site received the whole model")
    assert "36.56 s with pim-ssm (469.9 Mb/s of goodput, 97 % of the sending rate)" in said[1]
    assert "50 ms with pim-ssm (4 of 8 sites hit)" in said[2]
    assert "may be chance" in said[-1]


def test_the_verdict_names_who_missed_out_and_what_does_not_count(tmp_path: Path) -> None:
    outcomes = {"pim-sm-1": "failed", "pim-sm-2": "invalid"}
    said = words.verdict(study(tmp_path / "b", repetitions=7, outcomes=outcomes))
    assert said[0] == (
        "Not every site received the whole model: with pim-sm milan did not (1 of 48 deliveries: no packet for 60 s)."
    )
    assert any("for the longest outage they lie apart" in s for s in said)
    assert said[-1].startswith("Not counted: pim-sm-2, invalid (every core was busy")


def test_the_verdict_of_nothing(tmp_path: Path) -> None:
    outcomes = {"pim-sm-1": "invalid", "pim-ssm-1": "interrupted"}
    assert words.verdict(study(tmp_path / "b", outcomes=outcomes))[0] == "No run gave numbers that count."


def test_flags() -> None:
    assert words.flags({}) == []
    (known,) = words.flags({"flags": ["impairments-ignored: delays, jitter and losses were left out"]})
    assert "NOT applied" in known
    assert words.flags({"flags": {"ignore_impairments": True}}) == [known]
    assert words.flags({"flags": {"odd": "very", "off": False}}) == ["odd: very"]


def test_missing_delays_are_a_threat_and_real_ones_are_not(tmp_path: Path) -> None:
    found = study(tmp_path / "b")
    assert any("No link has a propagation delay" in t for t in words.threats(found))
    data = sample_bundle.scenario()
    data["topology"]["links"][3]["delay"] = 0.005
    with_delay = replace(found, scenario=Scenario.model_validate(data))
    assert not any("No link has a propagation delay" in t for t in words.threats(with_delay))


def test_an_outage_that_ended_before_the_igps_repair_is_said_in_words(tmp_path: Path) -> None:
    found = study(tmp_path / "b", schemes=("pim-ssm",))

    def outage_sentence(**times: float | None) -> str:
        run = found.bundle.runs[0]
        run = replace(run, stages=tuple({**stage, **times} for stage in run.stages))
        return words.verdict(replace(found, series=series_of([run])))[2]

    said = outage_sentence(first_probe_ms=50.0, igp_ms=20.0)
    assert said.endswith("Once the IGP had repaired a site's path, the worst site waited 30 ms more with pim-ssm.")
    said = outage_sentence(first_probe_ms=27.2, igp_ms=29.9)
    assert "waited no longer with pim-ssm (packets were back before the repair was seen)" in said
    assert "IGP" not in outage_sentence(igp_ms=None)


def test_the_timers_in_effect_are_told_with_the_reason() -> None:
    told = words.timers(scenario(), sample_bundle.manifest())
    assert told.brief == "fast, BFD 3 × 300 ms"
    assert told.sentence.startswith("Protocol timers are of the profile “fast” (OSPF hello 1 s, dead 4 s; BFD 3 × 300")
    assert told.sentence.endswith("because this network has 30 links.")
    none = words.timers(scenario(timers="rfc"), {"timers": {"ospf": {"hello": 10, "dead": 40}, "bfd": None}})
    assert (none.brief, none.changed) == ("rfc, no BFD", "")
    slow = words.timers(scenario(detection="dead-timer"), {"timers": {"bfd": None}})
    assert slow.brief == "fast, no BFD, detection by dead-timer"
    assert slow.sentence.endswith("its routers learn of it from OSPF's dead timer alone.")
    old = words.timers(scenario(), {})
    assert (old.brief, old.sentence) == ("fast", "Protocol timers are of the profile “fast”.")
