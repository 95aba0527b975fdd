"""Counters, their growth, and what becomes of them in a bundle; the kernel's texts that are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from testbed.lab.rtnetlink import attributes, messages
from testbed.plan.types import Plan
from testbed.run.counters import Counters, Snapshot, difference, link_results, parse_mroutes


def counters(size: int, packets: int = 0, qdisc: int = 0, device: int = 0) -> Counters:
    return Counters(size, packets, qdisc, device, 0)


def test_growth_and_a_counter_that_was_reset() -> None:
    before = Snapshot(1.0, {("a-b", "a"): counters(1000, 10, qdisc=7)})
    after = Snapshot(2.0, {("a-b", "a"): counters(5000, 50, qdisc=2, device=1), ("a-b", "b"): counters(80)})
    grown = difference(before, after)
    assert grown["a-b", "a"] == counters(4000, 40, qdisc=2, device=1)  # the qdisc was replaced in between
    assert grown["a-b", "a"].drops == 3
    assert grown["a-b", "b"] == counters(80)


def test_both_directions_of_every_link_are_in_the_result() -> None:
    def link(name: str, a: str, b: str, is_lan: bool) -> SimpleNamespace:
        return SimpleNamespace(name=name, a=SimpleNamespace(node=a), b=SimpleNamespace(node=b), is_lan=is_lan)

    links = [link("a-b", "a", "b", False), link("b-h", "b", "h", True)]
    plan = cast(Plan, SimpleNamespace(links={one.name: one for one in links}))
    results = link_results(plan, {("a-b", "a"): counters(500, 5, qdisc=1)}, {("a-b", "a"): 400, ("b-h", "b"): 300})
    assert [(r.link, r.src, r.dst, r.bytes, r.drops, r.ideal_bytes, r.is_lan) for r in results] == [
        ("a-b", "a", "b", 500, 1, 400, False),
        ("a-b", "b", "a", 0, 0, 0, False),
        ("b-h", "b", "h", 0, 0, 300, True),
        ("b-h", "h", "b", 0, 0, 0, True),
    ]


def test_mroutes_are_counted() -> None:
    table = (
        "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n"
        "010001E8 0100000A 0          12     1200        0  1:1    2:1   \n"
        "010001EF 00000000 1           0        0        0  0:1   \n"
        "020001E8 0100000A -1          0        0        0\n"
    )
    assert parse_mroutes(table) == {"mroutes": 2, "oifs": 3, "unresolved": 1}
    assert parse_mroutes("Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n")["mroutes"] == 0


def test_a_malformed_length_ends_the_reading() -> None:
    assert list(messages(b"\x00" * 16)) == []
    assert list(messages(b"\xff" * 40)) == []
    assert attributes(b"\x00\x00\x01\x00") == {}
    assert attributes(b"\x05\x00\x01\x00x\x00\x00\x00\xff\x00\x02\x00") == {1: b"x"}
