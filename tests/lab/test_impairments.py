"""What every impairment engine must do, each asked the same; netem where the kernel has it (else: make vm-test)."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import signal
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from shaped_lab import datagrams, introduce, qdiscs, shaped_lab
from small_lab import DEADLINE_S, wait_for

from testbed.errors import DelaylineError, RequestError
from testbed.lab import namespace
from testbed.lab.capabilities import frr_version, has_qdisc
from testbed.lab.impairments.delayline import Delayline, Talk
from testbed.lab.lab import Lab
from testbed.lab.shape_check import check_links
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.schemes import make_scheme, router_configs
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice
from testbed.spec.topology import Topology
from testbed.spec.types import Impairments

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PACED = {"rate": "100Mbit"}  # a sender at full speed would fill the kernel's backlog, which all links share
LINKS: dict[str, dict[str, Any]] = {
    "short": {"delay": "20ms"},
    "long": {"delay": "300ms"},
    "jitter": {"delay": "50ms", "jitter": "40ms"},
    "loss": {"loss": "10%", **PACED},
    "bursts": {"loss": "10%", "loss_burst": 5, **PACED},
    "twice": {"duplicate": "10%", **PACED},
    "overtaking": {"delay": "100ms", "reorder": "10%", **PACED},
    "both": {"delay": "5ms", **PACED},
}
SECOND = 10**9
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA = 0x0003, 263, 8
VLAN_VALID = 1 << 4


@pytest.fixture(scope="module", params=["delayline", "delayline with sanitizers", "netem"])
def engine(request: pytest.FixtureRequest) -> Iterator[Impairments]:
    if request.param == "netem" and not has_qdisc("netem"):
        pytest.skip("this kernel has no netem; make vm-test runs these tests in a virtual machine whose kernel has it")
    with pytest.MonkeyPatch.context() as patch:
        if request.param.endswith("sanitizers"):
            patch.setattr(Delayline, "binary", "delayline-checked")
        yield request.param.split()[0]


@pytest.fixture(scope="module")
def lab(engine: Impairments) -> Iterator[Lab]:
    with shaped_lab(LINKS, impairments=engine, seed="first") as built:
        built.start()
        yield built


def received(lab: Lab, name: str, count: int) -> list[int]:
    """The numbers of the datagrams that arrive when `count` are sent, in their order.

    Behind them a last one is sent until it arrives: then nothing is on its way any more."""
    link, last = lab.plan.links[name], count
    with datagrams(lab, link) as (sender, receiver):
        for n in range(count):
            sender.send(n.to_bytes(8, "big") + bytes(92))
        found: list[int] = []
        receiver.settimeout(2 * link.shape.delay + 0.2)
        end = time.monotonic() + DEADLINE_S
        while last not in found[-1:]:
            assert time.monotonic() < end, f"the last datagram did not come, of {len(found)}"
            sender.send(last.to_bytes(8, "big"))
            try:
                while last not in found[-1:]:
                    found.append(int.from_bytes(receiver.recv(100)[:8], "big"))
            except TimeoutError:
                continue
    return [n for n in found if n != last]


def one_way(lab: Lab, name: str, count: int) -> list[float]:
    """How long datagrams took that were sent one by one, by the kernel's stamp of their arrival, in s."""
    found = []
    with datagrams(lab, lab.plan.links[name]) as (sender, receiver):
        receiver.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        for _ in range(count):
            sent = time.clock_gettime_ns(time.CLOCK_REALTIME)
            sender.send(b"x")
            _, ((_, _, stamp),), _, _ = receiver.recvmsg(1, 64)
            seconds, nanoseconds = struct.unpack("=qq", stamp)
            found.append((seconds * SECOND + nanoseconds - sent) / SECOND)
    return found


def test_a_delay_is_kept_and_not_much_exceeded(lab: Lab) -> None:
    short, long = one_way(lab, "short", 50), one_way(lab, "long", 5)
    assert min(short) >= 0.02 - 1e-6
    assert min(long) >= 0.3 - 1e-6
    assert statistics.median(short) < 0.15 < statistics.median(long)


