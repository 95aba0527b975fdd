"""What the host's own numbers are read as, and when they make a run invalid."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.plan.build import make_plan
from testbed.run.counters import Counters
from testbed.run.fidelity.crowding import Crowded, CrowdingSampler, crowded_spans, within
from testbed.run.fidelity.forwarders import Forwarded, growth, read_forwarders
from testbed.run.fidelity.judge import Measured, assess
from testbed.run.fidelity.kernel import (
    idle_between,
    parse_schedstat,
    parse_sent,
    parse_snmp,
    parse_softnet,
    parse_stat,
    udp_counts,
)
from testbed.run.fidelity.load import HostLoad, LoadSampler
from testbed.run.fidelity.rates import LinkRate, Sample, asked_rates, link_rates
from testbed.run.fidelity.steadiness import Steadiness, steadiness
from testbed.run.fidelity.turns import Delay, delays, read_turns, softirq_threads
from testbed.run.fidelity.watch import Watched
from testbed.run.probe import Probes
from testbed.schemes import Flow
from testbed.spec.load import load_topology

STAT = "cpu  30 0 30 140 0 0 0 0 0 0\ncpu0 10 0 10 70 5 0 5 0 9 9\ncpu1 20 0 20 50 0 0 0 10 0 0\nintr 5\nctxt 9\n"
SOFTNET = "000010 00000000 00000002 0\n000020 0000001f 00000000 0\n"
SNMP = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors RcvbufErrors\nUdp: 10 0 3 3\n"
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
 r1-r2:    1200      10    0    0    0     0          0         0     3400      20    0    0    0     0       0          0
"""  # noqa: E501


def test_the_kernels_texts() -> None:
    assert parse_stat(STAT) == {"cpu0": (75, 100), "cpu1": (50, 100)}
    assert parse_softnet(SOFTNET) == 31
    assert parse_snmp(SNMP)["RcvbufErrors"] == 3
    assert parse_snmp("") == {}
    assert parse_sent(DEV) == {"lo": 0, "r1-r2": 3400}
    assert parse_schedstat("186404756 30324553 731\n") == (30324553, 731)


def test_this_kernels_own_texts() -> None:
    assert parse_stat(Path("/proc/stat").read_text())["cpu0"][1] > 0
    assert "lo" in parse_sent(Path("/proc/self/net/dev").read_text())
    received, dropped = udp_counts({"here": os.getpid()})["here"]
    assert received >= 0 <= dropped
    for waited, turns in read_turns([("here", "python", os.getpid()), ("gone", "x", 2**22 + 1)]).values():
        assert waited >= 0 < turns
    assert all(name == "ksoftirqd" and node.startswith("core ") for node, name, _ in softirq_threads())


def test_idle_ratio_of_each_core() -> None:
    before, after = {"cpu0": (10, 100), "cpu1": (50, 100)}, {"cpu0": (60, 200), "cpu1": (50, 100)}
    assert idle_between(before, after) == {"cpu0": 0.5, "cpu1": 1.0}


def test_turns_are_put_together_by_name() -> None:
    before = {("a", "mcfwd", 1): (1_000_000, 10), ("b", "mcfwd", 2): (0, 1), ("b", "zebra", 3): (0, 7)}
    after = {
        ("a", "mcfwd", 1): (21_000_000, 210),  # 20 ms in 200 turns
        ("b", "mcfwd", 9): (90_000_000, 300),  # started anew: 90 ms in 300
        ("c", "mcfwd", 4): (9_000_000, 3),  # too few to have a mean of their own
        ("b", "zebra", 3): (0, 7),  # no turn at all
    }
    assert delays(before, after) == {"mcfwd": Delay(round(119 / 503, 4), 0.3, "b")}
    few = {("a", "mcfwd", 1): (3_000_000, 30), ("c", "mcfwd", 4): (9_000_000, 3)}
    assert delays({}, few)["mcfwd"].worst_node == "a"


