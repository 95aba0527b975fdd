"""Replication segments in SRv6 over real links and beside the kernel's own routing: RFC 9524 appendix A.2.

The kernel of each node routes by locators and loopbacks and does what End and End.X do. The forwarder knows nothing but
Replication-SIDs, which the kernel drops. Linux has PSP for End alone and USD for neither, so what the RFC asks of End.X
at R4 is done by what leads the same way: PSP by End, as R4's best path to R7 is their link; USD by End.DX6, which takes
one off the hop limit of what comes out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_lab import RFC_9524, RFC_9524_HOSTS, Address, Frames, Host, Network, Tap, forwarded, network, walk
from small_lab import DEADLINE_S, wait_for

from testbed.packet import Ethertype, Icmpv6Echo, IPv6, Protocol, Srh

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

Frame = tuple[str, str, bytes]

GROUP: dict[int, Address] = {4: IPv4Address("232.1.2.3"), 6: IPv6Address("ff3e::8000:1")}
INNER = {4: Protocol.IPV4, 6: Protocol.IPV6}
LEAVES = {"R2", "R6", "R7"}
KERNEL = 99  # the next hop to the node's own routing
NEIGHBOURS = {1: [2], 2: [1, 3, 4, 5], 3: [2, 6], 4: [2, 7], 5: [2, 7], 6: [3, 7], 7: [4, 5, 6]}
VIA = {  # the way to each node: shortest paths, R2 to R7 by R4
    1: dict.fromkeys((2, 3, 4, 5, 6, 7), 2),
    2: {1: 1, 3: 3, 4: 4, 5: 5, 6: 3, 7: 4},
    3: {1: 2, 2: 2, 4: 2, 5: 2, 6: 6, 7: 6},
    4: {1: 2, 2: 2, 3: 2, 5: 2, 6: 7, 7: 7},
    5: {1: 2, 2: 2, 3: 2, 4: 2, 6: 7, 7: 7},
    6: {1: 3, 2: 3, 3: 3, 4: 7, 5: 7, 7: 7},
    7: {1: 4, 2: 4, 3: 6, 4: 4, 5: 5, 6: 6},
}


def loopback(node: int) -> IPv6Address:
    return IPv6Address(f"2001:db8::{node}")


def sid(node: int, function: str) -> IPv6Address:
    return IPv6Address(f"2001:db8:cccc:{node}:{function}::")


def link(node: int, other: int) -> IPv6Address:
    """The address of a node on its link to another."""
    low, high = sorted((node, other))
    return IPv6Address(f"2001:db8:0:{low}{high}::{node}")


HEAD, C7 = loopback(1), sid(4, "C7")
F2, F4, F6, F7 = (sid(node, f"F{node}") for node in (2, 4, 6, 7))


# -- the kernels' part -------------------------------------------------------------------------------------------------


def set_up(lab: Network, node: int) -> None:
    """Addresses and routes; a veth pair whose end `fib` is the forwarder's, so that the kernel routes what it sends."""
    here = [(other, VIA[node][other]) for other in VIA[node]]
    lab.run(
        f"R{node}",
        "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        f"ip link add fib type veth peer name kernel address {kernel_mac(node)}",
        "ip link set fib up",
        "ip link set kernel up",
        "ip -6 -batch - <<'END'",
        f"address add {loopback(node)} dev lo",
        *(f"address add {link(node, other)}/64 dev to-R{other}" for other in NEIGHBOURS[node]),
        *(f"route add {loopback(other)} via {link(via, node)}" for other, via in here),
        *(f"route add 2001:db8:cccc:{other}::/64 via {link(via, node)}" for other, via in here),
        f"route add blackhole {sid(node, f'F{node}')}",
        "END",
    )


def kernel_mac(node: int) -> str:
    return f"02:00:00:01:00:{node:02x}"


