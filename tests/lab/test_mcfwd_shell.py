"""The forwarder as a program: its packet sockets, what it learns from the kernel, its control socket, its log.

A host S, routers A, B and C in a row, a host R. What routers do with packets is tested elsewhere; here BIER carries
them from S to R.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from forwarder_lab import Mcfwd, Network, binary, inject, network
from small_lab import wait_for

from testbed.errors import ForwarderError
from testbed.forwarder.state import PortState
from testbed.forwarder.tables import Tables
from testbed.packet import Ethernet, Ethertype, multicast_mac

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

PORT = 5001
GROUP, GROUP_6 = IPv4Address("232.1.1.1"), "33:33:00:00:01:01"
IPV4, IPV6, ARP, VLAN = 0x0800, 0x86DD, 0x0806, 0x8100
FRAME_MAX = 16 * 1024
LINE_LIMIT = 64 * 1024
CONNECTIONS = 16
UDP_SEGMENT = 103  # linux/udp.h
BURST, AHEAD = 5, 200  # packets sent between two commits, and at most on their way: no queue of the kernel overflows
ROWS = {
    "A": (
        "port to-S context 1",
        "port to-B transport",
        "nexthop 1 port to-B via 10.0.1.2",
        "bift ethernet 1 sd 0 si 0 bsl 64 bfr-id 1",
        "path ethernet 1 0 0 fbm 6 nexthop 1",
        f"flow 1 * {GROUP} bier ethernet 1 4",
    ),
    "B": (
        "port to-A transport",
        "port to-C transport",
        "nexthop 1 port to-C via 2001:db8:2::2",
        "bift ethernet 1 sd 0 si 0 bsl 64 bfr-id 2",
        "path ethernet 1 0 0 fbm 4 nexthop 1",
    ),
    "C": (
        "port to-B transport",
        "port to-R",
        "bift ethernet 1 sd 0 si 0 bsl 64 bfr-id 3 context 2",
        "path ethernet 1 0 0 fbm 4 local",
        f"flow 2 * {GROUP} port to-R",
    ),
}


def _sender() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.2"))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
    return sock


def _receiver() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, GROUP.packed + socket.inet_aton("10.0.3.2"))
    sock.setblocking(False)
    sock.bind((str(GROUP), PORT))
    return sock


def tables(*rows: str) -> Tables:
    return Tables.parse("\n".join(rows))


class Chain:
    """From S to R: numbered packets, and those that have come, in their order."""

    def __init__(self, lab: Network) -> None:
        self.lab = lab
        self.sender: socket.socket = lab.inside("S", _sender)
        self.receiver: socket.socket = lab.inside("R", _receiver)
        self.sent = 0
        self._heard: list[int] = []

    def send(self, size: int = 100) -> int:
        """The number of the packet, whose payload is of `size` octets."""
        self.sender.sendto(self.sent.to_bytes(4, "big").ljust(size, b"."), (str(GROUP), PORT))
        self.sent += 1
        return self.sent - 1

    def send_two(self, size: int) -> int:
        """Two packets in one call; the number of the first, whose payload is of `size` octets."""
        first, second = (number.to_bytes(4, "big") for number in (self.sent, self.sent + 1))
        self.sender.sendto(first.ljust(size, b".") + second, (str(GROUP), PORT))
        self.sent += 2
        return self.sent - 2

    def heard(self, first: int = 0) -> list[int]:
        """What has come of the packets from number `first` on."""
        with contextlib.suppress(BlockingIOError):
            while data := self.receiver.recv(1 << 16):
                self._heard.append(int.from_bytes(data[:4], "big"))
        return [number for number in self._heard if number >= first]

    def recover(self) -> None:
        """Until a packet comes that was sent from now on."""
        first = self.sent

        def comes() -> bool:
            self.send()
            return bool(self.heard(first))

        wait_for(comes, "a packet from S to R")

    def forwarder(self, name: str) -> Mcfwd:
        return self.lab.forwarders[name]

    def port(self, router: str, name: str) -> PortState:
        return self.forwarder(router).client.state().ports[name]

    def log(self, router: str) -> str:
        return self.forwarder(router).log.read_text()

    def mac_known(self, router: str) -> str | None:
        return self.forwarder(router).client.state().nexthops[1].mac

    def neighbours(self, router: str, device: str) -> str:
        """What the kernel knows of them, without those of IPv6's own making."""
        lines = self.lab.run(router, f"ip neighbour show dev {device}").splitlines()
        return "\n".join(line for line in lines if not line.startswith("fe80:"))