def test_jitter_spreads_evenly_to_both_sides(lab: Lab) -> None:
    """Of 100 draws from 10 to 90 ms a quarter is below 30 ms; that fewer than 8 are has a chance of 1 in 100 000."""
    found = one_way(lab, "jitter", 100)
    assert min(found) >= 0.01 - 1e-6
    assert sum(each < 0.03 for each in found) >= 8
    assert sum(each > 0.07 for each in found) >= 8


def six_deviations(count: int, share: float, run: float = 1.0) -> float:
    """Of how many of `count` packets it hits, where it hits `run` in a row."""
    return 6 * math.sqrt(count * share * (1 - share) * (2 * run - 1))


def test_losses_come_as_often_as_asked_and_are_counted(lab: Lab) -> None:
    count = 5000
    before = counted(lab, "loss").lost
    lost = count - len(found := received(lab, "loss", count))
    assert len(found) == len(set(found))
    assert abs(lost - count * 0.1) < six_deviations(count, 0.1)
    assert lost <= counted(lab, "loss").lost - before <= lost + 20  # the last one may have been lost, too


def test_losses_come_in_bursts(lab: Lab) -> None:
    count = 20_000
    arrived = set(received(lab, "bursts", count))
    runs = [len(list(run)) for is_lost, run in itertools.groupby(n not in arrived for n in range(count)) if is_lost]
    assert abs(sum(runs) - count * 0.1) < six_deviations(count, 0.1, 5)
    assert abs(statistics.fmean(runs) - 5) < 6 * math.sqrt(5 * 4 / len(runs))


def test_packets_come_twice_as_often_as_asked(lab: Lab) -> None:
    count = 5000
    times = Counter(received(lab, "twice", count))
    assert len(times) == count
    assert set(times.values()) == {1, 2}
    assert abs(sum(times.values()) - count * 1.1) < six_deviations(count, 0.1)


def test_packets_overtake_as_often_as_asked(lab: Lab) -> None:
    """All of them are sent before the first is due, so those that overtake come first."""
    count = 2000
    found = received(lab, "overtaking", count)
    assert sorted(found) == list(range(count))
    falls = sum(later < earlier for earlier, later in itertools.pairwise(found))
    first = found[: next((i for i, n in enumerate(found) if i and n < found[i - 1]), count)]
    if falls == 1:  # nobody was held up for so long
        assert abs(len(first) - count * 0.1) < six_deviations(count, 0.1)
    assert falls >= 1


def test_a_link_passes_its_longest_packets_both_ways(lab: Lab) -> None:
    link = lab.plan.links["both"]
    payload = os.urandom(link.mtu - 28)
    with datagrams(lab, link) as (a, b):
        for sender, receiver in ((a, b), (b, a)):
            for size in (len(payload), 1, 18, 19, 2000, 2100):
                sender.send(payload[:size])
                assert receiver.recv(len(payload)) == payload[:size]


def tcp(lab: Lab, name: str) -> tuple[socket.socket, socket.socket]:
    link = lab.plan.links[name]
    introduce(lab, link.a, link.b)
    introduce(lab, link.b, link.a)
    with namespace.inside(lab.pid_of(link.b.node), socket.socket) as listener:
        listener.bind((str(link.b.address.ip), 0))
        listener.listen()
        client = namespace.inside(lab.pid_of(link.a.node), socket.socket)
        client.settimeout(DEADLINE_S)
        listener.settimeout(DEADLINE_S)
        client.connect(listener.getsockname())
        server = listener.accept()[0]
        server.settimeout(DEADLINE_S)
        return client, server


def test_a_rate_is_kept_beside_a_delay(lab: Lab) -> None:
    """As fast as a queue runs empty. A delay line that did not get its core lets out what has come together."""

    def kept() -> bool:
        checks = check_links({"both": lab.plan.links["both"]}, lab.nodes).values()
        return all(check.rate == pytest.approx(1e8, rel=0.1) for check in checks)

    wait_for(kept, "the rate that was asked for, in both directions")


