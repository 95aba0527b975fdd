"""The end of `testbed run`: a table for people, figures for programs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import sample_bundle
from rich.console import Console

from testbed.bundle import read_bundle
from testbed.report import summary_json, summary_table
from testbed.report.figures import Study, studies


def study(path: Path, **options: Any) -> Study:
    return studies([read_bundle(sample_bundle.write(path, **options))])[0]


def shown(found: Study, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(summary_table(found.bundle.runs, found.scenario, found.bundle.manifest))
    return console.export_text()


def test_the_terminal_table_fits_80_columns_and_has_the_numbers(tmp_path: Path) -> None:
    text = shown(study(tmp_path / "b"))
    assert max(map(len, text.splitlines())) <= 80
    for number in ("36.56 s", "469.9 Mb/s", "116 ms", "46.34 GiB", "1.00×", "warsaw", "stands for 44.3 GB"):
        assert number in text
    assert "did not pass" not in text


def test_the_terminal_table_says_what_went_wrong(tmp_path: Path) -> None:
    text = shown(study(tmp_path / "b", outcomes={"pim-ssm-1": "invalid", "pim-sm-1": "failed"}))
    for said in ("not delivered", "Runs that did not pass", "every core was busy", "shown, not averaged", "0 of 1"):
        assert said in text


def test_the_terminal_tells_the_timers_that_were_in_effect(tmp_path: Path) -> None:
    text = " ".join(shown(study(tmp_path / "b")).split())
    assert "profile “fast” (OSPF hello 1 s, dead 4 s; BFD 3 × 300 ms), with BFD every 300 ms instead of" in text
    text = shown(study(tmp_path / "old", manifest_changes={"timers": None}))
    assert "profile “fast”." in text


def test_names_are_not_read_as_markup(tmp_path: Path) -> None:
    found = study(tmp_path / "b")
    odd = replace(found.bundle.runs[0], scheme="[red]x[/nope]", outcome="failed", reason="[bold")
    bundle = replace(found.bundle, runs=(odd,))
    text = shown(replace(found, bundle=bundle), 120)
    assert "[red]x[/nope]" in text
    assert "[bold" in text
    assert "No run was finished." in shown(replace(found, bundle=replace(bundle, runs=())))


def test_json_has_the_same_figures(tmp_path: Path) -> None:
    data = summary_json(study(tmp_path / "b", repetitions=7, outcomes={"pim-sm-3": "invalid"}).bundle)
    ssm, sm = data["schemes"]["pim-ssm"], data["schemes"]["pim-sm"]
    assert data["outcome"] == "invalid"
    assert (ssm["runs"], ssm["runs_counted"], sm["runs_counted"]) == (7, 7, 6)
    assert ssm["slowest_delivery_s"]["n"] == 7
    assert ssm["slowest_delivery_s"]["ci"][0] <= ssm["slowest_delivery_s"]["median"]
    assert ssm["sites"]["milan"]["outages"]["median"] == 1
    invalid = next(r for r in data["runs"] if r["outcome"] == "invalid")
    assert not invalid["counted"]
    assert invalid["slowest_delivery_s"] not in [r["slowest_delivery_s"] for r in data["runs"] if r["counted"]]
