"""Replication segments in SR-MPLS over real links: RFC 9524 appendix A.1, a forwarder in each of R1 to R7."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_lab import RFC_9524, RFC_9524_HOSTS, Address, Frames, Host, Network, Tap, forwarded, network, walk
from small_lab import wait_for

from testbed.packet import Ethertype, LabelStackEntry, encode_stack

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

ROUTERS = tuple(f"R{k}" for k in range(1, 8))
LEAVES = {"R2", "R6", "R7"}
GROUP: dict[int, Address] = {4: IPv4Address("232.1.2.3"), 6: IPv6Address("ff3e::8000:1")}
ADJACENCY_47 = 24047


def node_sid(node: str, at: str) -> int:
    """N-SID of a node as another one's label: every node has a label block of its own."""
    return 16000 + 100 * int(at[1:]) + int(node[1:])


def replication_sid(node: str) -> int:
    return 17000 + int(node[1:])


def tables(lab: Network) -> dict[str, list[str]]:
    def towards(node: str, at: str, via: str, last: bool = False) -> str:
        """A node segment: CONTINUE, or NEXT at the penultimate hop."""
        operation = "pop" if last else f"swap {node_sid(node, via)}"
        return f"label {node_sid(node, at)} {operation} nexthop {lab.number(via)}"

    rows = {name: lab.links(name, *(other for other in ROUTERS if linked(name, other))) for name in ROUTERS}
    rows["R1"] += [
        "port to-hR1 context 1",
        "flow 1 * * segment 1",
        "segment 1 head",
        f"branch 1 0 labels {replication_sid('R2')} nexthop {lab.number('R2')}",
        f"branch 1 1 labels {node_sid('R6', 'R1')},{replication_sid('R6')}",
        f"branch 1 2 labels {node_sid('R4', 'R1')},{ADJACENCY_47},{replication_sid('R7')}",
        towards("R4", "R1", "R2"),
        towards("R6", "R1", "R2"),
    ]
    rows["R2"] += [towards("R4", "R2", "R4", last=True), towards("R6", "R2", "R3")]
    rows["R3"] += [towards("R6", "R3", "R6", last=True)]
    rows["R4"] += [f"label {ADJACENCY_47} pop nexthop {lab.number('R7')}"]
    for leaf in LEAVES:
        rows[leaf] += [f"label {replication_sid(leaf)} replicate 1", "segment 1 leaf context 9"]
        rows[leaf] += [f"port to-h{leaf}", f"flow 9 * * port to-h{leaf}"]
    return rows


def linked(a: str, b: str) -> bool:
    return "-".join(sorted((a, b))) in RFC_9524


@pytest.fixture(scope="module")
def network_of_seven() -> Iterator[Network]:
    with network(*RFC_9524, *RFC_9524_HOSTS) as made:
        made.run("hR1", "ip address add 192.0.2.1 dev to-R1", "ip address add 2001:db8:ff::1 dev to-R1")
        made.start(*ROUTERS)
        yield made


@pytest.fixture
def lab(network_of_seven: Network) -> Network:
    network_of_seven.load(tables(network_of_seven))
    return network_of_seven


@pytest.fixture(scope="module")
def taps(network_of_seven: Network) -> Iterator[Tap]:
    with Tap(network_of_seven, "hR1", *ROUTERS) as made:
        yield made


@pytest.fixture
def tap(taps: Tap) -> Tap:
    taps.take()
    return taps


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def group(request: pytest.FixtureRequest) -> Address:
    return GROUP[request.param]


@pytest.fixture
def hosts(lab: Network, group: Address) -> Iterator[dict[str, Host]]:
    made = {name: Host(lab, f"h{name}", f"to-{name}", group.version, [group]) for name in ("R1", *LEAVES)}
    yield made
    for host in made.values():
        host.close()


def copy(lab: Network, hop: tuple[str, str], packet: bytes, *stack: tuple[int, int]) -> tuple[str, str, bytes]:
    """A frame between two routers; the stack is labels and TTLs, top first."""
    router, to = hop
    entries = [LabelStackEntry(label, 0, k == len(stack), ttl) for k, (label, ttl) in enumerate(stack, 1)]
    return router, f"to-{to}", lab.frame(router, to, Ethertype.MPLS, encode_stack(entries, forwarded(packet, 1)))