def bind(lab: Network, behaviour: str) -> None:
    """What R4 does with its SID C7."""
    action = {
        "End.X": f"End.X nh6 {link(7, 4)}",
        "PSP": "End flavors psp",
        "USD": f"End.DX6 nh6 {link(7, 4)}",
    }[behaviour]
    try:
        lab.run("R4", f"ip -6 route replace {C7} encap seg6local action {action} dev to-R7")
    except AssertionError as problem:
        if behaviour != "PSP":
            raise
        pytest.skip(f"this kernel has no PSP: {problem}")


@pytest.fixture(scope="module")
def network_of_seven() -> Iterator[Network]:
    with network(*RFC_9524, *RFC_9524_HOSTS) as made:
        for node in NEIGHBOURS:
            set_up(made, node)
        made.run("hR1", "ip address add 192.0.2.1 dev to-R1", "ip address add 2001:db8:ff::1 dev to-R1")
        made.start("R1", "R2", "R4", "R6", "R7")
        yield made


# -- the forwarders' part ----------------------------------------------------------------------------------------------


def links(node: int) -> list[str]:
    """Ports, and next hops: neighbours by address, and the kernel."""
    rows = [
        f"node source {loopback(node)} fib {KERNEL}",
        "port fib",
        f"nexthop {KERNEL} port fib mac {kernel_mac(node)}",
    ]
    for other in NEIGHBOURS[node]:
        rows += [f"port to-R{other} transport", f"nexthop {other} port to-R{other} via {link(other, node)}"]
    return rows


def leaf(node: int) -> list[str]:
    host = f"to-hR{node}"
    return [
        *links(node),
        f"sid {sid(node, f'F{node}')} replicate 1",
        "segment 1 leaf context 9",
        f"port {host}",
        f"flow 9 * * port {host}",
    ]


def root(steer: str) -> list[str]:
    """The printed state has R7's two SIDs the wrong way round: the pseudocode and the walk have F7 as the R-SID."""
    return [
        *links(1),
        "port to-hR1 context 1",
        "flow 1 * * segment 1",
        "segment 1 head",
        f"branch 1 0 sid {F2} nexthop 2",
        f"branch 1 1 sid {F6} nexthop {KERNEL}",
        f"branch 1 2 sid {F7} {steer} {C7} nexthop {KERNEL}",
    ]


def transit(node: int) -> list[str]:
    """To R6 and R7, the one by the kernel's routing."""
    return [
        *links(node),
        f"sid {sid(node, f'F{node}')} replicate 1",
        "segment 1 transit",
        f"branch 1 0 sid {F6} nexthop {KERNEL}",
        f"branch 1 1 sid {F7} nexthop 7",
    ]


def load(lab: Network, steer: str = "srh") -> None:
    lab.load({"R1": root(steer), "R2": leaf(2), "R4": transit(4), "R6": leaf(6), "R7": leaf(7)})


@pytest.fixture
def lab(network_of_seven: Network) -> Network:
    load(network_of_seven)
    return network_of_seven


@pytest.fixture(scope="module")
def taps(network_of_seven: Network) -> Iterator[Tap]:
    with Tap(network_of_seven, "hR1", *(f"R{node}" for node in NEIGHBOURS)) as made:
        yield made


@pytest.fixture
def tap(taps: Tap) -> Tap:
    taps.take()
    return taps


def on_links(frames: Frames) -> Frames:
    """Without those between a forwarder and its kernel."""
    return sorted(frame for frame in frames if frame[1] != "fib")


def copy(lab: Network, router: str, to: str, packet: bytes) -> Frame:
    return router, f"to-{to}", lab.frame(router, to, Ethertype.IPV6, packet)


# -- the walk ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def group(request: pytest.FixtureRequest) -> Address:
    return GROUP[request.param]


@pytest.fixture
def hosts(lab: Network, group: Address) -> Iterator[dict[str, Host]]:
    made = {name: Host(lab, f"h{name}", f"to-{name}", group.version, [group]) for name in ("R1", *LEAVES)}
    yield made
    for host in made.values():
        host.close()


