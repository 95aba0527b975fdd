"""FRR's log lines, as 8.4.4 wrote them in a lab, read as events."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.run.clock import Offset
from testbed.run.frr_log import read

NAMES = {"10.255.0.2": "r1", "10.255.0.3": "r2"}
STAMP = "2026/11/25 20:26:26.650237"
# What CLOCK_MONOTONIC read when the wall clock showed STAMP.
OFFSET = Offset(round(datetime(2026, 11, 25, 20, 26, 26, 650237).timestamp() * 1e6) * 1000 - 500 * 10**9, 100)


def events(*lines: str, node: str = "r1") -> list[tuple[float, str, dict[str, object]]]:
    return list(read([f"{STAMP} {line}" for line in lines], OFFSET, NAMES, node))


def test_a_bfd_session_that_timed_out() -> None:
    line = (
        "BFD: [SEY1D-NT8EQ] state-change: [mhop:no peer:10.0.0.6 local:0.0.0.0 vrf:default ifname:r1-eth1] up -> down"
        " reason:control-expired"
    )
    ((t, kind, detail),) = events(line)
    assert t == pytest.approx(500, abs=1e-5)
    assert kind == "bfd"
    assert detail == {"ifname": "r1-eth1", "from": "up", "to": "down", "reason": "control-expired"}


def test_a_bfd_session_that_came() -> None:
    line = "BFD: state-change: [mhop:no peer:10.0.0.6 local:0.0.0.0 vrf:default ifname:r1-eth1] init -> up"
    ((_, _, detail),) = events(line)
    assert (detail["from"], detail["to"], detail["reason"]) == ("init", "up", "")


@pytest.mark.parametrize(
    ("line", "states"),
    [
        ("Full -> Deleted (KillNbr)", ("Full", "Deleted", "KillNbr")),
        ("Exchange -> Full (ExchangeDone)", ("Exchange", "Full", "ExchangeDone")),
    ],
)
def test_an_adjacency_that_went_or_came(line: str, states: tuple[str, str, str]) -> None:
    newer, older = (
        "Nbr 10.255.0.3, NbrIP 10.0.0.6 (default) on r1-eth1:10.0.0.5:",
        "Nbr 10.255.0.3(default) on r1-eth1:",
    )
    for head in (newer, older):
        ((_, kind, detail),) = events(f"OSPF: [Y05P2-YJVXY] AdjChg: {head} {line}")
        assert kind == "neighbour"
        assert (detail["neighbour"], detail["ifname"]) == ("r2", "r1-eth1")
        assert (detail["from"], detail["to"], detail["event"]) == states


def test_states_on_the_way_to_full_are_left_out() -> None:
    head = "OSPF: AdjChg: Nbr 10.255.0.3, NbrIP 10.0.0.6 (default) on r1-eth1:10.0.0.5:"
    assert events(f"{head} Down -> Init (HelloReceived)", f"{head} Init -> ExStart (2-WayReceived)") == []


def test_an_lsa_is_originated_by_one_and_heard_by_the_others() -> None:
    line = "OSPF: [P1M54-723X6] LSA[Type1,id(10.255.0.2),ar(10.255.0.2)]: Install router-LSA to Area 0.0.0.0"
    ((_, kind, own),) = events(line)
    assert kind == "lsa"
    assert own == {"type": 1, "id": "10.255.0.2", "router": "r1", "own": True}
    ((_, _, heard),) = events(line, node="r2")
    assert heard["own"] is False


def test_an_opaque_lsa_and_a_router_that_nobody_knows() -> None:
    line = "OSPF: LSA[Type10,id(200.0.0.0),ar(10.9.9.9)]: Install Area-Local Opaque-LSA to Area 0.0.0.0"
    ((_, _, detail),) = events(line)
    assert detail == {"type": 10, "id": "200.0.0.0", "router": "10.9.9.9", "own": False}


def test_other_lines_are_nothing() -> None:
    other = "OSPF: [WYBB1-D7XFR] LSA[Type1:10.255.0.3]: data freed 0x560152711770"
    assert events(other, "OSPF: ospf_apiserver_nsm_change", "") == []
    whole = f"{STAMP} OSPF: LSA[Type1,id(10.255.0.2),ar(10.255.0.2)]: Install router-LSA"
    assert not list(read([whole.replace(".650237", "")], OFFSET, NAMES, "r1"))  # no microseconds, no time


@given(st.text())
def test_no_line_ends_the_reading(line: str) -> None:
    list(read([line, f"{STAMP} {line}"], OFFSET, NAMES, "r1"))


def test_the_local_time_of_a_line_is_the_wall_clocks() -> None:
    now = time.time()
    stamp = datetime.fromtimestamp(now).strftime("%Y/%m/%d %H:%M:%S.%f")
    line = f"{stamp} LSA[Type1,id(1.1.1.1),ar(1.1.1.1)]: Install x"
    ((t, _, _),) = read([line], Offset(0, 0), {}, "r1")
    assert t == pytest.approx(now, abs=1e-5)
