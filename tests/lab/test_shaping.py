"""A link's rate, as the kernel was told it and as packets find it. Nothing here depends on how busy the machine is:
a link may pass less than its rate when nobody has the time to send, but never more, and it drops nothing that fits."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from shaped_lab import UDP_HEADERS, crowded_out, datagrams, qdiscs, shaped_lab
from small_lab import wait_for

from testbed.errors import MachineError
from testbed.lab.capabilities import has_qdisc
from testbed.lab.lab import Lab
from testbed.plan.shape import frame
from testbed.spec.limits import MAX_RATE, MIN_RATE

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

LINKS = {
    "100M-1500": {"rate": "100Mbit", "mtu": 1500},
    "100M-9000": {"rate": "100Mbit", "mtu": 9000},
    "1G-1500": {"rate": "1Gbit", "mtu": 1500},
    "1G-9000": {"rate": "1Gbit", "mtu": 9000},
    "2.5G-1500": {"rate": "2.5Gbit", "mtu": 1500},
    "2.5G-9000": {"rate": "2.5Gbit", "mtu": 9000},
}
# Nobody can send that slowly or that fast here; the kernel must be told right all the same.
EXTREMES = {
    "slowest": {"rate": MIN_RATE, "mtu": 1280},
    "32-bit": {"rate": 8 * (2**32 - 1)},
    "33-bit": {"rate": 8 * 2**32},
    "fastest": {"rate": MAX_RATE, "mtu": 9216},
    "deepest": {"rate": "1Gbit", "queue": 2**32 - 1},
}
TICK = 64e-9  # of the kernel's packet scheduler, in s (linux/pkt_sched.h: PSCHED_SHIFT)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with shaped_lab(LINKS | EXTREMES) as built:
        built.start()
        yield built


@pytest.mark.parametrize("name", [*LINKS, *EXTREMES])
def test_the_kernel_was_told_what_the_plan_says(lab: Lab, name: str) -> None:
    link = lab.plan.links[name]
    rate = link.shape.rate
    assert rate is not None
    for end in (link.a, link.b):
        (tbf,) = qdiscs(lab, end)
        assert tbf.kind == "tbf"
        told = tbf.options.get_attr("TCA_TBF_PARMS")
        assert (tbf.options.get_attr("TCA_TBF_RATE64") or told["rate"]) == rate // 8
        assert told["limit"] == link.shape.queue
        # The bucket is told as the time it takes to fill, in whole microseconds.
        assert told["buffer"] * TICK * rate / 8 == pytest.approx(link.shape.burst, abs=rate / 8 * 1e-6 + 1)
        (device,) = lab[end.node].netlink(lambda ip, end=end: ip.link("get", ifname=end.name))
        assert device.get_attr("IFLA_MTU") == link.mtu


@pytest.mark.parametrize("name", LINKS)
def test_a_burst_that_fits_into_the_queue_arrives_whole(lab: Lab, name: str) -> None:
    link = lab.plan.links[name]
    payload = bytes(link.mtu - UDP_HEADERS)
    count = link.shape.queue // frame(link.mtu)
    (before,), crowded = qdiscs(lab, link.a), crowded_out(lab, link.a)
    with datagrams(lab, link) as (sender, receiver):
        for _ in range(count):
            sender.send(payload)
        wait_for(lambda: qdiscs(lab, link.a)[0].bytes - before.bytes >= count * frame(link.mtu), "the end of the queue")
        assert qdiscs(lab, link.a)[0].drops == before.drops
        for _ in range(count - (crowded_out(lab, link.a) - crowded)):
            assert receiver.recv(len(payload)) == payload


@pytest.mark.parametrize("name", LINKS)
def test_no_interval_passes_more_than_the_rate_and_a_bucket(lab: Lab, name: str) -> None:
    link = lab.plan.links[name]
    rate = link.shape.rate
    assert rate is not None
    payload = bytes(link.mtu - UDP_HEADERS)
    count = 4 * link.shape.queue // frame(link.mtu)

    samples = qdiscs(lab, link.a)

    def all_passed() -> bool:
        samples.extend(qdiscs(lab, link.a))
        return samples[-1].bytes - samples[0].bytes >= count * frame(link.mtu)

    # Half of it, which the kernel doubles again: the sender is held before the queue is full. Nobody need receive.
    with datagrams(lab, link, send_buffer=link.shape.queue // 2) as (sender, _), ThreadPoolExecutor() as pool:
        sent = pool.submit(lambda: sum(sender.send(payload) for _ in range(count)))
        wait_for(all_passed, "the last datagram")
        assert sent.result() == count * len(payload)

    assert samples[-1].drops == samples[0].drops
    # The kernel rounds a packet's time down to a nanosecond, and counts a packet a moment after it let it go.
    rounding = 1 + 1e-9 * rate / 8 / frame(link.mtu)
    for first, last in itertools.combinations(samples, 2):
        most = rate / 8 * (last.answered - first.asked) * rounding + link.shape.burst + frame(link.mtu)
        assert last.bytes - first.bytes <= most


IMPAIRED = {"impaired": {"rate": "100Mbit", "delay": "5ms", "jitter": "1ms", "loss": "1%"}}


def test_without_impairments_the_rate_stays() -> None:
    with shaped_lab(IMPAIRED, impaired=False) as lab:
        lab.start()
        link = lab.plan.links["impaired"]
        for end in (link.a, link.b):
            assert [q.kind for q in qdiscs(lab, end)] == ["tbf"]


def test_a_kernel_without_netem_refuses_it() -> None:
    if has_qdisc("netem"):
        pytest.skip("this kernel has netem")
    with shaped_lab(IMPAIRED, impairments="netem") as lab, pytest.raises(MachineError, match="no netem"):
        lab.start()