def delivered(lab: Network, group: Address, packet: bytes) -> Frames:
    """The frames in which the leaves send it to their hosts."""
    return [(leaf, f"to-h{leaf}", lab.delivery(leaf, group, forwarded(packet, 2))) for leaf in LEAVES]


def test_walk(lab: Network, tap: Tap, hosts: dict[str, Host], group: Address) -> None:
    """Every frame of A.1, octet by octet.

    The RFC has the copy for R7 arrive at R4 with <A-SID47, R-SID1>: every other line of it says R-SID7.
    """
    packet, frames = walk(tap, hosts, "R1", group, LEAVES)
    r2, r6, r7 = map(replication_sid, ("R2", "R6", "R7"))
    assert sorted(frames) == sorted(
        [
            copy(lab, ("R1", "R2"), packet, (r2, 64)),
            copy(lab, ("R1", "R2"), packet, (node_sid("R6", "R2"), 64), (r6, 64)),
            copy(lab, ("R2", "R3"), packet, (node_sid("R6", "R3"), 63), (r6, 64)),
            copy(lab, ("R3", "R6"), packet, (r6, 64)),
            copy(lab, ("R1", "R2"), packet, (node_sid("R4", "R2"), 64), (ADJACENCY_47, 64), (r7, 64)),
            copy(lab, ("R2", "R4"), packet, (ADJACENCY_47, 64), (r7, 64)),
            copy(lab, ("R4", "R7"), packet, (r7, 64)),
            *delivered(lab, group, packet),
        ]
    )


def test_the_loose_branch_follows_a_new_path(lab: Network, tap: Tap, hosts: dict[str, Host], group: Address) -> None:
    """R2-R3 fails: R2, R5 and R7 lead to R6 another way. No row of the tree is changed."""
    lab.run("R2", "ip link set to-R3 down")
    lab.run("R3", "ip link set to-R2 down")
    try:
        old, new = (f"label {node_sid('R6', at)}" for at in ("R2", "R5"))
        lab.forwarders["R2"].client.update([f"{old} swap {node_sid('R6', 'R5')} nexthop {lab.number('R5')}"])
        lab.forwarders["R5"].client.update([f"{new} swap {node_sid('R6', 'R7')} nexthop {lab.number('R7')}"])
        lab.forwarders["R7"].client.update([f"label {node_sid('R6', 'R7')} pop nexthop {lab.number('R6')}"])
        packet, frames = walk(tap, hosts, "R1", group, LEAVES)
        r6 = replication_sid("R6")
        for each in (
            copy(lab, ("R2", "R5"), packet, (node_sid("R6", "R5"), 63), (r6, 64)),
            copy(lab, ("R5", "R7"), packet, (node_sid("R6", "R7"), 62), (r6, 64)),
            copy(lab, ("R7", "R6"), packet, (r6, 64)),
        ):
            assert frames.count(each) == 1
        assert len(frames) == 8 + len(LEAVES)
    finally:
        lab.run("R2", "ip link set to-R3 up")
        lab.run("R3", "ip link set to-R2 up")


def test_the_pinned_branch_dies_with_its_link(lab: Network, tap: Tap, hosts: dict[str, Host], group: Address) -> None:
    """R4-R7 fails: <N-SID4, A-SID47> leads nowhere, and is of use again as soon as the link is."""
    r4 = lab.forwarders["R4"]
    before = r4.drops().get("port-down", 0)
    lab.run("R4", "ip link set to-R7 down")
    try:
        wait_for(lambda: not r4.client.state().ports["to-R7"].up, "the news of the link")
        walk(tap, hosts, "R1", group, {"R2", "R6"})
        wait_for(lambda: r4.drops().get("port-down", 0) == before + 2, "both packets' end at R4")
    finally:
        lab.run("R4", "ip link set to-R7 up")
    lab.forwarders["R7"].ready()
    r4.ready()
    walk(tap, hosts, "R1", group, LEAVES)
