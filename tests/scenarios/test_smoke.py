"""Whole scenarios: a model over real FRR through a real failure, and what the command makes of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.bundle import read_bundle
from testbed.lab import registry
from testbed.plan.timers import profile
from testbed.run.fidelity.turns import read_turns

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SMALL = ["--size", "24MiB"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed.cli", *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def leftovers(before: set[str]) -> set[str]:
    """Labs that are neither running nor were there before: a run must not leave any. Those that other tests kill at
    this very moment (test_lab.py names them k<pid>-<moment>) are theirs to clean."""
    dead = {lab for lab, state in registry.labs().items() if not registry.is_running(lab, state)}
    return {lab for lab in dead if not re.fullmatch(r"k\d+-\w+", lab)} - before


# By scheme: the events that are stages of its convergence, its control protocol, a kind of its state.
OWN: dict[str, tuple[str, str, str] | None] = {
    "pim-ssm": ("mroute", "pim", "mroutes"),
    "pim-sm": ("mroute", "pim", "mroutes"),
    "bier": ("bift", "bier", "BIFT entries"),
    "ingress-replication": ("rows", "replication", "Replication segments"),
    "unicast": None,
}


@pytest.mark.parametrize("scheme", OWN)
def test_a_model_is_delivered_through_a_link_failure(scheme: str, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    own = OWN[scheme]
    stage_kind, protocol, entries = own or ("", "", "")
    done = command("run", "smoke", *SMALL, "--scheme", scheme, "--out", str(out), "--json")
    said = json.loads(done.stdout)
    assert Path(said["report"]).stat().st_size > 10_000
    bundle = read_bundle(out)
    (run,) = bundle.runs
    # A loaded host makes a run invalid (exit status 1), and that is right; a failed one is not.
    assert run.outcome in ("passed", "invalid"), (run.reason, done.stderr)
    assert done.returncode == (0 if run.outcome == "passed" else 1)
    assert {s.name for s in run.sites} == {"s1-st", "s2-st", "s3-st"}
    for site in run.sites:
        assert site.delivered, site.reason
        assert site.verified_bytes == site.expected_bytes > 24 * 2**20
        assert site.curve
        assert site.duplicates == 0 or scheme == "pim-sm"  # the switch-over may double a probe (RFC 7761 4.2.1)
    kinds = [e.kind for e in bundle.events]
    assert kinds.count("fault") == kinds.count("fault-restored") == 1
    fault = next(e for e in bundle.events if e.kind == "fault")
    restored = next(e for e in bundle.events if e.kind == "fault-restored")
    (over,) = (e for e in bundle.events if e.kind == "phase" and e.detail["name"].startswith("reading state"))
    assert over.t >= restored.t + profile("fast").cold_start  # so that what the restoration does is seen
    for kind in ("link-down", "route", *([stage_kind] if own else [])):
        assert any(e.kind == kind and fault.t <= e.t < fault.t + 2 for e in bundle.events), kind
    # Each stage of the cut is known. (Which came first is for the unit tests: a loaded host is late.)
    cut = [stage for stage in run.stages if stage["site"] and not stage["fault"].startswith("restored")]
    stages = {f"{stage_kind}_ms"} if own else set()
    # Not at each site: on a loaded host one may lose probes at the time of the cut that no router had a part in.
    known = {key for stage in cut for key, value in stage.items() if value is not None}
    assert known >= {"detection_ms", "neighbour_ms", "lsa_sent_ms", "lsa_ms", "route_ms", "first_probe_ms", *stages}
    assert all(stage["detected_by"] for stage in cut)
    changed = {row["router"]: row for row in run.stages[0]["routers"]}
    assert {"r1", "r2"} <= changed.keys()
    assert all("lsa_sent_ms" in changed[r] for r in ("r1", "r2"))
    assert all(any(stage in row for row in changed.values()) for stage in stages)
    if own:
        assert sum(counts.get(entries, 0) for counts in run.state.values()) > 0
        assert run.control_setup[protocol]["messages"] > 0
    else:
        assert not any(any(counts.values()) for counts in run.state.values())
    assert run.control.keys() == run.control_setup.keys() == {*([protocol] if own else []), "ospf", "bfd"}
    for counts in (*run.control.values(), *run.control_setup.values()):
        assert min(counts.values()) >= 0  # an interface that went down begins at 0 again
    assert run.control["ospf"]["link_state_update"] > 0
    turns = {"ospfd", "zebra", *([] if stage_kind in ("", "mroute") else ["mcfwd"])}
    assert run.fidelity["turns"].keys() >= turns or not read_turns([("here", "python", os.getpid())])
    assert all(count > 0 for count in run.fidelity["forwarder_drops"].values())
    assert (run.fidelity["causes"] != []) == (run.outcome == "invalid")
    if scheme == "bier":
        assert run.control_setup[protocol]["flow commands"] == 1
        assert run.control_setup[protocol]["LSAs originated"] >= len(run.state)
        with_flows = [router for router, counts in run.state.items() if counts["flows (BFIR)"]]
        assert with_flows == ["repo"]  # nothing per flow anywhere else
    if scheme == "ingress-replication":
        assert run.control_setup[protocol]["commands"] == len(run.sites) + 1
        held = {router: counts["branches"] for router, counts in run.state.items() if counts["Replication segments"]}
        assert held == {"repo": 3, "s1": 0, "s2": 0, "s3": 0}  # and nothing in between
    for link in run.links:
        if link.ideal_bytes:
            assert link.bytes > 0, link
    assert not leftovers(set())


def test_faults_show_at_the_sites_behind_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the bundle's default place is relative to where the user stands
    done = command("run", "smoke", *SMALL, "--capture", "r2-r1")
    (out,) = (tmp_path / "results").iterdir()
    assert f"report: results/{out.name}/report.html" in done.stdout
    (run,) = read_bundle(out).runs
    assert all(site.delivered for site in run.sites), done.stderr
    hit = {s.name for s in run.sites if any("cut" in o.cause and "restored" not in o.cause for o in s.outages)}
    assert hit, "a cut on the tree must be seen"
    assert hit < {s.name for s in run.sites}, "the site in front of the cut must not see it"
    (packets,) = (out / "runs").glob("*/pcap/r1-r2.pcap")
    assert packets.stat().st_size > 100_000  # of the model, until the cut and after it, and of all else


def test_ctrl_c_still_writes_the_bundle(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    process = start_delivery("512MiB", out)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    bundle = read_bundle(out)
    assert bundle.interrupted
    assert [r.outcome for r in bundle.runs] == ["interrupted"]
    assert "report.html" in stdout
    assert not leftovers(set())


def test_a_destination_that_dies_is_not_delivered_whatever_the_tool_says(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    process = start_delivery("256MiB", out)
    victim = process_of("uftpd", "s2-st", process.pid)
    os.kill(victim, signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode == 1
    (run,) = read_bundle(out).runs
    assert run.outcome == "failed"
    by_name = {s.name: s for s in run.sites}
    assert not by_name["s2-st"].delivered
    assert by_name["s2-st"].reason
    assert by_name["s1-st"].delivered
    assert by_name["s3-st"].delivered


def test_a_client_that_dies_is_not_delivered_and_the_others_are(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    process = start_delivery("256MiB", out, "unicast")
    os.kill(process_of("curl", "s2-st", process.pid), signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode == 1
    (run,) = read_bundle(out).runs
    assert run.outcome == "failed"
    assert {s.name: s.delivered for s in run.sites} == {"s1-st": True, "s2-st": False, "s3-st": True}
    assert "the client on s2-st was killed by signal 9" in run.reason


def test_a_server_that_dies_fails_the_run(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    process = start_delivery("512MiB", out, "unicast")
    os.kill(process_of("nginx", "repo-src", process.pid), signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode == 1
    (run,) = read_bundle(out).runs
    assert run.outcome == "failed"
    for site in run.sites:
        assert not site.delivered
        assert "the server on repo-src was killed by signal 9" in site.reason


def start_delivery(size: str, out: Path, scheme: str = "pim-ssm") -> subprocess.Popen[str]:
    """A run of the smoke scenario, up to the moment its model is on the way."""
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli", "run", "smoke", "--scheme", scheme, "--size", size, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("delivering" in line for line in process.stderr)
    return process


def process_of(program: str, host: str, owner: int) -> int:
    """The process of a delivery that runs `program` on a host of the lab that `owner` runs, found by its tag: so would
    `testbed clean` find it, were its owner killed."""
    deadline = time.monotonic() + 60 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))
    while time.monotonic() < deadline:  # a delivery begins a moment after it is announced
        for pid, _, lab_owner in registry._tagged():
            if lab_owner.pid != owner:
                continue
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            mine = any(f"/{host}/".encode() in a for a in argv)
            if argv[0].endswith(program.encode()) and mine:
                return pid
        time.sleep(0.01)
    raise AssertionError(f"no {program} on {host}")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "nowhere"], 2, "nowhere"),
        (["run", "smoke", "--scheme", "carrier-pigeon"], 2, "carrier-pigeon"),
        (["run", "smoke", "--scheme", "bier:bsl=100,color=red"], 2, "color"),
        (["run", "smoke", "--scheme", "pim-ssm:x=1", "--size", "lots"], 2, "lots"),
        (["topology", "validate", "nothing.yaml"], 2, "nothing.yaml"),
        (["exec", "--lab", "none", "r1", "true"], 2, "none"),
        (["report", "/nonexistent"], 2, "/nonexistent"),
    ],
)
def test_wrong_requests_end_with_status_2(arguments: list[str], status: int, words: str) -> None:
    done = command(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