def test_when_no_core_was_idle() -> None:
    readings = [(0.0, {"cpu0": 5, "cpu1": 5}), (0.1, {"cpu0": 5, "cpu1": 5}), (0.2, {"cpu0": 5, "cpu1": 6}),
                (0.3, {"cpu0": 5, "cpu1": 6})]  # fmt: skip
    spans = crowded_spans(readings)
    assert spans == ((0.0, 0.1), (0.2, 0.3))
    assert within(spans, 0.05, 0.25) == pytest.approx(0.1)
    assert within(spans, 0.1, 0.2) == 0
    assert within((), 0, 1) == 0


def test_a_crowded_outage_that_is_short_or_partly_so_is_told_at_most() -> None:
    def judged(length: float, crowded: float) -> dict[str, Any]:
        return assess(replace(GOOD, outages=(Crowded("s1-st", "", length, crowded),)))

    assert judged(0.09, 0.09)["warnings"] == []  # too few ticks to tell
    partly = judged(1.0, 0.3)
    assert (partly["invalid"], partly["crowded_outage_ms"]) == ("", 300)
    assert "no core was idle for 300 of the 1000 ms that s1-st was without packets:" in partly["warnings"][0]


def test_crowding_is_read_from_the_kernel(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 1 1 1 1 0 0 0 0\ncpu0 1 1 1 1 0 0 0 0\n")
    (whole,) = CrowdingSampler(period_s=60, stat=stat).start().stop()
    assert whole[0] <= whole[1]


def test_what_forwarders_dropped_meanwhile() -> None:
    before = {"a": Forwarded(100, {"no-flow": 5}), "b": Forwarded(50, {"mtu": 1})}
    after = {"a": Forwarded(150, {"no-flow": 5, "rx-socket": 2}), "b": Forwarded(10, {"mtu": 1}), "c": Forwarded(1)}
    grown = growth(before, after)
    assert grown == {"a": Forwarded(50, {"rx-socket": 2}), "b": Forwarded(10, {"mtu": 1}), "c": Forwarded(1)}
    assert [f.of_the_host for f in grown.values()] == [2, 0, 0]
    assert read_forwarders({"nobody": Path("/nonexistent/mcfwd.sock")}) == {}


# -- rates ---------------------------------------------------------------------------------------------------------

A, B = ("l1", "a"), ("l2", "b")


def samples(*rows: tuple[float, int, int]) -> list[Sample]:
    return [Sample(t, {A: a, B: b}) for t, a, b in rows]


def steady(seconds: int, rate: int, share: float = 1.0) -> list[Sample]:
    """A second of announcing, `seconds` of `rate` octets a second on A and a share of it on B, a second of nothing."""
    rows = [(0.0, 0, 0), (1.0, 10, 0)]
    rows += [(1.0 + t, 10 + rate * t, round(rate * share * t)) for t in range(1, seconds + 1)]
    rows.append((2.0 + seconds, rows[-1][1], rows[-1][2]))
    return samples(*rows)


@pytest.mark.parametrize(
    ("sent", "copy", "until", "expected"),
    [
        (steady(6, 1000), 10_000, None, {A: 8000, B: 8000}),
        (steady(6, 1000, 0.5), 10_000, None, {A: 8000, B: 4000}),
        (steady(6, 1000, 0.05), 10_000, None, {A: 8000}),  # the data did not run there
        (steady(6, 1000), 10_000, 6.5, {A: 8000, B: 8000}),
        (steady(6, 1000), 10_000, 5.5, {}),  # a fault left three whole periods, and the first does not count
        (steady(6, 1000), 3_500, None, {}),  # the first copy was over before
        (steady(4, 1000), 10_000, None, {}),
        ([], 10_000, None, {}),
    ],
)
def test_rates_while_the_data_ran(sent: list[Sample], copy: int, until: float | None, expected: dict[Any, int]) -> None:
    asked = {A: 8000.0, B: 8000.0}
    assert {d: r.achieved for d, r in link_rates(sent, asked, A, copy, until).items()} == expected


def test_a_stall_of_a_period_does_not_count_and_a_slow_sender_does() -> None:
    rows = [(0.0, 0, 0), *((float(t), 1000 * (t - (t > 4)), 0) for t in range(1, 9))]
    assert link_rates(samples(*rows), {A: 8000.0}, A, 10**6, None) == {A: LinkRate(8000.0, 8000.0)}
    assert link_rates(steady(8, 600), {A: 8000.0}, A, 10**6, None)[A].ratio == 0.6
    assert link_rates(steady(8, 20), {A: 8000.0}, A, 10**6, None)[A].ratio == 0.02


def test_what_a_sync_asks_of_each_link() -> None:
    plan = make_plan(load_topology("ring"))
    source, hosts = plan.repository, tuple(f"s{n}-st" for n in (1, 2, 3))
    group = asked_rates(plan, source, hosts, Flow(1, "232.0.0.1", True), 5.0)
    assert set(group.values()) == {5.0}
    (first,) = plan.nodes[source].interfaces
    at_source, behind = (first.link, source), (f"{plan.repository_edge}-r1", plan.repository_edge)
    copied = asked_rates(plan, source, hosts, Flow(1, "232.0.0.1", True, copied=True), 5.0)
    assert (copied[at_source], copied[behind]) == (5.0, 15.0)
    unicast = asked_rates(plan, source, hosts, Flow(1), 5.0)
    assert (unicast[at_source], unicast[behind]) == (15.0, 15.0)
    for rates in (copied, unicast):
        assert rates.keys() == group.keys()
        assert all(rates[link.name, link.a.node if link.b.node in hosts else link.b.node] == 5.0
                   for link in plan.links.values() if {link.a.node, link.b.node} & set(hosts))  # fmt: skip


def test_servers_of_a_site_share_what_its_router_copies_and_not_what_is_sent_to_each() -> None:
    plan = make_plan(load_topology("fig0"))
    source = plan.repository
    hosts = tuple(host.name for site in plan.sites for host in plan.destinations(site.name, "servers"))
    assert len(hosts) == 12
    (first,) = plan.nodes[source].interfaces
    at_source, at_server = (first.link, source), next(i.link for i in plan.nodes[hosts[0]].interfaces)
    for flow, sent, core in ((Flow(1), 12.0, 12.0), (Flow(1, "232.0.0.1", True, copied=True), 1.0, 3.0)):
        rates = asked_rates(plan, source, hosts, flow, 1.0)
        assert rates[at_source] == sent
        assert sum(r for (_, node), r in rates.items() if node == plan.repository_edge) == core
        assert rates[at_server, plan.nodes[hosts[0]].site] == 1.0


# -- steadiness ----------------------------------------------------------------------------------------------------


def probes(delays_ms: list[float], lost: tuple[int, ...] = ()) -> Probes:
    """One a ms from the time of 1 s."""
    kept = [n for n in range(len(delays_ms)) if n not in lost]
    sent = np.array([10**9 + n * 10**6 for n in kept], np.int64)
    late = np.array([round(delays_ms[n] * 1e6) for n in kept], np.int64)
    return Probes(np.array(kept, np.int64), sent, sent + late)


def test_jitter_and_losses_before_a_fault() -> None:
    delays_ms = [5.0] * 97 + [8.0] * 3 + [500.0] * 100
    assert steadiness(probes(delays_ms, lost=(7, 8, 150)), 0.0, 1.1) == Steadiness(3.0, 100, 2)
    whole = steadiness(probes(delays_ms), 0.0, None)
    assert whole is not None
    assert whole.jitter_ms == 495.0
    assert steadiness(probes(delays_ms), 0.0, 1.04) is None  # too few
    assert steadiness(probes([]), 0.0, None) is None


# -- the judgement -------------------------------------------------------------------------------------------------


def load(*samples: tuple[float, float], softnet: int = 0) -> HostLoad:
    return HostLoad(tuple((float(t), {"cpu0": a, "cpu1": b}) for t, (a, b) in enumerate(samples)), softnet)


BUSY, ONE_CORE = (0.0, 0.02), (0.0, 0.5)
LINKS = {("a-b", "a"): Counters(1, 100_000, 0, 0, 0), ("b-c", "b"): Counters(1, 100_000, 0, 0, 0)}
GOOD = Measured(
    watched=Watched(load(ONE_CORE, (0.75, 0.75)), {"mcfwd": Delay(0.03, 0.05, "c1")}, {"s1-st": (9000, 0)},
                    {"c1": Forwarded(9000, {"no-flow": 50})}),
    links=LINKS,
    rates={A: LinkRate(100e6, 100e6), B: LinkRate(100e6, 99e6)},
    source=A,
    steadiness={"s1-st": Steadiness(1.0, 5000, 0)},
    sender={"late_p99_ms": 0.2},
)  # fmt: skip


def watched(**changes: Any) -> Measured:
    return replace(GOOD, watched=replace(GOOD.watched, **changes))


def dropped(count: int) -> dict[Any, Counters]:
    return LINKS | {("b-c", "b"): Counters(1, 100_000, count - 1, 1, 0)}


def test_a_good_run_has_nothing_to_say() -> None:
    fidelity = assess(GOOD)
    assert (fidelity["warnings"], fidelity["invalid"], fidelity["causes"]) == ([], "", [])
    assert fidelity["cpu_idle"] == {"cpu0": {"mean": 0.375, "min": 0.0}, "cpu1": {"mean": 0.625, "min": 0.5}}
    assert (fidelity["requested_rate"], fidelity["achieved_rate"], fidelity["slowest_link_share"]) == (1e8, 1e8, 0.99)
    assert assess(Measured())["invalid"] == ""


@pytest.mark.parametrize(
    ("measured", "cause", "words"),
    [
        (watched(load=load(BUSY, BUSY, ONE_CORE)), "cpu", "every core was busy (less than 3% idle) for 67% of"),
        (replace(GOOD, outages=(Crowded("s2-st", "cut r1-r2", 0.2, 0.15), Crowded("s3-st", "", 0.2, 0.01))),
         "convergence", "idle for 150 of the 200 ms that s2-st was without packets after cut r1-r2: the routers"),
        (watched(turns={"mcfwd": Delay(1.0, 9.0, "c7")}), "run-queue", "mcfwd of c7 waited 9.0 ms for each turn"),
        (watched(load=load(ONE_CORE, softnet=300)), "softnet", "300 packets dropped"),
        (watched(udp={"s1-st": (9000, 20), "s2-st": (9000, 0)}), "sockets", "full socket buffers (s1-st: 20)"),
        (watched(forwarders={"c1": Forwarded(9000, {"rx-socket": 12})}), "forwarders", "full sockets (c1: 12)"),
        (watched(crowded={("b-c", "b"): 200}), "impairments", "no room for packets (b-c from b: 200)"),
        (replace(GOOD, links=dropped(200)), "queues", "links no fault touched (b-c from b: 200)"),
        (replace(GOOD, rates={A: LinkRate(100e6, 60e6)}), "rate", "60% of the rate asked for, 100 Mb/s"),
        (replace(GOOD, rates=GOOD.rates | {B: LinkRate(1e8, 5e7)}), "link-rate", "was sent over them (l2 from b: 50%"),
        (replace(GOOD, sender={"late_p99_ms": 21.0}), "probe-sender", "21.0 ms late"),
        (replace(GOOD, steadiness={"x": Steadiness(30.0, 900, 0)}), "probe-jitter", "late before any fault"),
        (replace(GOOD, steadiness={"x": Steadiness(1.0, 900, 9)}), "probes-lost", "before any fault (x: 9 of 900)"),
    ],
)  # fmt: skip
def test_a_host_that_was_the_bottleneck_makes_the_run_invalid(measured: Measured, cause: str, words: str) -> None:
    fidelity = assess(measured)
    assert fidelity["causes"] == [cause]
    assert words in fidelity["invalid"]
    assert fidelity["warnings"] == [fidelity["invalid"]]


@pytest.mark.parametrize(
    ("measured", "warning"),
    [
        (watched(load=load(BUSY, ONE_CORE)), "every core was busy (less than 3% idle) for 50% of the transfer"),
        (watched(load=load((1, 1), softnet=3)), "3 packets dropped"),
        (watched(udp={"s1-st": (9000, 4)}), "full socket buffers (s1-st: 4)"),
        (watched(forwarders={"c1": Forwarded(9000, {"rx-socket": 2})}), "full sockets (c1: 2)"),
        (replace(GOOD, sender={"late_p99_ms": 3.0}), "3.0 ms late (99th percentile)"),
        (replace(GOOD, collector={"clock_steps": 1}), "stepped 1 times"),
        (replace(GOOD, rates={A: LinkRate(100e6, 93e6)}), "93% of the rate"),
        (replace(GOOD, links=dropped(3)), "b-c from b: 3"),
        # A detour may be too narrow: that is a result, and no fault of the host.
        (replace(GOOD, links=dropped(200), faults=True), "b-c from b: 200"),
    ],
)
def test_what_only_warns(measured: Measured, warning: str) -> None:
    fidelity = assess(measured)
    assert (fidelity["invalid"], fidelity["causes"]) == ("", [])
    assert len(fidelity["warnings"]) == 1
    assert warning in fidelity["warnings"][0]


@pytest.mark.parametrize(
    "measured",
    [
        replace(GOOD, links=dropped(200), faulted={"b-c"}, faults=True),
        replace(GOOD, links=dropped(200), lossy={"b-c"}),
        replace(GOOD, lossy={"b-c"}, steadiness={"x": Steadiness(1.0, 900, 9)}),
        replace(GOOD, lossy={"b-c"}, rates=GOOD.rates | {B: LinkRate(1e8, 8e7)}),
        replace(GOOD, asked_jitter_ms=40.0, steadiness={"x": Steadiness(45.0, 900, 0)}),
        # What no fault touched, and a shape or a table accounts for.
        watched(forwarders={"c1": Forwarded(9000, {"no-flow": 4000, "port-down": 9})}),
        watched(turns={"ospfd": Delay(1.0, 9.0, "c7")}),
    ],
)
def test_what_was_asked_for_is_not_held_against_the_host(measured: Measured) -> None:
    assert assess(measured)["warnings"] == []


def test_many_places_are_not_all_named() -> None:
    fidelity = assess(watched(udp={f"s{n}-st": (10, n) for n in range(1, 9)}))
    assert "(s1-st: 1, s2-st: 2, s3-st: 3 and 5 more)" in fidelity["invalid"]
    assert fidelity["socket_drops"]["s8-st"] == 8


def test_the_sampler_reads_what_passed_between_start_and_stop(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/softnet_stat").write_text(SOFTNET)
    (tmp_path / "stat").write_text("cpu0 0 0 0 0 0 0 0 0\n")
    sampler = LoadSampler(period_s=3600, proc=tmp_path).start()
    (tmp_path / "stat").write_text("cpu0 75 0 0 25 0 0 0 0\n")
    (tmp_path / "net/softnet_stat").write_text(SOFTNET.replace("1f", "2f"))
    sampled = sampler.stop()
    assert [idle for _, idle in sampled.samples] == [{"cpu0": 0.25}]
    assert sampled.softnet_drops == 16


def test_what_comes_after_the_transfer_is_left_out() -> None:
    busy = load(BUSY, BUSY, (1, 1), (1, 1))
    assert busy.busy_share == 0.5
    assert busy.until(1.5).busy_share == 1.0
    assert busy.until(-1.0).busy_share == 1.0  # the first sample is better than none
