"""Delay, jitter and loss, as the kernel was told them and as packets find them. Needs a kernel with netem."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from shaped_lab import UDP_HEADERS, crowded_out, datagrams, qdiscs, shaped_lab
from small_lab import wait_for

from testbed.lab.capabilities import has_qdisc
from testbed.lab.lab import Lab
from testbed.plan.shape import ETHERNET_HEADER, SMALL_PACKET, netem_limit

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

LINKS: dict[str, dict[str, Any]] = {
    "delay": {"delay": "20ms"},
    "jitter": {"delay": "20ms", "jitter": "5ms"},
    "loss": {"loss": "10%"},
    "long": {"rate": "5Mbit", "delay": "1s"},
    "all": {"rate": "100Mbit", "delay": "5ms", "jitter": "1ms", "loss": "1%"},
}
TICK = 64e-9  # of the kernel's packet scheduler, in s (linux/pkt_sched.h: PSCHED_SHIFT)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if not has_qdisc("netem"):
        pytest.skip("this kernel has no netem; make vm-test runs these tests in a virtual machine whose kernel has it")
    with shaped_lab(LINKS, impairments="netem") as built:
        built.start()
        yield built


@pytest.mark.parametrize("name", LINKS)
def test_the_kernel_was_told_what_the_plan_says(lab: Lab, name: str) -> None:
    link = lab.plan.links[name]
    for end in (link.a, link.b):
        netem, *below = qdiscs(lab, end)
        assert netem.kind == "netem"
        assert netem.options["delay"] * TICK == pytest.approx(link.shape.delay, abs=1e-6)
        assert netem.options["jitter"] * TICK == pytest.approx(link.shape.jitter, abs=1e-6)
        assert netem.options["loss"] / 2**32 == pytest.approx(link.shape.loss, abs=1e-6)
        assert netem.options["limit"] == netem_limit(link.shape)
        assert [q.kind for q in below] == (["tbf"] if link.shape.rate else [])
        for tbf in below:
            told = tbf.options.get_attr("TCA_TBF_PARMS")
            assert (told["rate"] * 8, told["limit"]) == (link.shape.rate, link.shape.queue)


@pytest.mark.parametrize("name", ["delay", "jitter"])
def test_no_packet_is_earlier_than_its_delay(lab: Lab, name: str) -> None:
    link = lab.plan.links[name]
    least = link.shape.delay - link.shape.jitter - TICK
    with datagrams(lab, link) as (first, second):
        for sender, receiver in [(first, second), (second, first)] * 10:
            sent = time.monotonic()
            sender.send(b"x")
            receiver.recv(1)
            assert time.monotonic() - sent >= least


def test_losses_come_as_often_as_asked_and_are_counted(lab: Lab) -> None:
    link, count = lab.plan.links["loss"], 5000
    with datagrams(lab, link) as (sender, receiver):
        (before,), crowded = qdiscs(lab, link.a), crowded_out(lab, link.a)
        for _ in range(count):
            sender.send(b"x")
        (after,) = qdiscs(lab, link.a)
        lost = after.drops - before.drops
        for _ in range(count - lost - (crowded_out(lab, link.a) - crowded)):
            receiver.recv(1)
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(1)
    # Ten standard deviations (21 of 5000 packets at 10 %) to either side.
    assert 500 - 210 < lost < 500 + 210


def test_a_long_link_holds_all_that_is_on_the_way(lab: Lab) -> None:
    """netem's own default, 1000 packets, would drop four of five here."""
    link = lab.plan.links["long"]
    count = link.shape.queue // SMALL_PACKET
    assert count > 4000
    payload = bytes(SMALL_PACKET - ETHERNET_HEADER - UDP_HEADERS)
    before = qdiscs(lab, link.a)
    with datagrams(lab, link) as (sender, _):
        for _ in range(count):
            sender.send(payload)
        wait_for(lambda: qdiscs(lab, link.a)[0].bytes - before[0].bytes >= count * SMALL_PACKET, "the last datagram")
    assert [q.drops for q in qdiscs(lab, link.a)] == [q.drops for q in before]
