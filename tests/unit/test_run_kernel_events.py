"""The interpreter of rtnetlink notifications, against messages that pyroute2 encodes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from testbed.lab import rtnetlink as rt
from testbed.run.kernel_events import Interpreter

INET6, BRIDGE = 10, 7
UP, DOWN, ADMIN_DOWN = 0x11043, 0x1003, 0x1002


def encode(message: object, kind: int) -> bytes:
    message["header"]["type"] = kind  # type: ignore[index]
    message.encode()  # type: ignore[attr-defined]
    return bytes(message.data)  # type: ignore[attr-defined]


def link(index: int, name: str, flags: int, kind: int = rt.RTM_NEWLINK, family: int = 0) -> bytes:
    message = ifinfmsg()
    message["index"], message["flags"], message["family"] = index, flags, family
    message["attrs"] = [("IFLA_IFNAME", name)]
    return encode(message, kind)


def route(kind: int = rt.RTM_NEWROUTE, family: int = 2, table: int = 254, length: int = 24, **attrs: object) -> bytes:
    message = rtmsg()
    message["family"], message["dst_len"], message["table"] = family, length, table
    message["attrs"] = [(f"RTA_{key}", value) for key, value in attrs.items()]
    return encode(message, kind)


@pytest.fixture
def interpreter() -> Interpreter:
    made = Interpreter()
    both = link(2, "r1-eth0", UP) + link(3, "r1-eth1", DOWN)
    made.learn(list(rt.messages(both)))
    return made


def test_only_changes_of_carrier_are_told(interpreter: Interpreter) -> None:
    assert interpreter.read(link(2, "r1-eth0", UP)) == []
    assert interpreter.read(link(2, "r1-eth0", DOWN)) == [("link-down", {"ifname": "r1-eth0"})]
    assert interpreter.read(link(2, "r1-eth0", ADMIN_DOWN)) == []
    assert interpreter.read(link(2, "r1-eth0", UP)) == [("link-up", {"ifname": "r1-eth0"})]
    assert interpreter.read(link(2, "r1-eth0", UP, rt.RTM_DELLINK)) == [("link-down", {"ifname": "r1-eth0"})]


def test_a_new_interface_is_told_when_it_gets_carrier(interpreter: Interpreter) -> None:
    assert interpreter.read(link(9, "pimreg", DOWN)) == []
    assert interpreter.read(link(9, "pimreg", UP)) == [("link-up", {"ifname": "pimreg"})]


def test_a_bridge_port_is_not_the_interface(interpreter: Interpreter) -> None:
    assert interpreter.read(link(2, "r1-eth0", DOWN, family=7)) == []


def test_routes(interpreter: Interpreter) -> None:
    data = route(DST="10.9.0.0", OIF=2, GATEWAY="10.0.0.2") + route(rt.RTM_DELROUTE, length=32, DST="10.255.0.1", OIF=3)
    assert interpreter.read(data) == [
        ("route", {"op": "add", "dst": "10.9.0.0/24", "via": "10.0.0.2", "ifname": "r1-eth0"}),
        ("route", {"op": "del", "dst": "10.255.0.1/32", "via": "", "ifname": "r1-eth1"}),
    ]


def test_a_default_route_and_an_unknown_interface(interpreter: Interpreter) -> None:
    assert interpreter.read(route(length=0, OIF=77)) == [
        ("route", {"op": "add", "dst": "0.0.0.0/0", "via": "", "ifname": "if77"})
    ]


def test_a_multipath_route(interpreter: Interpreter) -> None:
    hops = [
        {"oif": 2, "hops": 0, "flags": 0, "attrs": [("RTA_GATEWAY", "10.0.0.2")]},
        {"oif": 3, "hops": 0, "flags": 0, "attrs": [("RTA_GATEWAY", "10.0.1.2")]},
    ]
    ((_, detail),) = interpreter.read(route(DST="10.9.0.0", MULTIPATH=hops))
    assert (detail["via"], detail["ifname"]) == ("10.0.0.2,10.0.1.2", "r1-eth0,r1-eth1")


def test_ipv6_routes(interpreter: Interpreter) -> None:
    add = route(family=INET6, length=48, DST="fc00:0:7::", OIF=2, GATEWAY="fe80::1")
    gone = route(rt.RTM_DELROUTE, family=INET6, length=48, DST="fc00:0:7::", OIF=3, GATEWAY="fe80::2")
    assert interpreter.read(add + gone + route(family=INET6, length=0, OIF=2, GATEWAY="fe80::1")) == [
        ("route", {"op": "add", "dst": "fc00:0:7::/48", "via": "fe80::1", "ifname": "r1-eth0"}),
        ("route", {"op": "del", "dst": "fc00:0:7::/48", "via": "fe80::2", "ifname": "r1-eth1"}),
        ("route", {"op": "add", "dst": "::/0", "via": "fe80::1", "ifname": "r1-eth0"}),
    ]
    hops = [
        {"oif": oif, "hops": 0, "flags": 0, "attrs": [("RTA_GATEWAY", gateway)]}
        for oif, gateway in ((2, "fe80::1"), (3, "fe80::2"))
    ]
    ((_, detail),) = interpreter.read(route(family=INET6, length=48, DST="fc00:0:7::", MULTIPATH=hops))
    assert (detail["via"], detail["ifname"]) == ("fe80::1,fe80::2", "r1-eth0,r1-eth1")


def test_what_every_link_has_of_ipv6_is_left_out(interpreter: Interpreter) -> None:
    assert interpreter.read(route(family=INET6, length=64, DST="fe80::", OIF=2)) == []
    assert interpreter.read(route(family=INET6, length=8, DST="ff00::", OIF=2)) == []


def test_the_local_table_and_other_families_are_left_out(interpreter: Interpreter) -> None:
    assert interpreter.read(route(table=255, DST="10.9.0.1", OIF=2)) == []
    assert interpreter.read(route(table=255, family=INET6, length=128, DST="fc00:0:7::1", OIF=2)) == []
    assert interpreter.read(route(family=BRIDGE, OIF=2)) == []


@given(st.binary(max_size=200), st.sampled_from([16, 17, 24, 25]))
def test_malformed_messages_end_the_reading_and_nothing_else(payload: bytes, kind: int) -> None:
    interpreter = Interpreter()
    interpreter.read(payload)
    interpreter.read(struct.pack("=IHHII", 16 + len(payload), kind, 0, 0, 0) + payload)
