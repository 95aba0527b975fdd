"""A scenario with faults of many kinds under three schemes, its replay, and faults by hand, through the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.bundle import read_bundle
from testbed.record import Event

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SCENARIO = """
name: faults
topology: ring
schemes: [pim-ssm]
transport: {rate: 20Mbit}
timeline:
  - {at: 0.5s, action: cut, target: {most_sites: link}, duration: 1s}
  - {at: 2.5s, action: flap, target: {link: r3-r4}, period: 300ms, count: 2}
  - {at: 4s, action: kill, target: {daemon: {node: r4, name: agent}}, duration: 500ms}
  - {at: 5.5s, action: drop, target: {role: core-link}, messages: ospf, probability: 50%, duration: 500ms}
  - {at: 7s, action: silent, target: {link: r2-r3}, duration: 1s}
random_faults:
  - count: 2
    start: 9s
    gap: 500ms
    duration: 500ms
    actions:
      - {action: crash, target: {role: core-router}}
      - {action: degrade, target: {role: core-link}, rate: 10Mbit}
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed.cli", *arguments], capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("scheme", ["pim-ssm", "bier", "sr-p2mp"])
def test_a_model_is_delivered_through_faults_of_many_kinds(scheme: str, tmp_path: Path) -> None:
    path, out = tmp_path / "faults.yaml", tmp_path / "bundle"
    path.write_text(SCENARIO)
    done = command("run", str(path), "--size", "16MiB", "--scheme", scheme, "--out", str(out), "--json")
    bundle = read_bundle(out)
    (run,) = bundle.runs
    assert run.outcome in ("passed", "invalid"), (run.reason, done.stderr)
    assert all(site.delivered for site in run.sites)
    begun = {e.detail["id"]: e for e in bundle.events if e.kind == "fault"}
    assert begun.keys() == {e.detail["id"] for e in bundle.events if e.kind == "fault-restored"}
    skipped = [e.detail["text"] for e in bundle.events if e.kind == "fault-skipped"]
    assert skipped == (["kill agent of r4"] if scheme == "pim-ssm" else [])
    assert any("kill agent" in warning for warning in run.fidelity["warnings"]) == bool(skipped)
    assert len(begun) == 7 - len(skipped)
    first = min(begun.values(), key=lambda e: e.t)
    # On a starved host a neighbour is taken for dead now and then, and the tree is elsewhere, or in between.
    assert len(first.detail["links"]) == 1
    assert first.detail["found_by"] in (f"the state of {scheme}", "the growth of the links' counters")
    assert first.detail["target"] == "the link that carries most sites"

    # The bundle's scenario names what was drawn; the run's own timeline also what was found.
    listed = yaml.safe_load((out / "scenario.yaml").read_text())
    assert len(listed["timeline"]) == 7
    assert not listed.get("random_faults")
    timeline = out / "runs" / f"{scheme}-1" / "timeline.yaml"
    found = yaml.safe_load(timeline.read_text())["timeline"]
    assert found[0]["target"] == {"link": "r1-r2"}
    if scheme == "bier":  # once is enough
        again = tmp_path / "again"
        command("run", str(out / "scenario.yaml"), "--timeline", str(timeline), "--out", str(again), "--json")
        assert [hit(e) for e in faults(read_bundle(again).events)] == [hit(e) for e in faults(bundle.events)]


def faults(events: Any) -> list[Event]:
    return sorted((e for e in events if e.kind == "fault"), key=lambda e: e.t)


def hit(event: Event) -> tuple[Any, ...]:
    """What a fault was, but for who it was by chance that found its target."""
    return tuple(event.detail.get(key) for key in ("action", "text", "links", "nodes", "daemon", "parameters"))


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    name = f"byhand{os.getpid()}"
    up = command("up", "ring", "--lab", name, "--json")
    assert up.returncode == 0, up.stderr
    try:
        yield name
    finally:
        assert command("down", "--lab", name).returncode == 0


def fault(lab: str, *arguments: str) -> Any:
    done = command("fault", *arguments, "--lab", lab, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def carrier(lab: str, node: str, interface: str) -> bool:
    done = command("exec", "--lab", lab, node, "ip", "-j", "link", "show", interface)
    return "LOWER_UP" in json.loads(done.stdout)[0]["flags"]


def test_a_fault_by_hand_lasts_until_it_is_undone(lab: str) -> None:
    (injected,) = fault(lab, "inject", "cut", "r2-r1")
    assert injected["links"] == ["r1-r2"]
    assert not carrier(lab, "r2", "r2-eth0")
    (listed,) = fault(lab, "list")
    assert (listed["id"], listed["text"], listed["duration"]) == (injected["id"], "cut r1-r2", None)
    human = command("fault", "list", "--lab", lab).stdout
    assert "until it is undone" in human
    assert fault(lab, "undo", str(injected["id"]))["text"] == "cut r1-r2"
    assert fault(lab, "list") == []
    assert carrier(lab, "r2", "r2-eth0")


def test_several_targets_and_parameters(lab: str) -> None:
    (two,) = fault(lab, "inject", "cut", "r1-r2,r3-r4")
    assert two["links"] == ["r1-r2", "r3-r4"]
    (slow,) = fault(lab, "inject", "degrade", "r2-r3", "rate=10Mbit")
    assert slow["parameters"] == {"rate": 10_000_000}
    (killed,) = fault(lab, "inject", "kill", "pimd@site-router")
    assert killed["daemon"] == "pimd"
    assert killed["nodes"][0] in ("s1", "s2", "s3")
    for each in (killed, slow, two):
        fault(lab, "undo", str(each["id"]))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["inject", "cutt", "r1-r2"], 2, "did you mean cut?"),
        (["inject", "cut", "r1-r9"], 2, "there is no link 'r1-r9'"),
        (["inject", "crash", "r1-r2"], 2, "crash takes nodes"),
        (["inject", "degrade", "r1-r2"], 2, "at least one of rate"),
        (["inject", "degrade", "r1-r2", "loss=1%"], 2, "no impairment engine is on it"),
        (["inject", "degrade", "r1-r2", "loss"], 2, "PARAMETER=VALUE"),
        (["inject", "cut", "r1-r2", "--for", "soon"], 2, "'soon' is not a duration"),
        (["inject", "kill", "agent@r1"], 2, "scheme pim-ssm has no agent on r1"),
        (["inject", "kill", "controller"], 2, "no controller"),
        (["undo", "4711"], 2, "no fault 4711"),
    ],
)
def test_a_wrong_fault_is_told(lab: str, arguments: list[str], status: int, words: str) -> None:
    done = command("fault", *arguments, "--lab", lab)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lab_that_does_not_run_is_told(lab: str) -> None:
    done = command("fault", "list", "--lab", "nowhere")
    assert done.returncode == 2
    assert "no lab 'nowhere' is running" in done.stderr
    assert lab in done.stderr
