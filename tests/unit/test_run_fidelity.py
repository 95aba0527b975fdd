"""What the host's own numbers are read as, and when they make a run invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.run.counters import Counters
from testbed.run.fidelity import (
    HostLoad,
    LoadSampler,
    Measured,
    assess,
    idle_between,
    parse_snmp,
    parse_softnet,
    parse_stat,
    udp_drops,
)

STAT = "cpu  30 0 30 140 0 0 0 0 0 0\ncpu0 10 0 10 70 5 0 5 0 9 9\ncpu1 20 0 20 50 0 0 0 10 0 0\nintr 5\nctxt 9\n"
SOFTNET = "000010 00000000 00000002 0\n000020 0000001f 00000000 0\n"
SNMP = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors RcvbufErrors\nUdp: 10 0 3 3\n"


def test_the_kernels_texts() -> None:
    assert parse_stat(STAT) == {"cpu0": (75, 100), "cpu1": (50, 100)}
    assert parse_softnet(SOFTNET) == 31
    assert parse_snmp(SNMP)["RcvbufErrors"] == 3
    assert parse_snmp("") == {}
    assert parse_stat(Path("/proc/stat").read_text())["cpu0"][1] > 0
    assert udp_drops({"here": 1})["here"] >= 0


def test_idle_ratio_of_each_core() -> None:
    before, after = {"cpu0": (10, 100), "cpu1": (50, 100)}, {"cpu0": (60, 200), "cpu1": (50, 100)}
    assert idle_between(before, after) == {"cpu0": 0.5, "cpu1": 1.0}


def load(*samples: tuple[float, float], softnet: int = 0) -> HostLoad:
    return HostLoad(tuple({"cpu0": a, "cpu1": b} for a, b in samples), softnet)


def test_a_good_run_has_nothing_to_say() -> None:
    fidelity = assess(Measured(load=load((0.5, 0.25), (0.75, 0.75)), sender={"late_p99_ms": 0.2}))
    assert (fidelity["warnings"], fidelity["invalid"]) == ([], "")
    assert fidelity["cpu_idle"] == {"cpu0": {"mean": 0.625, "min": 0.5}, "cpu1": {"mean": 0.5, "min": 0.25}}


def test_a_host_that_was_the_bottleneck_makes_the_run_invalid() -> None:
    busy, one_core = (0.0, 0.02), (0.0, 0.5)
    assert "every core was busy" in assess(Measured(load=load(busy, busy, one_core)))["invalid"]
    half = assess(Measured(load=load(busy, one_core)))
    assert half["invalid"] == ""
    assert half["warnings"] == ["every core was busy for 50% of the transfer"]
    assert "probe sender was 21.0 ms late" in assess(Measured(sender={"late_p99_ms": 21.0}))["invalid"]


@pytest.mark.parametrize(
    ("measured", "warning"),
    [
        (Measured(load=load((1, 1), softnet=3)), "3 packets dropped"),
        (Measured(udp_drops={"a-st": 4, "b-st": 0}), r"full socket buffers (a-st: 4)"),
        (Measured(sender={"late_p99_ms": 3.0}), "3.0 ms late"),
        (Measured(collector={"clock_steps": 1}), "stepped 1 times"),
        (Measured(requested_rate=500e6, achieved_rate=400e6), "80% of the requested rate"),
    ],
)
def test_what_only_warns(measured: Measured, warning: str) -> None:
    fidelity = assess(measured)
    assert fidelity["invalid"] == ""
    assert len(fidelity["warnings"]) == 1
    assert warning in fidelity["warnings"][0]


def test_drops_are_expected_at_links_that_a_fault_touched() -> None:
    links = {("a-b", "a"): Counters(1, 1, 5, 0, 0), ("b-c", "b"): Counters(1, 1, 2, 1, 0)}
    fidelity = assess(Measured(links=links, faulted={"a-b"}))
    assert (fidelity["qdisc_drops"], fidelity["qdisc_drops_unexplained"]) == (8, 3)
    assert fidelity["warnings"] == ["packets dropped at links no fault touched (b-c from b: 3)"]


def test_the_sampler_reads_what_passed_between_start_and_stop(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/softnet_stat").write_text(SOFTNET)
    (tmp_path / "stat").write_text("cpu0 0 0 0 0 0 0 0 0\n")
    sampler = LoadSampler(period_s=3600, proc=tmp_path).start()
    (tmp_path / "stat").write_text("cpu0 75 0 0 25 0 0 0 0\n")
    (tmp_path / "net/softnet_stat").write_text(SOFTNET.replace("1f", "2f"))
    assert sampler.stop() == HostLoad(({"cpu0": 0.25},), 16)