@pytest.fixture(scope="module")
def built() -> Iterator[Chain]:
    with network("S-A", "A-B", "B-C", "C-R") as lab:
        for node, device in (("S", "to-A"), ("A", "to-S"), ("A", "to-B"), ("B", "to-A")):
            lab.run(node, f"echo 1 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6")  # these links have no noise
        for node, address in (("S", "10.0.0.2/24 dev to-A"), ("R", "10.0.3.2/24 dev to-C")):
            lab.run(node, f"ip address add {address}")
        for node, address in (("B", "2001:db8:2::1/64 dev to-C"), ("C", "2001:db8:2::2/64 dev to-B")):
            lab.run(node, f"ip address add {address} nodad")
        give_addresses(lab)
        lab.start(*ROWS)
        chain = Chain(lab)
        with chain.sender, chain.receiver:
            yield chain


@pytest.fixture
def chain(built: Chain) -> Chain:
    """With its tables, and in working order."""
    built.lab.load(ROWS)
    built.recover()
    return built


def give_addresses(lab: Network) -> None:
    """To the link between A and B."""
    lab.run("A", "ip address add 10.0.1.1/24 dev to-B")
    lab.run("B", "ip address add 10.0.1.2/24 dev to-A")


@contextlib.contextmanager
def another(chain: Chain, folder: Path, *arguments: str) -> Iterator[Mcfwd]:
    """One more forwarder, in S."""
    with Mcfwd(chain.lab.spaces.pid("S"), folder / "mcfwd.sock", *arguments) as made:
        wait_for(made.answers, "mcfwd")
        yield made


@pytest.fixture
def mcfwd(chain: Chain, tmp_path: Path) -> Iterator[Mcfwd]:
    with another(chain, tmp_path) as made:
        yield made


# -- packet sockets --------------------------------------------------------------------------------------------------


def test_tables_are_replaced_a_thousand_times_and_no_packet_is_lost_or_doubled(chain: Chain) -> None:
    moving = (  # so that the rows of the ports and next hops in use move
        (),
        ("port aaa transport", "port aab context 9", "nexthop 0 port aaa via 192.0.2.1"),
        ("port a transport", "nexthop 0 port a mac 02:00:00:00:00:01", "port zzz"),
    )
    sets = [(name, tables(*others, *rows)) for others in moving for name, rows in ROWS.items()]
    first, before = chain.sent, chain.lab.crowded_out()

    def wait(number: int) -> None:
        """Until a packet from this number on has come, or one was lost that was not the forwarders' to keep."""
        wait_for(lambda: chain.heard(number) or chain.lab.crowded_out() > before, f"packet {number}")

    for name, new in itertools.islice(itertools.cycle(sets), 1000):
        for _ in range(BURST):
            last = chain.send()
        chain.forwarder(name).client.replace(new)
        if last - first > AHEAD:
            wait(last - AHEAD)
    wait(last)
    if (lost := chain.lab.crowded_out() - before) > 0:
        pytest.skip(f"this machine's own backlog was full {lost} times")
    assert chain.heard(first) == list(range(first, last + 1))


def frame(destination: str, ethertype: int, size: int = 60) -> bytes:
    return Ethernet(destination, "02:00:00:00:00:fe", ethertype).encode(bytes(size - 14))


