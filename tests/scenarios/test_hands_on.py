"""A lab that stays: looking into it, faults by hand, its packets."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_smoke import command

from testbed.lab import registry

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

OSPF = 89


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    name = f"hands{os.getpid()}"
    up = command("up", "ring", "--lab", name, "--json")
    assert up.returncode == 0, up.stderr
    try:
        yield name
    finally:
        down = command("down", "--lab", name, "--json")
    assert down.returncode == 0, down.stderr
    assert name not in registry.labs()


def test_what_runs_can_be_looked_into(lab: str) -> None:
    rows: list[dict[str, Any]] = json.loads(command("status", "--json").stdout)
    (row,) = [r for r in rows if r["lab"] == lab]
    assert row["phase"] == "up"
    assert {"repo", "r1", "r2", "s1", "s1-st"} <= row["nodes"].keys()
    assert command("exec", "--lab", lab, "r1", "hostname").stdout.strip() == "r1"
    assert command("exec", "--lab", lab, "r1", "sh", "-c", "exit 5").returncode == 5
    assert "has no node" in command("exec", "--lab", lab, "nobody", "true").stderr
    second = command("up", "ring", "--lab", lab)
    assert second.returncode == 1
    assert "exists already" in second.stderr


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


def capture(lab: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("capture", *arguments, "--lab", lab)


def protocols(pcap: bytes) -> list[int]:
    """The IP protocol of each packet."""
    found, at = [], 24
    while at < len(pcap):
        found.append(pcap[at + 16 + 14 + 9])
        at += 16 + struct.unpack_from("<I", pcap, at + 8)[0]
    return found


def test_packets_of_a_link_are_written_to_a_file(lab: str, tmp_path: Path) -> None:
    file = tmp_path / "link.pcap"
    asked = ["r2-r1", "--at", "r1", "--write", str(file), "--count", "3", "--json"]
    asked += ["--filter", f"ip proto {OSPF}"]
    told = json.loads(capture(lab, *asked).stdout)
    assert (told["node"], told["interface"], told["packets"]) == ("r1", "r1-eth1", 3)
    assert protocols(file.read_bytes()) == [OSPF] * 3


def test_packets_are_shown_until_ctrl_c(lab: str) -> None:
    argv = [sys.executable, "-m", "testbed.cli", "capture", "r1-r2", "--lab", lab]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("OSPF" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "packets of r1-r2 at r1 (r1-eth1)" in said


def test_a_capture_ends_by_itself_when_its_time_is_over(lab: str) -> None:
    done = capture(lab, "r1-r2", "--at", "r2", "--for", "100ms", "--filter", "udp port 9")
    assert "0 packets of r1-r2 at r2" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r1-r3"], "no link 'r1-r3'; it has: "),
        (["r1-r2", "--at", "s1"], "does not end at 's1'; it ends at: r1, r2"),
        (["r1-r2", "--for", "soon", "--count", "0"], "--count 0: nothing would be captured"),
        (["r1-r2", "--json"], "add --write FILE"),
        (["r1-r2", "--write", "/nowhere/file"], "there is no such folder"),
        (["r1-r2", "--count", "1", "--filter", "bicycle"], "syntax error"),
    ],
)
def test_a_wrong_capture_is_told(lab: str, arguments: list[str], words: str) -> None:
    done = capture(lab, *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
