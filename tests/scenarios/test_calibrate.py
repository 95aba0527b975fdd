"""`testbed calibrate` from end to end: what it says, what it keeps, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_smoke import command, leftovers

from testbed.spec.catalog import folder

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "state"


def slow_ring(path: Path, rate: str) -> Path:
    """The ring of the smoke scenario with links that any machine carries: one trial tells."""
    topology = yaml.safe_load((folder("topology") / "ring.yaml").read_text())
    topology["defaults"]["link"]["rate"] = rate
    scenario = {"name": "slow", "topology": topology, "schemes": ["pim-ssm"], "syncs": [{"model": {"size": "1MiB"}}]}
    file = path / "slow.yaml"
    file.write_text(yaml.safe_dump(scenario))
    return file


def test_a_rate_is_found_saved_and_warned_of(tmp_path: Path, state: Path) -> None:
    before = leftovers(set())
    file = slow_ring(tmp_path, "1.03Mbit")  # less than this no calibration tries: there is one trial
    done = command("calibrate", str(file), "--json")
    told = json.loads(done.stdout)
    found = told["schemes"]["pim-ssm"]
    # Not even so little is carried faithfully where other work takes all cores: that is said, and is status 1.
    assert done.returncode == (0 if found["rate"] else 1), done.stderr
    assert found["asked"] == found["tried"][0]["rate"] == 999_100
    assert all(t["carried"] or t["reason"] for t in found["tried"])
    assert found["rate"] is None or found["rate"] == max(t["rate"] for t in found["tried"] if t["carried"])
    (saved,) = (state / "calibrations").iterdir()
    assert told["file"] == str(saved)
    kept = json.loads(saved.read_text())
    assert kept["carried"]["pim-ssm"]["rate"] == told["rate"] == found["rate"]
    assert not list(tmp_path.glob("llmsync-calibrate-*"))
    assert not leftovers(before)

    kept["carried"]["pim-ssm"]["rate"] = 500_000
    saved.write_text(json.dumps(kept))
    run = command("run", str(file), "--size", "64KiB", "--out", str(tmp_path / "bundle"), "--json")
    assert "pim-ssm is to send 999.1 kb/s, and this machine carries at most 500 kb/s of it faithfully" in run.stderr
    (warning,) = json.loads(run.stdout)["warnings"]
    assert "expect invalid runs" in warning


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, state: Path) -> None:
    before = leftovers(set())
    argv = [sys.executable, "-m", "testbed.cli", "calibrate", str(slow_ring(tmp_path, "2Mbit"))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("delivering" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "what was found of whole schemes until then is saved" in said
    assert "Traceback" not in said
    assert not state.exists()
    assert not list(tmp_path.glob("llmsync-calibrate-*"))
    assert not leftovers(before)


def test_wrong_requests() -> None:
    assert command("calibrate", "nowhere").returncode == 2
    assert command("calibrate", "smoke", "--scheme", "bier:color=red").returncode == 2
