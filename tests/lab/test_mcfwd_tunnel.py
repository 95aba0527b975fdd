"""A tunnel between two forwarders through a router that is nothing but a kernel: A - N - B, a host at A and at B.

N routes what A sends, so it has found the outer header right; B's kernel sees it too, and has nothing to say.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from forwarder_lab import Frames, Host, Network, Tap, hear, inject, network
from small_lab import wait_for

from testbed.packet import Bier, BitString, Encapsulation, Ethernet, Ethertype, Gre, IPv4, Protocol, udp_packet

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

GROUP = IPv4Address("232.1.1.1")
ENDS = {"A": IPv4Address("10.255.0.1"), "B": IPv4Address("10.255.0.2")}
ETHERTYPE = {"ethernet": Ethertype.BIER, "mpls": Ethertype.MPLS}
ENCAPSULATION = {"ethernet": Encapsulation.NON_MPLS, "mpls": Encapsulation.MPLS}
both = pytest.mark.parametrize("encap", ["ethernet", "mpls"])
ADDRESSES = {
    "A": ("10.255.0.1/32 dev lo", "10.0.1.1/24 dev to-N"),
    "N": ("10.0.1.2/24 dev to-A", "10.0.2.2/24 dev to-B"),
    "B": ("10.255.0.2/32 dev lo", "10.0.2.1/24 dev to-N"),
    "hA": ("192.0.2.1/24 dev to-A",),
    "hB": ("192.0.3.1/24 dev to-B",),
}
ROUTES = {
    "A": ("10.255.0.2 via 10.0.1.2", "10.0.2.0/24 via 10.0.1.2"),
    "N": ("10.255.0.1 via 10.0.1.1", "10.255.0.2 via 10.0.2.1"),
    "B": ("10.255.0.1 via 10.0.2.2", "10.0.1.0/24 via 10.0.2.2"),
}


def rows(name: str, encap: str) -> list[str]:
    """A has BFR-id 1, B has 2; each calls its BIFT by a number of its own."""
    own, other, gateway = (100, 200, "10.0.1.2") if name == "A" else (200, 100, "10.0.2.2")
    far = ENDS["B" if name == "A" else "A"]
    bit, others = (1, 2) if name == "A" else (2, 1)
    return [
        f"node tunnel {ENDS[name]}",
        "port to-N transport",
        f"port to-h{name} context 1",
        f"nexthop 1 port to-N via {gateway} tunnel {far}",
        f"bift {encap} {own} sd 0 si 0 bsl 64 bfr-id {bit} context 2",
        f"path {encap} {own} 0 0 fbm {bit:x} local",
        f"path {encap} {own} 0 1 fbm {others:x} nexthop 1 as {other}",
        f"flow 1 * * bier {encap} {own} {others:x}",
        f"flow 2 * * port to-h{name}",
    ]


@pytest.fixture(scope="module")
def lab() -> Iterator[Network]:
    with network("A-N", "N-B", "A-hA", "B-hB") as made:
        for name, addresses in ADDRESSES.items():
            made.run(name, *(f"ip address add {each}" for each in addresses))
        for name, routes in ROUTES.items():
            made.run(name, *(f"ip route add {each}" for each in routes))
        made.run("N", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        made.start("A", "B")
        yield made


@pytest.fixture
def hosts(lab: Network) -> Iterator[dict[str, Host]]:
    made = {name: Host(lab, f"h{name}", f"to-{name}", 4, [GROUP]) for name in "AB"}
    yield made
    for host in made.values():
        host.close()


def counter(lab: Network, node: str, group: str, name: str) -> int:
    """Of the node's kernel."""

    def read() -> int:
        with open("/proc/thread-self/net/snmp") as file:
            names, values = (line.split() for line in file if line.startswith(f"{group}:"))
        return int(values[names.index(name)])

    found: int = lab.inside(node, read)
    return found


def raw_sockets(lab: Network, node: str) -> list[list[str]]:
    """For GRE, in the kernel's words: state, queues, ..."""

    def read() -> list[list[str]]:
        with open("/proc/thread-self/net/raw") as file:
            return [line.split() for line in file if line.split()[1].endswith(f":{Protocol.GRE:04X}")]

    found: list[list[str]] = lab.inside(node, read)
    return found


