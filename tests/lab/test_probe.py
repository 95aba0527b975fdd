"""Probes over a real network: a sender, a bridge, two receivers; one of them is cut off for a while."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_lab import Program, Spaces, program, spaces, wait_for

from testbed.run.outages import StreamResult, find_outages
from testbed.run.probe import read_records, record_name

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

INTERVAL_S = 0.002
GROUP = {"ssm": "232.1.0.1", "asm": "239.1.0.1"}
ADDRESS = {"src": "10.64.0.1", "a": "10.64.0.2", "b": "10.64.0.3"}


@pytest.fixture
def lab() -> Iterator[Spaces]:
    with spaces("src", "a", "b", "sw") as made:
        made.run("sw", "ip link add br0 type bridge mcast_snooping 0", "ip link set br0 up")
        for host, address in ADDRESS.items():
            made.wire(host, "eth0", "sw", f"to-{host}")
            made.run("sw", f"ip link set to-{host} master br0")
            made.run(host, f"ip address add {address}/24 dev eth0", "ip link set lo up")
        for host in ("src", "a", "b"):
            wait_for(lambda h=host: "state forwarding" in made.run("sw", f"bridge link show dev to-{h}"), "bridge port")
        yield made


def collector_config(
    lab: Spaces, directory: Path, mode: str, source: str = "10.64.0.1", told: bool = False
) -> str:
    streams = [
        {"sync": 1, "name": "sync", "host": host, "pid": lab.pid(host), "address": GROUP.get(mode, ADDRESS[host])}
        | {"source": source if mode == "ssm" else None, "told": told, "interval": INTERVAL_S}
        for host in ("a", "b")
    ]
    return json.dumps({"directory": str(directory), "streams": streams})


def sender(lab: Spaces, mode: str, **more: Any) -> Any:
    options = {"source": ADDRESS["src"], "interval": INTERVAL_S} | more
    arguments = [f"--{key}={value}" for key, value in options.items()]
    to = [GROUP[mode]] if mode in GROUP else [ADDRESS["a"], ADDRESS["b"]]
    return program("probe_sender", "--to", *to, *arguments, pid=lab.pid("src"))


def result(directory: Path, host: str, sent: dict[str, Any], zero: float = 0.0) -> StreamResult:
    return find_outages(
        read_records(directory / record_name("sync", host)),
        interval_s=INTERVAL_S,
        zero_s=zero,
        sent=sent["sent"],
        last_sent_ns=sent["last_sent_ns"],
    )


def finish(collect: Program, send: Program) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sender's and the collector's summaries."""
    sent = send.finish()
    return sent, collect.finish()


@pytest.mark.parametrize("mode", ["ssm", "asm", "unicast"])
def test_a_cut_shows_as_one_outage_at_the_host_behind_it(lab: Spaces, tmp_path: Path, mode: str) -> None:
    with program("collector", "--config", collector_config(lab, tmp_path, mode)) as collect:
        collect.wait("ready")
        with sender(lab, mode) as send:
            for host in ("a", "b"):
                collect.wait("first-probe", node=host)
            # A disabled bridge port: carrier stays, packets are lost, at once in both directions of time.
            cut_begun = time.monotonic()
            lab.run("sw", "bridge link set dev to-b state 0")
            cut_done = time.monotonic()
            collect.wait("outage-start", node="b")
            wait_for(lambda: time.monotonic() > cut_done + 0.2, "200 ms of silence")
            heal_begun = time.monotonic()
            lab.run("sw", "bridge link set dev to-b state 3")
            heal_done = time.monotonic()
            collect.wait("outage-end", node="b")
            sent, summary = finish(collect, send)

    untouched, cut = result(tmp_path, "a", sent), result(tmp_path, "b", sent, zero=cut_begun)
    assert untouched.outages == ()
    assert untouched.received + untouched.missed == sent["sent"]
    (outage,) = cut.outages
    assert cut.received + cut.lost + cut.missed == sent["sent"]
    assert untouched.duplicates == cut.duplicates == 0
    # The hole begins and ends while the commands that cut and healed were at work, give or take the sender's lateness.
    slack = 2 * INTERVAL_S + sent["late_max_ms"] / 1000
    assert -slack <= outage.start_s <= cut_done - cut_begun + slack
    end = outage.start_s + outage.length_ms / 1000
    assert heal_begun - cut_begun - slack <= end <= heal_done - cut_begun + slack
    # And the lost probes are as many as were due in it, but for the deadlines the sender skipped.
    due = outage.length_ms / 1000 / INTERVAL_S
    assert due - sent["skipped"] - slack / INTERVAL_S <= outage.lost <= due + slack / INTERVAL_S
    live = [line["kind"] for line in collect.lines if line["node"] == "b"]
    assert live[:3] == ["first-probe", "outage-start", "outage-end"]
    assert [s["socket_drops"] for s in summary["streams"]] == [0, 0]
    assert summary["clock_steps"] == 0


