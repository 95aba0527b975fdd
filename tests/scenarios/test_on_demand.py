"""Syncs whose trees are set up when they start, beside one whose tree stood before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.bundle import read_bundle

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SCENARIO = """
name: on-demand
topology: ring
schemes: [SCHEME]
syncs:
  - {name: warm, model: {size: 2MiB}, to: [s1, s3]}
  - {name: cold, model: {size: 2MiB}, to: [s2, s3], setup: on-demand, start: 3s}
transport: {rate: 40Mbit, patience: 20s}
"""


@pytest.mark.parametrize("scheme", ["pim-ssm", "pim-sm", "bier", "sr-p2mp", "ingress-replication", "unicast"])
def test_what_is_set_up_on_demand_is_not_there_before(scheme: str, tmp_path: Path) -> None:
    scenario, out = tmp_path / "on-demand.yaml", tmp_path / "bundle"
    scenario.write_text(SCENARIO.replace("SCHEME", scheme))
    command = [sys.executable, "-m", "testbed.cli", "run", str(scenario), "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr
    assert "Set up on demand" in Path(json.loads(done.stdout)["report"]).read_text()

    bundle = read_bundle(out)
    (run,) = bundle.runs
    # A loaded host makes a run invalid, and that is right; a failed one is not.
    assert run.outcome in ("passed", "invalid"), (run.reason, done.stderr)
    assert [(s.sync, s.site, s.delivered) for s in run.sites] == [
        ("warm", "s1", True), ("warm", "s3", True), ("cold", "s2", True), ("cold", "s3", True),
    ]  # fmt: skip
    for site in run.sites:
        assert (site.setup_ms is not None) == (site.sync == "cold")
        if site.setup_ms is not None:
            assert site.first_byte_s is not None
            assert 0 < site.setup_ms <= site.first_byte_s * 1000
        assert site.probes_received > 0

    # What came before the first probe is no outage. (On a loaded host there may be some later on.)
    (row,) = run.setups
    for site in run.sites:
        for outage in site.outages if site.sync == "cold" else ():
            assert run.zero + outage.start_s > row["t"] + (site.setup_ms or 0.0) / 1000

    # The course of it, on one clock; and before it, nothing that names the flow.
    assert row["sync"] == "cold"
    assert 0 < row["flow_ms"] <= row["listening_ms"]
    at = {
        (e.kind, e.node): e.t for e in bundle.events
        if e.detail.get("sync") == "cold" and e.kind in ("setup", "joined", "first-probe", "first-byte", "delivered")
    }  # fmt: skip
    begun = at.pop(("setup", ""))
    assert min(at.values()) >= begun >= run.zero + 3
    for host in ("s2-st", "s3-st"):
        assert at["joined", host] < at["first-byte", host] <= at["delivered", host]
    flow = {"pim-ssm": "232.1.0.2", "pim-sm": "239.1.0.2"}.get(scheme)
    routes = [e.t for e in bundle.events if e.kind == "mroute" and e.detail["group"] == flow]
    assert bool(routes) == (flow is not None)
    assert all(t >= begun for t in routes)
    if scheme == "bier":
        assert run.control_setup["bier"]["flow commands"] == run.control["bier"]["flow commands"] == 1
    if scheme == "sr-p2mp":
        switched = [(e.detail["tree"], e.t) for e in bundle.events if e.kind == "switched"]
        first = {tree: min(t for of, t in switched if of == tree) for tree in (1, 2)}
        assert first[1] < run.zero < begun < first[2]
