"""By what a failure is noticed is what the scenario says, and nothing else notices it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.bundle import read_bundle

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SCENARIO = """
name: detection
topology: ring
schemes: [pim-ssm]
syncs: [{model: {size: 2MiB}}]
transport: {rate: 10Mbit, patience: 30s}
timeline: [{at: 500ms, action: cut, target: {link: r1-r2}, duration: 8s}]
"""


@pytest.mark.parametrize(
    ("detection", "by", "least"),
    [("carrier", "carrier", 0), ("bfd-3x300", "bfd", 300), ("dead-timer", "hello", 2000)],
)
def test_a_cut_is_noticed_by_what_was_asked_for_alone(detection: str, by: str, least: float, tmp_path: Path) -> None:
    scenario, out = tmp_path / "detection.yaml", tmp_path / "bundle"
    scenario.write_text(SCENARIO)
    command = [sys.executable, "-m", "testbed.cli", "run", str(scenario), "--detection", detection, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode in (0, 1), done.stderr
    bundle = read_bundle(out)
    (run,) = bundle.runs
    assert run.outcome in ("passed", "invalid"), (run.reason, done.stderr)
    rows = [row for row in run.stages if row["fault"].startswith("cut")]
    assert {row["detected_by"] for row in rows} == {by}
    # The last packet of the neighbour came up to an interval before the cut; a hidden carrier tells nobody sooner.
    assert all(row["detection_ms"] >= least for row in rows)
    hidden = detection != "carrier"
    assert any(event.kind == "link-down" for event in bundle.events) is not hidden
    lost = [site for site in run.sites if site.outages]
    assert lost
    assert all(site.delivered for site in run.sites)
    report = (out / "report.html").read_text()
    assert ("keeps its carrier here" in report) is hidden
    assert "From detection to packets" in report
