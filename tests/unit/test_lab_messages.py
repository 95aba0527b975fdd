"""Growth of control message counters."""

from __future__ import annotations

from testbed.lab.messages import Counted, messages_between


def test_messages_are_added_up_by_protocol_and_kind() -> None:
    before = {
        Counted("ospf", "hello", "r1", "eth0"): 5,
        Counted("ospf", "hello", "r2", "eth0"): 7,
        Counted("bfd", "", "r1", "10.0.0.1"): 100,
    }
    after = {
        Counted("ospf", "hello", "r1", "eth0"): 8,
        Counted("ospf", "hello", "r2", "eth0"): 9,
        Counted("ospf", "link_state_update", "r1", "eth0"): 2,  # an interface that was not there before
        Counted("bfd", "", "r1", "10.0.0.1"): 140,
    }
    assert messages_between(before, after) == {
        "ospf": {"messages": 7, "hello": 5, "link_state_update": 2},
        "bfd": {"messages": 40},
    }


def test_a_counter_that_began_again_counts_from_nought() -> None:
    key = Counted("ospf", "hello", "r1", "eth0")
    assert messages_between({key: 50}, {key: 3}) == {"ospf": {"messages": 3, "hello": 3}}


def test_what_is_no_message_sent_is_told_and_not_added_up() -> None:
    after = {
        Counted("bier", "LSAs originated", "r1"): 1,
        Counted("bier", "LSAs received", "r1", sent=False): 7,
        Counted("bier", "bytes", "r1", sent=False): 480,
    }
    assert messages_between({}, after) == {
        "bier": {"messages": 1, "LSAs originated": 1, "LSAs received": 7, "bytes": 480}
    }