def tunnelled(lab: Network, frames: Frames, node: str) -> list[bytes]:
    """IPv4 packets with GRE that left a node."""
    packets = [data[14:] for each, _, data in frames if each == node and Ethernet.decode(data)[0].ethertype == 0x0800]
    return [packet for packet in packets if packet[9] == Protocol.GRE]


@both
def test_both_ways_through_a_router_of_ip(lab: Network, hosts: dict[str, Host], encap: str) -> None:
    lab.load({name: rows(name, encap) for name in "AB"})
    refused = counter(lab, "B", "Ip", "InUnknownProtos"), counter(lab, "B", "Icmp", "OutMsgs")
    with Tap(lab, "A", "N", "B") as tap:
        for sender, receiver in ("AB", "BA"):
            tap.take()
            hosts[sender].send(GROUP, b"over")
            assert hear(hosts, b"over", [receiver]) == {receiver: [b"over"]}
            frames = tap.take()
            (first,), (second,) = tunnelled(lab, frames, sender), tunnelled(lab, frames, "N")
            outer, rest = IPv4.decode(first)
            assert outer == IPv4(ENDS[sender], ENDS[receiver], Protocol.GRE, ttl=64, df=True)
            assert IPv4.decode(second)[0].ttl == 63
            gre, rest = Gre.decode(rest)
            assert gre == Gre(ETHERTYPE[encap])
            bier, inner = Bier.decode(rest, 64, ENCAPSULATION[encap])
            assert (bier.bift_id, bier.ttl) == (200 if receiver == "B" else 100, 64)
            assert set(bier.bits) == {2 if receiver == "B" else 1}
            assert inner[8] == 63  # the inner TTL, one less
            assert not tunnelled(lab, frames, receiver), "it came back"
    assert (counter(lab, "B", "Ip", "InUnknownProtos"), counter(lab, "B", "Icmp", "OutMsgs")) == refused
    assert lab.forwarders["B"].drops().keys() <= {"no-flow"}


def test_the_kernels_copies_are_kept_nowhere(lab: Network, hosts: dict[str, Host]) -> None:
    """However many come, the raw socket that keeps the kernel silent is as empty as before; and there is one."""
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    before = counter(lab, "B", "Ip", "InDelivers")
    for number in range(2000):
        hosts["A"].send(GROUP, number.to_bytes(4, "big") + bytes(1000))
        if number % 100 == 99:
            wait_for(lambda n=number: any(d[:4] == n.to_bytes(4, "big") for _, d in hosts["B"].hear()), "a packet")
    assert counter(lab, "B", "Ip", "InDelivers") - before >= 2000
    ((_, _, _, _, queues, *_),) = raw_sockets(lab, "B")
    assert queues == "00000000:00000000"
    assert counter(lab, "B", "Ip", "InUnknownProtos") == 0


def test_without_an_end_here_it_is_the_kernels(lab: Network, hosts: dict[str, Host]) -> None:
    """The row goes: the socket's filter lets none through, and the kernel says that nobody wants the packet."""
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    client = lab.forwarders["B"].client
    assert len(raw_sockets(lab, "B")) == 1
    client.update(["del path ethernet 200 0 1", "del flow 1 * *", "del nexthop 1", "node ttl 64"])
    assert raw_sockets(lab, "B") == []
    refused, received = counter(lab, "B", "Ip", "InUnknownProtos"), client.state().ports["to-N"].rx.packets
    hosts["A"].send(GROUP, b"nobody")
    wait_for(lambda: counter(lab, "B", "Ip", "InUnknownProtos") > refused, "the kernel's refusal")
    inject(lab, "N", "to-B", lab.frame("N", "B", Ethertype.MPLS, bytes(40)))  # behind it
    wait_for(lambda: client.state().ports["to-N"].rx.packets > received, "the last frame")
    assert client.state().ports["to-N"].rx.packets == received + 1
    client.update([f"node tunnel {ENDS['B']}"])
    assert len(raw_sockets(lab, "B")) == 1
    hosts["A"].send(GROUP, b"again")
    hear(hosts, b"again", ["B"])


