"""A run that asks of its machine what no machine can do says so, and which part of it was not done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from test_smoke import command

from testbed.bundle import read_bundle

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

# UFTP is one thread that hands over a block with each system call: not on any machine does it fill this.
ABSURD = {
    "name": "absurd",
    "topology": {
        "name": "fork",
        "defaults": {"link": {"rate": "100Gbit"}},
        "nodes": {"repo": {"kind": "repository"}, "r1": {"kind": "router"}, "s1": {"kind": "site"},
                  "s2": {"kind": "site"}},
        "links": [["repo", "r1"], ["r1", "s1"], ["r1", "s2"]],
    },
    "schemes": ["pim-ssm"],
    "syncs": [{"model": {"size": "384MiB"}}],
    "transport": {"rate": "40Gbit"},
}  # fmt: skip


def test_an_absurd_rate_makes_a_run_invalid_and_the_cause_is_named(tmp_path: Path) -> None:
    scenario, out = tmp_path / "absurd.yaml", tmp_path / "bundle"
    scenario.write_text(yaml.safe_dump(ABSURD))
    done = command("run", str(scenario), "--out", str(out), "--json")
    assert done.returncode == 1, done.stderr
    (run,) = read_bundle(out).runs
    assert run.outcome == "invalid", run.reason
    assert all(site.delivered for site in run.sites)  # shown, though never averaged
    assert "rate" in run.fidelity["causes"]
    assert "of the rate asked for, 40 Gb/s" in run.reason
    assert run.fidelity["achieved_rate"] < 0.9 * run.fidelity["requested_rate"]
    (told,) = json.loads(done.stdout)["runs"]
    assert told["outcome"] == "invalid"