@pytest.mark.parametrize(("steer", "behaviour"), [("encaps", "USD"), ("srh", "PSP"), ("srh", "End.X")])
def test_walk(lab: Network, tap: Tap, hosts: dict[str, Host], group: Address, steer: str, behaviour: str) -> None:
    """Every frame of A.2, octet by octet, in both of its ways to R7. Without PSP, the SRH goes on as it is, with no
    segment left, and the leaf passes it over."""
    load(lab, steer)
    bind(lab, behaviour)
    sent, frames = walk(tap, hosts, "R1", group, LEAVES)
    payload, kind = forwarded(sent, 1), INNER[group.version]
    (label,) = {IPv6.decode(frame[14:])[0].flow_label for node, at, frame in frames if (node, at) == ("R1", "to-R2")}

    def to(dst: IPv6Address, hop_limit: int, inner: bytes = payload, next_header: int = kind) -> bytes:
        return IPv6(HEAD, dst, next_header, hop_limit, 0, label).encode(inner)

    if steer == "encaps":
        outside = [to(C7, limit, to(F7, 64), Protocol.IPV6) for limit in (63, 62)]
        last = to(F7, 63)
    else:
        outside = [to(C7, limit, Srh(kind, (F7,), 1).encode(payload), Protocol.ROUTING) for limit in (63, 62)]
        last = to(F7, 61) if behaviour == "PSP" else to(F7, 61, Srh(kind, (F7,), 0).encode(payload), Protocol.ROUTING)
    assert on_links(frames) == sorted(
        [
            copy(lab, "R1", "R2", to(F2, 64)),
            copy(lab, "R1", "R2", to(F6, 63)),
            copy(lab, "R2", "R3", to(F6, 62)),
            copy(lab, "R3", "R6", to(F6, 61)),
            copy(lab, "R1", "R2", outside[0]),
            copy(lab, "R2", "R4", outside[1]),
            copy(lab, "R4", "R7", last),
            *((each, f"to-h{each}", lab.delivery(each, group, forwarded(sent, 2))) for each in LEAVES),
        ]
    )


def test_loose_branches_follow_the_routing(lab: Network, tap: Tap, hosts: dict[str, Host], group: Address) -> None:
    """R2's way to R6 and to R4 changes in its kernel; no row of any forwarder is touched."""
    bind(lab, "End.X")
    ways = {6: 5, 4: 5}
    lab.run("R5", f"ip -6 route replace 2001:db8:cccc:4::/64 via {link(7, 5)}")
    lab.run("R2", *(f"ip -6 route replace 2001:db8:cccc:{to}::/64 via {link(by, 2)}" for to, by in ways.items()))
    try:
        _, frames = walk(tap, hosts, "R1", group, LEAVES)
        way = [(node, at.removeprefix("to-")) for node, at, _ in on_links(frames) if "-h" not in at]
        assert sorted(way) == sorted(
            [
                *[("R1", "R2")] * 3,
                *[("R2", "R5")] * 2,
                *[("R5", "R7")] * 2,
                ("R7", "R6"),
                ("R7", "R4"),
                ("R4", "R7"),
            ]
        )
    finally:
        lab.run("R5", f"ip -6 route replace 2001:db8:cccc:4::/64 via {link(2, 5)}")
        lab.run("R2", *(f"ip -6 route replace 2001:db8:cccc:{to}::/64 via {link(VIA[2][to], 2)}" for to in ways))


# -- A.2.1: pings ------------------------------------------------------------------------------------------------------


def ping(lab: Network, to: IPv6Address) -> str:
    """The system's own, from R1's loopback."""
    return lab.run("R1", f"ping -6 -c 1 -w {DEADLINE_S:.0f} -I {HEAD} {to}")