@pytest.mark.parametrize("name", ["both", "loss", "twice", "overtaking"])
def test_tcp_gets_through_whole(lab: Lab, name: str) -> None:
    data = os.urandom(2**20)
    client, server = tcp(lab, name)
    with client, server:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        digest = hashlib.sha256()
        while piece := server.recv(2**16):
            digest.update(piece)
        sender.join()
    assert digest.digest() == hashlib.sha256(data).digest()


def counted(lab: Lab, name: str) -> Any:
    assert lab.engine is not None
    return lab.engine.read()[name, lab.plan.links[name].a.node]


def packet_sockets(lab: Lab, name: str) -> tuple[socket.socket, socket.socket]:
    link = lab.plan.links[name]
    made = []
    for end in (link.a, link.b):
        sock = namespace.inside(lab.pid_of(end.node), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.settimeout(DEADLINE_S)
        sock.bind((end.name, ETH_P_ALL))
        made.append(sock)
    return made[0], made[1]


def whole_frame(sock: socket.socket) -> bytes:
    """The next frame that came in, with the VLAN's tag where the kernel has taken one off."""
    while True:
        data, ancillary, _, (_, _, packet_type, _, _) = sock.recvmsg(20_000, 64)
        if packet_type == socket.PACKET_OUTGOING:
            continue
        status, *_, tci, tpid = struct.unpack("=IIIHHHH", ancillary[0][2])
        tag = struct.pack(">HH", tpid, tci) if status & VLAN_VALID else b""
        return data[:12] + tag + data[12:]


ADDRESSES = bytes.fromhex("33330000000102000000000a")
FRAMES = {
    "MPLS": bytes.fromhex("8847") + bytes(46),
    "BIER": bytes.fromhex("ab37") + os.urandom(8000),
    "IPv6 neighbour discovery": bytes.fromhex("86dd60000000") + bytes([0, 32, 58, 255]) + os.urandom(64),
    "a VLAN": bytes.fromhex("8100 2064 0800") + os.urandom(100),
    "a service VLAN of a long packet": bytes.fromhex("88a8 0005 86dd") + os.urandom(8900),
    "an experiment": bytes.fromhex("88b5") + b"x" * 46,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_every_kind_come_out_as_they_went_in(lab: Lab, kind: str) -> None:
    frame = ADDRESSES + FRAMES[kind]
    a, b = packet_sockets(lab, "both")
    with a, b:
        for sender, receiver in ((a, b), (b, a)):
            sender.send(frame)
            wait_for(lambda receiver=receiver: whole_frame(receiver) == frame, kind)


def test_what_is_on_its_way_when_a_link_is_cut_is_lost(lab: Lab) -> None:
    with datagrams(lab, lab.plan.links["long"]) as (a, b):
        for _ in range(20):
            a.send(b"stale")
            b.send(b"stale")
        lab.cut("long")
        lab.restore("long")
        up(lab, "long")
        introduce(lab, lab.plan.links["long"].a, lab.plan.links["long"].b)
        introduce(lab, lab.plan.links["long"].b, lab.plan.links["long"].a)
        a.send(b"fresh")
        b.send(b"fresh")
        assert (b.recv(10), a.recv(10)) == (b"fresh", b"fresh")


def carrier(lab: Lab, name: str) -> list[bool]:
    link = lab.plan.links[name]
    devices = [
        lab[end.node].netlink(lambda ip, end=end: ip.link("get", ifname=end.name)[0]) for end in (link.a, link.b)
    ]
    return [bool(device.get_attr("IFLA_CARRIER")) and device.get_attr("IFLA_OPERSTATE") == "UP" for device in devices]


def up(lab: Lab, name: str) -> None:
    wait_for(lambda: all(carrier(lab, name)), "the carrier")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_an_end_that_goes_down_takes_the_other_ones_carrier(lab: Lab, order: str) -> None:
    link = lab.plan.links["short"]
    ends = {"a": link.a, "b": link.b}
    assert lab.engine is not None

    def switch(node: str, state: str) -> None:
        lab[node].netlink(lambda ip: ip.link("set", index=ip.link_lookup(ifname=ends[node].name)[0], state=state))

    first, second = order
    up(lab, "short")
    switch(first, "down")
    wait_for(lambda: not any(carrier(lab, "short")), "the loss of both carriers")
    switch(second, "down")
    switch(first, "up")
    switch(second, "up")
    up(lab, "short")
    switch(first, "down")
    switch(second, "down")
    lab.engine.wait_empty("short")
    switch(second, "up")
    switch(first, "up")
    up(lab, "short")
    assert min(one_way(lab, "short", 3)) >= 0.02 - 1e-6


def test_an_ordinary_link_is_as_ever(engine: Impairments) -> None:
    """Only links that need an engine have one."""
    with shaped_lab({"plain": {"rate": "1Gbit"}, "delayed": {"delay": "1ms"}}, impairments=engine) as lab:
        lab.start()
        assert lab.engine is not None
        assert list(lab.engine.links) == ["delayed"]
        assert [q.kind for q in qdiscs(lab, lab.plan.links["plain"].a)] == ["tbf"]
    with shaped_lab({"plain": {"rate": "1Gbit"}}, impairments=engine) as lab:
        lab.start()
        assert lab.engine is None


def test_routers_become_neighbours_over_delays_and_again_after_a_cut(engine: Impairments) -> None:
    """OSPF and BFD (3 x 50 ms), with 5 ms on every link."""
    asked = load_topology("ring").model_dump(mode="json", exclude_none=True)
    asked["defaults"]["link"] |= {"delay": "5ms", "jitter": "1ms"}
    plan = make_plan(Topology.model_validate(asked))
    configs = router_configs(plan, make_scheme(SchemeChoice(name="pim-ssm")), profile("fast"), frr_version())
    with Lab(plan, configs, impairments=engine) as lab:
        lab.start()
        lab.wait_for_igp()
        link = next(link for link in plan.links.values() if not link.is_lan)
        router = lab[link.a.node]

        def neighbours() -> int:
            return router.run(["vtysh", "-c", "show ip ospf neighbor"]).stdout.count("Full")

        before = neighbours()
        lab.cut(link.name)
        wait_for(lambda: neighbours() == before - 1, "the loss of a neighbour")
        lab.restore(link.name)
        lab.wait_for_igp()
        assert neighbours() == before


# -- of one engine alone -----------------------------------------------------------------------------------------------


def test_with_one_seed_the_same_packets_are_lost_and_with_another_others() -> None:
    lost = []
    for seed in ("first", "first", "second"):
        with shaped_lab({name: LINKS[name] for name in ("loss", "bursts")}, impairments="delayline", seed=seed) as lab:
            lab.start()
            lost.append([set(range(2000)) - set(received(lab, name, 2000)) for name in ("loss", "bursts")])
    assert lost[0] == lost[1]
    assert lost[0][0] != lost[2][0]


def test_a_links_own_seed_outlives_the_labs_and_chooses_the_engine() -> None:
    lost = []
    for seed in ("first", "second"):
        with shaped_lab({"loss": LINKS["loss"] | {"seed": 7}}, seed=seed) as lab:
            lab.start()
            assert lab.engine is not None
            assert lab.engine.name == "delayline"
            lost.append(set(range(1000)) - set(received(lab, "loss", 1000)))
    assert lost[0] == lost[1]


def test_netem_refuses_seeds_and_says_where() -> None:
    if not has_qdisc("netem"):
        pytest.skip("this kernel has no netem")
    asked = {"x": {"loss": "1%", "seed": 1}, "y": {"loss": "2%", "seed": 2}}
    with shaped_lab(asked, impairments="netem") as lab, pytest.raises(RequestError) as error:
        lab.start()
    assert [problem.where for problem in error.value.problems] == ["link x", "link y"]


def test_the_delay_line_refuses_what_it_has_no_room_for() -> None:
    asked = {"x": {"rate": "50Gbit", "delay": "1s"}, "y": {"rate": "60Gbit", "delay": "1s"}}
    with shaped_lab(asked, impairments="delayline") as lab, pytest.raises(RequestError) as error:
        lab.start()
    assert [problem.where for problem in error.value.problems] == ["link x", "link y"]


def test_a_lab_notices_that_its_delay_line_has_ended() -> None:
    with shaped_lab({"x": {"delay": "1ms"}}, impairments="delayline") as lab:
        lab.start()
        assert lab.dead_daemons() == ()
        assert isinstance(lab.engine, Delayline)
        os.kill(lab.engine.pid, signal.SIGKILL)
        wait_for(lab.dead_daemons, "the end of the delay line")
        assert "the delay line ended with status -9" in lab.dead_daemons()
        with pytest.raises(DelaylineError):
            lab.reshape("x", delay=0.002)


def test_a_delay_line_refuses_what_it_does_not_understand_with_every_mistake() -> None:
    with shaped_lab({"x": {"rate": "10Gbit", "delay": "1ms"}}, impairments="delayline") as lab:
        lab.start()
        assert isinstance(lab.engine, Delayline)
        with Talk(lab.engine.socket) as talk:
            for line, mistakes in {
                "link y no1 no2 1 2": ["no1: there is no such interface", "no2: there is no such interface"],
                "link w0 w0a w0a 1 2": [
                    "link w0: the name is taken, or longer than 63 characters",
                    "w0a: it has a link already",
                    "w0a: it has a link already",
                    "w0a: a link joins two interfaces",
                ],
                "link y": ["a link is written: link NAME INTERFACE INTERFACE SEED SEED"],
                "shape w1 a delay=1": ["there is no link w1"],
                "shape w0 c": ["a shape is written: shape NAME a|b [FIELD=VALUE...]"],
                "shape w0 b loss=2 delay=x": [
                    "loss: a probability from 0 to 1, not 2",
                    "delay: whole nanoseconds, up to an hour, not x",
                ],
                "nonsense": ["lines are: link, shape, state"],
            }.items():
                with pytest.raises(DelaylineError) as error:
                    talk.exchange(line)
                assert list(error.value.errors) == mistakes
        with pytest.raises(RequestError, match="there is room for"):
            lab.reshape("x", delay=1.0)
        assert lab.shape("x", "a").delay == 0.001


def test_every_packet_is_accounted_for() -> None:
    links = {"x": {"delay": "10ms", "jitter": "9ms", "loss": "20%", "duplicate": "20%", "reorder": "20%", **PACED}}
    with shaped_lab(links, impairments="delayline") as lab:
        lab.start()
        assert isinstance(lab.engine, Delayline)
        with datagrams(lab, lab.plan.links["x"]) as (a, _):
            for _ in range(3000):
                a.send(bytes(100))

        def line() -> dict[str, int]:
            assert isinstance(lab.engine, Delayline)
            found: dict[str, int] = lab.engine.state()["links"]["w0"][0]
            return found

        wait_for(lambda: line()["received"] == 3000 and not line()["on_the_way"], "the last packet")
        at_last = line()
        gone = sum(at_last[name] for name in ("lost", "cut", "overflowed", "sent", "refused"))
        assert at_last["received"] + at_last["duplicated"] == gone
        assert (at_last["cut"], at_last["overflowed"], at_last["refused"]) == (0, 0, 0)
        state = lab.engine.state()
        assert sum(state["late"]) == sum(line["sent"] + line["refused"] for line in state["links"]["w0"])
        late = lab.engine.record()["late_ms"]
        assert 0 < late["median"] <= late["p99"] <= late["max"]