def counted(chain: Chain, node: str, device: str, router: str, frames: list[bytes]) -> int:
    """How many of these frames, sent by a node to a router, the router's forwarder takes."""
    ours = chain.lab.mac(router, node)
    sentinel = (frame(ours, Ethertype.MPLS), "label-unknown")
    if chain.port(router, f"to-{node}").row.context:
        sentinel = (Ethernet(multicast_mac(GROUP), ours, IPV4).encode(b"\xff" * 40), "ip-header")
    state = chain.forwarder(router).client.state()
    reason = sentinel[1]
    inject(chain.lab, node, device, *frames, sentinel[0])
    wait_for(lambda: chain.forwarder(router).drops().get(reason, 0) > state.drops.get(reason, 0), "the last frame")
    return chain.port(router, f"to-{node}").rx.packets - state.ports[f"to-{node}"].rx.packets - 1


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("BIER", True),
        ("BIER for another station", True),
        ("MPLS", True),
        ("IPv6", True),
        ("priority tag", True),
        ("VLAN", False),
        ("IPv6 for another station", False),
        ("IPv6 multicast", False),
        ("IPv4", False),
        ("IPv4 multicast", False),
        ("ARP", False),
    ],
)
def test_what_a_transport_port_takes(chain: Chain, name: str, taken: bool) -> None:
    ours, other = chain.lab.mac("B", "A"), "02:00:00:00:ff:ff"
    bier = Ethertype.BIER.to_bytes(2, "big") + bytes(44)
    sent = {
        "BIER": frame(ours, Ethertype.BIER),
        "BIER for another station": frame(other, Ethertype.BIER),
        "MPLS": frame(ours, Ethertype.MPLS),
        "IPv6": frame(ours, IPV6),
        "priority tag": Ethernet(ours, other, VLAN).encode(b"\xe0\x00" + bier),
        "VLAN": Ethernet(ours, other, VLAN).encode(b"\x00\x0a" + bier),
        "IPv6 for another station": frame(other, IPV6),
        "IPv6 multicast": frame(GROUP_6, IPV6),
        "IPv4": frame(ours, IPV4),
        "IPv4 multicast": frame(multicast_mac(GROUP), IPV4),
        "ARP": frame("ff:ff:ff:ff:ff:ff", ARP),
    }
    drops = sum(chain.forwarder("B").drops().values())
    assert counted(chain, "A", "to-B", "B", [sent[name]]) == taken
    assert taken or sum(chain.forwarder("B").drops().values()) == drops + 1  # the sentinel


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("IPv4 multicast", True),
        ("IPv6 multicast", True),
        ("IPv4 broadcast", False),
        ("IPv4", False),
        ("IPv6", False),
        ("BIER", False),
    ],
)
def test_what_a_port_with_a_context_takes(chain: Chain, name: str, taken: bool) -> None:
    ours = chain.lab.mac("A", "S")
    sent = {
        "IPv4 multicast": frame(multicast_mac(GROUP), IPV4),
        "IPv6 multicast": frame(GROUP_6, IPV6),
        "IPv4 broadcast": frame("ff:ff:ff:ff:ff:ff", IPV4),
        "IPv4": frame(ours, IPV4),
        "IPv6": frame(ours, IPV6),
        "BIER": frame(ours, Ethertype.BIER),
    }
    assert counted(chain, "S", "to-A", "A", [sent[name]]) == taken


def test_a_port_takes_something_else_once_its_row_has_changed(chain: Chain) -> None:
    frames = [frame(multicast_mac(GROUP), IPV4), frame(chain.lab.mac("A", "S"), Ethertype.BIER)] * 3
    bound = chain.log("A").count("bound")
    assert counted(chain, "S", "to-A", "A", frames[:5]) == 3
    chain.forwarder("A").client.update(["port to-S transport"])
    assert counted(chain, "S", "to-A", "A", frames[:4]) == 2
    chain.forwarder("A").client.update(["port to-S transport context 1"])
    assert counted(chain, "S", "to-A", "A", frames) == 6
    assert chain.log("A").count("bound") == bound  # it is the same socket