PAYLOAD = Gre(Ethertype.BIER).encode(
    Bier(bift_id=200, bits=BitString.of({2}, 64), proto=4, bfir_id=1).encode(
        udp_packet(IPv4Address("192.0.2.1"), GROUP, 1, 5001, b"made")
    )
)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (IPv4(ENDS["A"], ENDS["B"], Protocol.GRE, mf=True).encode(PAYLOAD[:40]), "fragment"),
        (IPv4(ENDS["A"], ENDS["B"], Protocol.GRE, fragment_offset=5).encode(PAYLOAD[40:]), "fragment"),
        (IPv4(ENDS["A"], ENDS["B"], Protocol.GRE).encode(Gre(0x0800).encode(bytes(20))), "gre-protocol"),
        (IPv4(ENDS["A"], ENDS["B"], Protocol.GRE).encode(b"\x20" + PAYLOAD[1:]), "gre"),
        (IPv4(ENDS["A"], ENDS["B"], Protocol.GRE).encode(PAYLOAD), ""),
        (IPv4(ENDS["A"], ENDS["B"], Protocol.UDP).encode(PAYLOAD), "not taken"),
        (IPv4(ENDS["A"], IPv4Address("10.0.2.1"), Protocol.GRE).encode(PAYLOAD), "not taken"),
        (IPv4(ENDS["A"], IPv4Address("10.255.0.9"), Protocol.GRE).encode(PAYLOAD), "not taken"),
    ],
    ids=["first fragment", "last fragment", "IP in GRE", "key", "right", "UDP", "another address", "another router"],
)
def test_what_the_filter_and_the_core_let_through(
    lab: Network, hosts: dict[str, Host], packet: bytes, reason: str
) -> None:
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    forwarder = lab.forwarders["B"]
    before, drops = forwarder.client.state().ports["to-N"].rx.packets, forwarder.drops()
    frame, last = (lab.frame("N", "B", kind, data) for kind, data in ((0x0800, packet), (0x8847, bytes(40))))
    inject(lab, "N", "to-B", frame, last)
    wait_for(lambda: forwarder.drops().get("label-unknown", 0) > drops.get("label-unknown", 0), "the last frame")
    assert forwarder.client.state().ports["to-N"].rx.packets == before + (reason != "not taken") + 1
    if reason == "":
        hear(hosts, b"made", ["B"])
    elif reason != "not taken":
        assert forwarder.drops()[reason] == drops.get(reason, 0) + 1


def test_what_a_link_on_the_way_cannot_carry_is_not_fragmented(lab: Network, hosts: dict[str, Host]) -> None:
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    most = 1400 - 24 - 20 - 28  # tunnel, BIER, IP and UDP
    lab.run("N", "ip link set to-B mtu 1400")
    try:
        refused = counter(lab, "N", "Ip", "FragFails")
        hosts["A"].send(GROUP, bytes(most + 1))
        wait_for(lambda: counter(lab, "N", "Ip", "FragFails") > refused, "the refusal of N")
        hosts["A"].send(GROUP, bytes(most))
        assert hear(hosts, bytes(most), ["B"]) == {"B": [bytes(most)]}
    finally:
        lab.run("N", "ip link set to-B mtu 1500")


def test_what_the_own_link_cannot_carry_is_counted(lab: Network, hosts: dict[str, Host]) -> None:
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    most = 1500 - 24 - 20 - 28
    dropped = lab.forwarders["A"].drops().get("mtu", 0)
    hosts["A"].send(GROUP, bytes(most))
    assert hear(hosts, bytes(most), ["B"]) == {"B": [bytes(most)]}
    assert lab.forwarders["A"].drops().get("mtu", 0) == dropped
    lab.run("A", "ip link set to-N mtu 1480")
    try:
        wait_for(lambda: lab.forwarders["A"].client.state().ports["to-N"].mtu == 1480, "the MTU")
        hosts["A"].send(GROUP, bytes(most))
        wait_for(lambda: lab.forwarders["A"].drops().get("mtu", 0) == dropped + 1, "the drop")
    finally:
        lab.run("A", "ip link set to-N mtu 1500")


def test_a_socket_of_another_program_hears_them_too(lab: Network, hosts: dict[str, Host]) -> None:
    """Nothing is taken away from the kernel: a raw socket of somebody else's gets its copy."""
    lab.load({name: rows(name, "ethernet") for name in "AB"})
    with lab.inside("B", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, Protocol.GRE)) as other:
        other.settimeout(5)
        hosts["A"].send(GROUP, b"twice")
        hear(hosts, b"twice", ["B"])
        assert other.recv(2000).endswith(b"twice")
