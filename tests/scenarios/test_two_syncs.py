"""Two models on the way at the same time, to sites that partly are the same: neither disturbs the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.bundle import read_bundle

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

# Different seeds: a block of one model that ends up in the other's file is a corrupt block there.
SCENARIO = """
name: two-syncs
topology: ring
schemes: [SCHEME]
syncs:
  - {name: left, model: {size: 4MiB, seed: 1}, to: [s1, s2]}
  - {name: right, model: {size: 6MiB, seed: 2}, to: [s2, s3]}
transport: {rate: 40Mbit, patience: 20s}
"""


@pytest.mark.parametrize("scheme", ["pim-ssm", "pim-sm", "unicast"])
def test_both_are_delivered_each_to_its_own_sites(scheme: str, tmp_path: Path) -> None:
    scenario, out = tmp_path / "two.yaml", tmp_path / "bundle"
    scenario.write_text(SCENARIO.replace("SCHEME", scheme))
    command = [sys.executable, "-m", "testbed.cli", "run", str(scenario), "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr
    assert Path(json.loads(done.stdout)["report"]).stat().st_size > 10_000

    bundle = read_bundle(out)
    (run,) = bundle.runs
    # A loaded host makes a run invalid, and that is right; a failed one is not.
    assert run.outcome in ("passed", "invalid"), (run.reason, done.stderr)
    assert [(s.sync, s.name) for s in run.sites] == [
        ("left", "s1-st"),
        ("left", "s2-st"),
        ("right", "s2-st"),
        ("right", "s3-st"),
    ]
    for site in run.sites:
        assert site.delivered, (site.sync, site.name, site.reason)
        assert site.verified_bytes == site.expected_bytes > {"left": 4, "right": 6}[site.sync] * 2**20
        assert site.curve
        assert site.probes_received > 0

    # One started before the other was over, and every host heard of its own syncs only.
    kinds = [e.kind for e in bundle.events if e.kind in ("sync-start", "delivered")]
    assert kinds == ["sync-start"] * 2 + ["delivered"] * 4
    probed = {(e.detail["sync"], e.node) for e in bundle.events if e.kind == "first-probe"}
    assert probed == {(s.sync, s.name) for s in run.sites}
    if scheme == "unicast":
        assert not any(sum(counts.values()) for counts in run.state.values()), "no state but the IGP's"
        return
    # A tree each (RFC 7761 4.1.3): two where the ways are shared, one behind them.
    trees = {router: counts["(S,G)"] for router, counts in run.state.items()}
    assert trees["repo"] == trees["r1"] == trees["s2"] == 2
    assert trees["s1"] == trees["s3"] == 1