def test_frames_that_are_too_long_are_dropped_whole_and_counted(chain: Chain) -> None:
    lab = chain.lab
    lab.run("A", "ip link set to-B mtu 60000")
    lab.run("B", "ip link set to-A mtu 60000")
    ours = lab.mac("B", "A")
    before = chain.forwarder("B").drops()
    frames = [frame(ours, Ethertype.BIER, size) for size in (FRAME_MAX, FRAME_MAX + 1, 40000)]
    assert counted(chain, "A", "to-B", "B", frames) == 1
    assert chain.forwarder("B").drops()["oversized"] == before.get("oversized", 0) + 2
    lab.run("A", "ip link set to-B mtu 1500")
    lab.run("B", "ip link set to-A mtu 1500")


def test_packets_that_a_host_leaves_its_interface_to_cut_are_dropped_and_counted(chain: Chain) -> None:
    """One frame of several datagrams (udp(7), UDP_SEGMENT) would pass for one that is longer; cut, they come."""
    a = chain.forwarder("A")
    before = a.drops().get("uncut", 0)
    chain.sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    try:
        uncut = chain.send_two(1000)
        wait_for(lambda: a.drops().get("uncut", 0) == before + 1, "the drop")
        chain.lab.run("S", "ip link set to-A gso_max_segs 1")
        cut = chain.send_two(1000)
        wait_for(lambda: chain.heard(cut) == [cut, cut + 1], "both packets")
    finally:
        chain.sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        chain.lab.run("S", "ip link set to-A gso_max_segs 65535")
    assert chain.heard(uncut) == [cut, cut + 1]
    assert a.drops()["uncut"] == before + 1


def test_a_full_queue_and_a_small_link_drop_and_are_counted(chain: Chain) -> None:
    lab, b = chain.lab, chain.forwarder("B")
    before = b.drops()
    lab.run("B", "tc qdisc add dev to-C root tbf rate 1mbit burst 2kb limit 4kb")
    for _ in range(50):
        last = chain.send(1200)
    wait_for(lambda: b.drops().get("tx-queue", 0) > before.get("tx-queue", 0), "a drop")
    lab.run("B", "tc qdisc del dev to-C root", "ip link set to-C mtu 1280")
    wait_for(lambda: chain.port("B", "to-C").mtu == 1280, "the MTU")
    small = chain.send(1200)
    big = chain.send(1270)
    wait_for(lambda: b.drops().get("mtu", 0) == before.get("mtu", 0) + 1, "a drop")
    wait_for(lambda: small in chain.heard(last), "the small packet")
    assert big not in chain.heard(last)
    lab.run("B", "ip link set to-C mtu 1500")
    wait_for(lambda: chain.port("B", "to-C").mtu == 1500, "the MTU")


# -- interfaces and neighbours ---------------------------------------------------------------------------------------


def test_an_interface_goes_and_comes_back(chain: Chain) -> None:
    lab = chain.lab
    index = chain.port("A", "to-B").ifindex
    lab.run("A", "ip link del to-B")
    wait_for(lambda: not chain.port("A", "to-B").ifindex and not chain.port("B", "to-A").ifindex, "its end")
    assert chain.mac_known("A") is None
    drops = chain.forwarder("A").drops().get("no-neighbour", 0)
    chain.send()
    wait_for(lambda: chain.forwarder("A").drops().get("no-neighbour", 0) > drops, "a drop")
    lab.wire([("A", "B")])
    give_addresses(lab)
    chain.recover()
    assert chain.port("A", "to-B").ifindex not in (0, index)
    # Netlink says that the interface is gone, and the socket does; either may be first.
    said = re.findall("port to-B: (absent|released|bound)", chain.log("A"))
    assert (said[0], set(said[1:3]), said[3]) == ("bound", {"absent", "released"}, "bound")


