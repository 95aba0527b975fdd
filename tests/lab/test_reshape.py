"""What a link is like can be changed while it carries traffic, and it can fail without a sign."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from shaped_lab import datagrams, qdiscs, shaped_lab
from small_lab import DEADLINE_S, wait_for

from testbed.errors import RequestError
from testbed.lab import namespace
from testbed.lab.capabilities import has_qdisc
from testbed.lab.lab import Lab
from testbed.plan.shape import burst_for, queue_for
from testbed.spec.types import Impairments

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

LINKS = {
    "rate": {"rate": "100Mbit"},
    "slow": {"rate": "1Mbit", "queue": 2 * 10**6},
    "plain": {},
    "silent": {"rate": "1Gbit"},
}
ETH_P_MPLS_UC, ETH_P_ALL = 0x8847, 0x0003


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with shaped_lab(LINKS) as built:
        built.start()
        yield built


def told(lab: Lab, link: str, sender: str) -> list[tuple[int, int, int]]:
    """(rate in bit/s, bucket's time in ticks, queue) of each TBF at one end of a link."""
    (end,) = (end for end in (lab.plan.links[link].a, lab.plan.links[link].b) if end.node == sender)
    parameters = [q.options.get_attr("TCA_TBF_PARMS") for q in qdiscs(lab, end) if q.kind == "tbf"]
    return [(p["rate"] * 8, p["buffer"], p["limit"]) for p in parameters]


def test_a_rate_changes_in_one_direction_and_comes_back(lab: Lab) -> None:
    planned = {node: told(lab, "rate", node) for node in "ab"}
    lab.reshape("rate", rate=10**7, direction="a")
    ((rate, _, queue),) = told(lab, "rate", "a")
    assert (rate, queue) == (10**7, lab.plan.links["rate"].shape.queue)
    assert lab.shape("rate", "a").rate == 10**7
    assert told(lab, "rate", "b") == planned["b"]
    lab.restore_shape("rate")
    assert {node: told(lab, "rate", node) for node in "ab"} == planned
    assert lab.shape("rate", "a") == lab.plan.links["rate"].shape


def test_a_link_without_a_rate_gets_one_and_loses_it_again(lab: Lab) -> None:
    lab.reshape("plain", rate=10**8)
    mtu = lab.plan.links["plain"].mtu
    assert [told(lab, "plain", node)[0][::2] for node in "ab"] == [(10**8, queue_for(10**8, 0, mtu))] * 2
    assert lab.shape("plain", "b").burst == burst_for(10**8, mtu)
    for _ in range(2):  # the second time there is nothing to take away
        lab.restore_shape("plain")
        assert [told(lab, "plain", node) for node in "ab"] == [[], []]


def test_what_waits_when_a_rate_changes_arrives(lab: Lab) -> None:
    """At 1 Mb/s these 1.4 MB take 11 s; the link is made faster while they wait."""
    count, payload = 1000, bytes(1400)
    with datagrams(lab, lab.plan.links["slow"]) as (sender, receiver):
        for _ in range(count):
            sender.send(payload)
        assert qdiscs(lab, lab.plan.links["slow"].a)[0].bytes < count * len(payload)
        lab.reshape("slow", rate=10**9)
        for _ in range(count):
            assert receiver.recv(len(payload)) == payload


def test_what_no_link_can_be_like_is_refused(lab: Lab) -> None:
    with pytest.raises(RequestError, match="a rate of 1 b/s"):
        lab.reshape("rate", rate=1)
    with pytest.raises(RequestError, match="no direction 'c'"):
        lab.reshape("rate", rate=10**6, direction="c")
    with pytest.raises(RequestError, match="there is no link 'x'"):
        lab.restore_shape("x")


def test_without_an_engine_a_delay_is_refused(lab: Lab) -> None:
    with pytest.raises(RequestError, match=r"the delay and loss of link rate cannot be changed.*\n.*impairable"):
        lab.reshape("rate", delay=0.01, loss=0.1)


@pytest.mark.parametrize("engine", ["delayline", "netem"])
def test_an_impairable_link_takes_a_delay_later(engine: Impairments) -> None:
    if engine == "netem" and not has_qdisc("netem"):
        pytest.skip("this kernel has no netem")
    with shaped_lab({"later": {"rate": "1Gbit"}}, impairable=("later",), impairments=engine) as lab:
        lab.start()
        link = lab.plan.links["later"]
        with datagrams(lab, link) as (a, b):
            lab.reshape("later", delay=0.2, direction="a")
            b.send(b"the other way")  # no lower bound can be told of it, but it arrives
            sent = time.monotonic()
            a.send(b"delayed")
            b.recv(100)
            assert time.monotonic() - sent >= 0.2 - 1e-6
            assert a.recv(100) == b"the other way"
            lab.reshape("later", loss=1.0, direction="a")
            assert lab.shape("later", "a").delay == 0.2
            a.send(b"lost")
            lab.restore_shape("later")
            a.send(b"at last")
            assert b.recv(100) == b"at last"


@contextmanager
def raw_sockets(lab: Lab, link: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A packet socket at each end, as the forwarder has one."""
    ends = (lab.plan.links[link].a, lab.plan.links[link].b)

    def new() -> socket.socket:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_MPLS_UC))

    first, second = (namespace.inside(lab.pid_of(end.node), new) for end in ends)
    with first, second:
        for sock, end in zip((first, second), ends, strict=True):
            sock.bind((end.name, ETH_P_ALL))
            sock.settimeout(DEADLINE_S)
        yield first, second


def mpls(number: int) -> bytes:
    return b"\xff" * 6 + b"\x02\0\0\0\0\1" + ETH_P_MPLS_UC.to_bytes(2, "big") + number.to_bytes(46, "big")


@pytest.mark.parametrize("direction", ["a", "b", None])
def test_a_silent_direction_loses_packets_of_every_kind(lab: Lab, direction: str | None) -> None:
    link = lab.plan.links["silent"]
    silent = {"a", "b"} if direction is None else {direction}
    with datagrams(lab, link) as (a, b), raw_sockets(lab, "silent") as (raw_a, raw_b):
        ways = {"a": (a, b, raw_a, raw_b), "b": (b, a, raw_b, raw_a)}
        lab.silence("silent", direction)
        lab.silence("silent", direction)
        before = {end.node: qdiscs(lab, end)[0] for end in (link.a, link.b)}
        for sender, _, raw, _ in ways.values():
            sender.send(b"lost")
            raw.send(mpls(1))
        for node, end in (("a", link.a), ("b", link.b)):
            # Nobody is told: the packets have left, nothing was dropped, the carrier is there.
            least = before[node].bytes + 46 + 60
            wait_for(lambda end=end, least=least: qdiscs(lab, end)[0].bytes >= least, "both packets")
            assert qdiscs(lab, end)[0].drops == before[node].drops
            (device,) = lab[node].netlink(lambda ip, end=end: ip.link("get", ifname=end.name))
            assert device.get_attr("IFLA_OPERSTATE") == "UP"
        lab.unsilence("silent")
        for node, (sender, receiver, raw, far_raw) in ways.items():
            sender.send(b"heard")
            raw.send(mpls(2))
            assert receiver.recv(10) == (b"heard" if node in silent else b"lost")
            assert numbers(far_raw, 2) == ([2] if node in silent else [1, 2])


def numbers(sock: socket.socket, last: int) -> list[int]:
    """The numbers of the MPLS frames that arrive, up to and with the last."""
    found: list[int] = []
    while last not in found:
        frame, (_, _, packet_type, _, _) = sock.recvfrom(2000)
        if frame[12:14] == ETH_P_MPLS_UC.to_bytes(2, "big") and packet_type != socket.PACKET_OUTGOING:
            found.append(int.from_bytes(frame[14:], "big"))
    return found