def test_a_source_specific_join_hears_no_other_source(lab: Spaces, tmp_path: Path) -> None:
    with program("collector", "--config", collector_config(lab, tmp_path, "ssm", source="10.64.0.99")) as collect:
        collect.wait("ready")
        with sender(lab, "ssm") as send:
            # The proof that probes were on the wire: receivers with the right source have some.
            with program("collector", "--config", collector_config(lab, tmp_path / "right", "ssm")) as right:
                right.wait("first-probe", node="a")
                right.wait("first-probe", node="b")
                right.finish()
            _, summary = finish(collect, send)
    assert [s["received"] for s in summary["streams"]] == [0, 0]


def test_a_trailing_hole_is_seen_with_the_senders_count(lab: Spaces, tmp_path: Path) -> None:
    with program("collector", "--config", collector_config(lab, tmp_path, "ssm")) as collect:
        collect.wait("ready")
        with sender(lab, "ssm") as send:
            collect.wait("first-probe", node="a")
            collect.wait("first-probe", node="b")
            lab.run("b", "ip link set eth0 down")
            collect.wait("outage-start", node="b")
            sent, _ = finish(collect, send)
    assert result(tmp_path, "a", sent).outages == ()
    cut = result(tmp_path, "b", sent)
    (outage,) = cut.outages
    assert outage.lost == sent["sent"] - cut.missed - cut.received > 0


def test_a_host_without_carrier_counts_refused_probes_as_sent(lab: Spaces, tmp_path: Path) -> None:
    with program("collector", "--config", collector_config(lab, tmp_path, "ssm")) as collect:
        collect.wait("ready")
        with sender(lab, "ssm") as send:
            collect.wait("first-probe", node="a")
            lab.run("src", "ip link set eth0 down")
            collect.wait("outage-start", node="a")
            lab.run("src", "ip link set eth0 up")
            collect.wait("outage-end", node="a")
            sent, _ = finish(collect, send)
    assert sent["refused"] > 0
    assert sum(o.lost for o in result(tmp_path, "a", sent).outages) >= sent["refused"]


@pytest.mark.parametrize("mode", ["ssm", "asm", "unicast"])
def test_nothing_is_joined_or_sent_before_it_is_told(lab: Spaces, tmp_path: Path, mode: str) -> None:
    with program("collector", "--config", collector_config(lab, tmp_path, mode, told=True)) as collect:
        collect.wait("ready")
        to = [GROUP[mode]] if mode in GROUP else [ADDRESS["a"], ADDRESS["b"]]
        arguments = ["--to", *to, "--source", ADDRESS["src"], "--interval", str(INTERVAL_S)]
        with program("probe_sender", *arguments, "--told", pid=lab.pid("src")) as send:
            send.wait("ready")
            for host in ("a", "b"):
                assert GROUP.get(mode, "no group") not in lab.run(host, "ip maddress show dev eth0")
            told = time.monotonic()
            send.tell("begin")
            collect.tell("join 1")
            first = {host: collect.wait("first-probe", node=host)["t"] for host in ("a", "b")}
            joined = {host: collect.wait("joined", node=host)["t"] for host in ("a", "b")}
            collect.tell("leave 1")
            for host in ("a", "b"):
                collect.wait("left", node=host)
            # Its end is no outage once nobody expects any more.
            left = len(collect.lines)
            sent = send.finish()
            ended = time.monotonic()
            wait_for(lambda: time.monotonic() > ended + 20 * INTERVAL_S, "silence for long enough to be told")
            summary = collect.finish()
    assert all(told <= joined[host] for host in joined)
    assert all(told <= first[host] for host in first)
    assert told <= sent["first_sent_ns"] / 1e9
    assert [s["received"] > 0 for s in summary["streams"]] == [True, True]
    assert [line["kind"] for line in collect.lines[left:]].count("outage-start") == 0


def test_a_sender_that_was_never_told_sends_nothing(lab: Spaces) -> None:
    to = ["--to", GROUP["ssm"], "--source", ADDRESS["src"], "--told"]
    with program("probe_sender", *to, pid=lab.pid("src")) as send:
        send.wait("ready")
        assert send.finish()["sent"] == 0