def test_an_interface_is_replaced_by_another_of_its_number(chain: Chain) -> None:
    """Between two looks at the kernel's events: nothing else tells them apart."""
    lab = chain.lab
    a, b = chain.port("A", "to-B").ifindex, chain.port("B", "to-A").ifindex
    processes = [chain.forwarder(name).process for name in "AB"]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    peer = f"type veth peer name to-A index {b} address {lab.mac('B', 'A')} netns {lab.spaces.pid('B')}"
    lab.run("A", "ip link del to-B", f"ip link add to-B index {a} address {lab.mac('A', 'B')} {peer}")
    lab.run("A", "ip link set to-B up")
    lab.run("B", "ip link set to-A up")
    give_addresses(lab)
    for process in processes:
        process.send_signal(signal.SIGCONT)
    chain.recover()
    assert chain.port("A", "to-B").ifindex == a


def test_an_interface_is_renamed(chain: Chain) -> None:
    lab = chain.lab
    lab.run("A", "ip link set to-B down", "ip link set to-B name elsewhere", "ip link set elsewhere up")
    wait_for(lambda: not chain.port("A", "to-B").ifindex, "its end")
    lab.run("A", "ip link set elsewhere down", "ip link set elsewhere name to-B", "ip link set to-B up")
    chain.recover()


def test_a_port_follows_its_link(chain: Chain) -> None:
    lab = chain.lab
    lab.run("B", "ip link set to-C down")
    wait_for(lambda: not chain.port("B", "to-C").up, "the link's end")
    assert chain.port("C", "to-B").ifindex
    wait_for(lambda: not chain.port("C", "to-B").up, "the carrier's end")
    assert chain.port("B", "to-C").ifindex
    lab.run("B", "ip link set to-C up", "ip address add 2001:db8:2::1/64 dev to-C nodad")
    chain.recover()


def test_neighbours_are_kept_followed_and_given_back(chain: Chain) -> None:
    lab, a = chain.lab, chain.forwarder("A").client
    wait_for(lambda: chain.mac_known("A") == lab.mac("B", "A"), "the neighbour")
    assert "10.0.1.2" in chain.neighbours("A", "to-B")
    lab.run("A", "ip neighbour del 10.0.1.2 dev to-B")  # (flush would run a race: what is lost is asked for at once)
    chain.recover()
    lab.run("B", "echo 1 > /proc/sys/net/ipv4/conf/to-A/arp_notify")  # else its kernel tells nobody
    for mac in ("02:00:00:00:aa:aa", lab.mac("B", "A")):
        lab.run("B", f"ip link set to-A address {mac}")
        wait_for(lambda mac=mac: chain.mac_known("A") == mac, "the neighbour's new address")
        chain.recover()
    a.update(["del path ethernet 1", "del nexthop 1"])
    assert chain.neighbours("A", "to-B") == ""


def test_neighbours_are_given_back_at_the_end(chain: Chain, tmp_path: Path) -> None:
    with another(chain, tmp_path) as made:
        made.client.replace(tables("port to-A", "nexthop 1 port to-A via 10.0.0.1"))
        assert "10.0.0.1" in chain.neighbours("S", "to-A")
    assert chain.neighbours("S", "to-A") == ""


def test_static_neighbours_are_used_and_left_alone(chain: Chain) -> None:
    lab, client = chain.lab, chain.forwarder("B").client
    there = f"2001:db8:2::2 lladdr {lab.mac('C', 'B')} PERMANENT"
    lab.run("B", f"ip neighbour replace 2001:db8:2::2 lladdr {lab.mac('C', 'B')} dev to-C nud permanent")
    client.update(["port other"])
    client.update(["del path ethernet 1", "del nexthop 1"])
    assert there in chain.neighbours("B", "to-C")
    client.replace(tables(*ROWS["B"]))
    assert chain.mac_known("B") == lab.mac("C", "B")  # at once
    chain.recover()
    assert there in chain.neighbours("B", "to-C")
    lab.run("B", "ip neighbour del 2001:db8:2::2 dev to-C")
    chain.recover()