def echoes(tap: Tap) -> list[tuple[str, str, IPv6, bytes]]:
    """What was sent on the links: from, to, IPv6 header, and what follows it."""
    found = []
    for node, at, frame in on_links(tap.take()):
        found.append((node, at.removeprefix("to-"), *IPv6.decode(frame[14:])))
    return found


def requests(tap: Tap, leaf: IPv6Address) -> list[tuple[str, str, str, str]]:
    """The way of an echo request: from, to, destination, and what is between the IPv6 header and ICMPv6."""
    found = []
    for node, to, ip, rest in echoes(tap):
        between = ""
        if ip.next_header == Protocol.ROUTING:
            srh, rest = Srh.decode(rest)
            assert srh.segments[0] == leaf
            between = f"SRH {srh.segments_left}"
        if ip.src == HEAD:
            echo, _ = Icmpv6Echo.decode(rest, HEAD, leaf)
            assert not echo.reply
            found.append((node, to, str(ip.dst), between))
    return found


def test_ping_of_a_leaf(lab: Network, tap: Tap) -> None:
    assert f"bytes from {F6}: icmp_seq=1" in ping(lab, F6)
    assert requests(tap, F6) == [(*hop, str(F6), "") for hop in (("R1", "R2"), ("R2", "R3"), ("R3", "R6"))]


@pytest.mark.parametrize(("behaviour", "behind"), [("PSP", ""), ("End.X", "SRH 0")])
def test_ping_of_a_leaf_by_a_segment(lab: Network, tap: Tap, behaviour: str, behind: str) -> None:
    bind(lab, behaviour)
    lab.run("R1", f"ip -6 route add {F7} encap seg6 mode inline segs {C7} dev to-R2 via {link(2, 1)}")
    try:
        assert f"bytes from {F7}: icmp_seq=1" in ping(lab, F7)
    finally:
        lab.run("R1", f"ip -6 route del {F7}")
    assert requests(tap, F7) == [
        ("R1", "R2", str(C7), "SRH 1"),
        ("R2", "R4", str(C7), "SRH 1"),
        ("R4", "R7", str(F7), behind),
    ]


@pytest.mark.parametrize(("answers", "drops"), [(6, 7), (7, 6)])
def test_ping_of_a_leaf_by_a_transit_replication_sid(lab: Network, tap: Tap, answers: int, drops: int) -> None:
    """R4 replaces the destination; the checksum is that leaf's, so that the other one drops its copy."""
    leaf = sid(answers, f"F{answers}")
    before = {node: lab.forwarders[f"R{node}"].drops().get("checksum", 0) for node in (6, 7)}
    request = IPv6(HEAD, F4, Protocol.ICMPV6).encode(Icmpv6Echo(5, 6).encode(b"ping", HEAD, leaf))

    def send() -> socket.socket:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        listener.bind((str(HEAD), 0))
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:  # with our own header
            raw.sendto(request, (str(F4), 0))
        return listener

    with lab.inside("R1", send) as listener:
        listener.settimeout(DEADLINE_S)
        data, (source, *_) = listener.recvfrom(1 << 16)
    assert source == str(leaf)
    assert Icmpv6Echo.decode(data, leaf, HEAD) == (Icmpv6Echo(5, 6, reply=True), b"ping")
    other = lab.forwarders[f"R{drops}"]
    wait_for(lambda: other.drops().get("checksum", 0) == before[drops] + 1, "the other leaf's drop")
    assert lab.forwarders[f"R{answers}"].drops().get("checksum", 0) == before[answers]
    found = echoes(tap)
    assert [(node, to, ip.dst, ip.hop_limit) for node, to, ip, _ in found if ip.src == HEAD] == [
        ("R1", "R2", F4, 64),
        ("R2", "R4", F4, 63),
        ("R4", "R7", F6, 61),  # by the kernel of R4, which is a hop
        ("R4", "R7", F7, 62),
        ("R7", "R6", F6, 60),
    ]
    assert {ip.src for _, _, ip, _ in found} == {HEAD, leaf}
