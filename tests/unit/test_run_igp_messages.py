"""Growth of FRR's packet counters."""

from __future__ import annotations

from testbed.run.igp_messages import messages_between


def test_messages_are_added_up_by_protocol_and_kind() -> None:
    before = {
        ("ospf", "hello", "r1", "eth0"): 5,
        ("ospf", "hello", "r2", "eth0"): 7,
        ("bfd", "", "r1", "10.0.0.1"): 100,
    }
    after = {
        ("ospf", "hello", "r1", "eth0"): 8,
        ("ospf", "hello", "r2", "eth0"): 9,
        ("ospf", "link_state_update", "r1", "eth0"): 2,  # an interface that was not there before
        ("bfd", "", "r1", "10.0.0.1"): 140,
    }
    assert messages_between(before, after) == {
        "ospf": {"messages": 7, "hello": 5, "link_state_update": 2},
        "bfd": {"messages": 40},
    }


def test_a_counter_that_began_again_counts_from_nought() -> None:
    key = ("ospf", "hello", "r1", "eth0")
    assert messages_between({key: 50}, {key: 3}) == {"ospf": {"messages": 3, "hello": 3}}