def test_events_of_the_kernel_may_be_lost(chain: Chain) -> None:
    lab, process = chain.lab, chain.forwarder("A").process
    one = "10.0.1.99 lladdr 02:00:00:00:00:01 dev to-B"
    process.send_signal(signal.SIGSTOP)
    lab.run("A", f"yes 'neighbour add {one}\nneighbour del {one}' | head -n 40000 | ip -batch -")
    lab.run("A", "ip link del to-B")
    lab.wire([("A", "B")])
    give_addresses(lab)
    process.send_signal(signal.SIGCONT)
    chain.recover()
    assert "events were lost" in chain.log("A")


# -- the control socket ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def call(mcfwd: Mcfwd) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(str(mcfwd.socket))
        yield sock


def talk(mcfwd: Mcfwd, said: bytes) -> bytes:
    """Everything that is answered until it hangs up, which it does when we have nothing more to say."""
    with call(mcfwd) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(1 << 16):
                answer += part
        return answer


def ask(mcfwd: Mcfwd, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(binary()), "ask", "--control", str(mcfwd.socket), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_question_from_the_shell(mcfwd: Mcfwd) -> None:
    shown = ask(mcfwd, "show", "ports")
    assert shown.returncode == 0
    assert "state" in shown.stdout
    assert not shown.stderr
    refused = ask(mcfwd, "show", "nothing")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error ")
    assert ask(mcfwd, "update").returncode == 1  # a transaction is no question
    assert ask(mcfwd).returncode == 2
    nobody = subprocess.run([binary(), "ask", "--control", "/nowhere", "state"], capture_output=True, text=True)
    assert nobody.returncode == 1
    assert "/nowhere" in nobody.stderr


def test_answers_to_many_questions_at_once_are_all_given(mcfwd: Mcfwd) -> None:
    assert talk(mcfwd, b"state\n" * 2000).count(b"\nok\n") == 2000


def test_a_commit_is_confirmed_when_it_is_in_force(chain: Chain, mcfwd: Mcfwd) -> None:
    answer = talk(mcfwd, b"update\nport to-A transport\ncommit\nshow ports\n").decode()
    assert re.match(r"ok\nport .*\nto-A +up +" + chain.lab.mac("S", "A"), answer)


def test_garbage(mcfwd: Mcfwd) -> None:
    chance = random.Random(1)
    for _ in range(100):
        talk(mcfwd, chance.randbytes(chance.randrange(1, 5000)) + b"\n" * chance.randrange(2))
    assert mcfwd.answers()


def test_the_longest_line(mcfwd: Mcfwd) -> None:
    with call(mcfwd) as sock:
        sock.sendall(b"x" * LINE_LIMIT + b"\ntables\n")
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile() as answer:
            error, *rest = answer.read().splitlines()
    assert error.startswith("error outside a transaction")
    assert rest == ["failed", "node ttl 64", "ok"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_longer_lines_end_the_conversation(mcfwd: Mcfwd, end: bytes) -> None:
    with call(mcfwd) as sock:
        sock.sendall(b"x" * (LINE_LIMIT + 1) + end)
        with sock.makefile() as answer:
            assert answer.read() == "error a line is longer than 64 KiB\nfailed\n"
    assert mcfwd.answers()


def test_a_line_in_pieces(mcfwd: Mcfwd) -> None:
    with call(mcfwd) as sock:
        for octet in b"tables\n":
            sock.sendall(bytes([octet]))
        with sock.makefile() as answer:
            assert answer.readline() == "node ttl 64\n"


def test_who_vanishes_in_a_transaction_has_changed_nothing(mcfwd: Mcfwd) -> None:
    before = mcfwd.client.tables()
    for said in (b"replace\nport other\n", b"replace\nport other\ncommit"):
        assert talk(mcfwd, said) == b""
    assert mcfwd.client.tables() == before


def test_too_many_conversations(mcfwd: Mcfwd) -> None:
    mcfwd.client.close()
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(call(mcfwd))
        assert talk(mcfwd, b"") == b"error too many connections\nfailed\n"
        busy = ask(mcfwd, "state")
        assert (busy.returncode, busy.stderr) == (1, "error too many connections\n")
    wait_for(lambda: ask(mcfwd, "state").returncode == 0, "an end of a conversation")


def test_who_does_not_read_holds_nobody_up(chain: Chain) -> None:
    b = chain.forwarder("B")
    with call(b) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"state\n" * 1000)
        assert b.answers()
        chain.recover()


# -- beginning and end -----------------------------------------------------------------------------------------------


def start(chain: Chain, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail, in S."""
    enter = ["nsenter", "-t", str(chain.lab.spaces.pid("S")), "-n", "--"]
    command = [*enter, str(binary()), "--control", str(folder / "mcfwd.sock"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_begins_with_a_file_of_rows(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "rows"
    rows = tables("port to-A context 3", "flow 3 * * port to-A")
    file.write_text(f"# what was saved\n{rows.text()}")
    with another(chain, tmp_path, "--tables", str(file)) as made:
        assert made.client.tables() == rows
        assert made.ready().ports["to-A"].up


def test_it_does_not_begin_with_wrong_rows(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_text("port a bogus\nnexthop 1 port\nflow 1 * 10.0.0.1\n")
    refused = start(chain, tmp_path, "--tables", str(file))
    assert refused.returncode == 2
    assert re.findall("line ([0-9]+):", refused.stderr) == ["1", "2", "3"]
    assert start(chain, tmp_path, "--tables", str(tmp_path / "none")).returncode == 2
    assert not (tmp_path / "mcfwd.sock").exists()


def test_two_do_not_share_a_control_socket(chain: Chain, mcfwd: Mcfwd, tmp_path: Path) -> None:
    refused = start(chain, tmp_path)
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    assert mcfwd.answers()


def test_a_socket_that_was_left_behind_is_replaced(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "mcfwd.sock"
    left = Mcfwd(chain.lab.spaces.pid("S"), path)
    wait_for(left.answers, "mcfwd")
    left.kill()
    assert path.exists()
    with another(chain, tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_what_is_no_socket_is_not_replaced(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "mcfwd.sock"
    file.write_text("precious")
    assert start(chain, tmp_path).returncode == 1
    assert file.read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well(chain: Chain, tmp_path: Path, number: signal.Signals) -> None:
    with another(chain, tmp_path) as made:
        made.client.replace(tables("port to-A transport"))
        made.process.send_signal(number)
        made.wait(0)
    assert not made.socket.exists()
    assert made.log.read_text().splitlines()[-1].endswith(" stopped")


def test_the_log_says_what_happened_and_when(chain: Chain, mcfwd: Mcfwd) -> None:
    mcfwd.client.replace(tables("port to-A transport", "port nowhere"))
    mcfwd.client.update(["port nowhere transport"])
    with pytest.raises(ForwarderError):
        mcfwd.client.update(["port"])
    inject(chain.lab, "A", "to-S", *[frame(chain.lab.mac("S", "A"), Ethertype.MPLS)] * 3)
    text = mcfwd.log.read_text
    wait_for(lambda: "label-unknown" in text(), "the drops")
    lines = text().splitlines()
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \d+\.\d{6} \S", line), line
    said = [line.split(" ", 2)[2] for line in lines]
    assert said[0] == f"started, control at {mcfwd.socket}"
    assert sum(line.startswith("tables: ") for line in said) == 3
    assert said.count("port to-A: up") == 1
    assert said.count("port nowhere: absent, there is no such interface") == 1
    dropped = [re.fullmatch(r"dropped (\d+) packets?: label-unknown \(no such label here\)", line) for line in said]
    assert sum(int(match[1]) for match in dropped if match) == 3
