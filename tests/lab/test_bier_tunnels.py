"""RFC 8279 section 6.9 in a real lab: the ring with core routers that are no BFRs, links that fail between them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from small_lab import wait_for
from test_bier import ATTEMPTS, BierLab, Stream, answers, route_changes

from testbed.packet import Bier, Encapsulation, Ethernet, Ethertype, Gre, IPv4, Protocol
from testbed.schemes.bier import bfrs_of

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

NUMBERS = count(1)
ORIGINAL_TTL = 64
# BFR-NBRs on the way to s2, by routers that are no BFRs: repo - r1 - r2 - r3 - s2, and with link r2-r3 cut
# repo - r1 - r4 - r3 - s2. The last hop is a tunnel.
HOPS = {("r3",): 3, ("r1", "r3"): 2}


@pytest.fixture(
    scope="module",
    params=[(names, encapsulation) for names in HOPS for encapsulation in ("ethernet", "mpls")],
    ids=lambda param: f"{param[1]}-without-{'-'.join(param[0])}",
)
def built(request: pytest.FixtureRequest) -> Iterator[BierLab]:
    without, encapsulation = request.param
    with BierLab(without, encapsulation=encapsulation) as made:
        yield made


@pytest.fixture
def stream(built: BierLab) -> Iterator[Stream]:
    made = built.stream(next(NUMBERS))
    try:
        made.flows()
        yield made
    finally:
        made.close()
        assert made.duplicates() == []


def refused(built: BierLab) -> dict[str, str]:
    """Packets of protocols that nobody in a router wanted, by router: each was answered with an ICMP error."""

    def read() -> str:
        with open("/proc/thread-self/net/snmp") as file:
            names, values = (line.split() for line in file if line.startswith("Ip:"))
        return values[names.index("InUnknownProtos")]

    return {node.name: node.call(read) for node in built.lab.routers}


def tunnel_packet(built: BierLab, last: str, router: str, ttl: int = 0) -> IPv4:
    """The outer header of one between these BFRs, of a flow that is under way; with this BIER TTL, if that matters.

    While the network converges there may be others: on a way that is longer for a moment."""
    mpls = built.options["encapsulation"] == "mpls"
    ethertype, kind = (Ethertype.MPLS, Encapsulation.MPLS) if mpls else (Ethertype.BIER, Encapsulation.NON_MPLS)

    def hear() -> socket.socket:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(Ethertype.IPV4))

    sock = built.lab[router].call(hear)
    sock.settimeout(0.5)

    def heard() -> IPv4 | None:
        try:
            data, (_, _, packet_type, *_) = sock.recvfrom(10_000)
        except TimeoutError:
            return None
        if packet_type != socket.PACKET_HOST or Ethernet.decode(data)[0].ethertype != Ethertype.IPV4:
            return None
        outer, rest = IPv4.decode(data[14:])
        if (outer.protocol, outer.src, outer.dst) != (Protocol.GRE, loopback(built, last), loopback(built, router)):
            return None
        gre, rest = Gre.decode(rest)
        assert gre == Gre(ethertype)
        return outer if Bier.decode(rest, 256, kind)[0].ttl == ttl or not ttl else None

    with sock:
        found: IPv4 = wait_for(heard, f"a tunnel's packet from {last} at {router} with TTL {ttl}")
    return found


def loopback(built: BierLab, router: str) -> Any:
    found = built.lab.plan.nodes[router].loopback
    assert found is not None
    return found.ip


def lossless(stream: Stream) -> bool:
    """Whether the next hundred packets came everywhere, by the time that one behind them did."""
    mark = stream.sent
    wait_for(lambda: stream.sent > mark + 100, "packets")
    wanted = set(range(mark, mark + 100))
    stream.flows()
    return all(wanted <= set(receiver.got) for receiver in stream.receivers.values())


def test_a_router_that_is_no_bfr_runs_nothing_of_bier(built: BierLab) -> None:
    without = set(built.without)
    for program in ("mcfwd", "bier-agent"):
        running = {name for name, each in built.lab.daemons if each == program}
        assert running == {node.name for node in built.lab.routers} - without
    assert {node.name for node in bfrs_of(built.lab)} == running


def test_every_packet_comes_once_and_nobody_complains(built: BierLab, stream: Stream) -> None:
    before = refused(built)
    wait_for(lambda: lossless(stream), "a time without a loss")
    assert refused(built) == before
    for node in bfrs_of(built.lab):
        with built.forwarder(node.name) as forwarder:
            drops = forwarder.state().drops
        assert not {"gre", "gre-protocol", "fragment", "ip-header", "mtu"} & drops.keys(), node.name


def test_tunnels_and_their_ttls(built: BierLab, stream: Stream) -> None:
    """From the last BFR to s2; the outer TTL is the tunnel's, BIER's counts BFRs only."""
    for last in ("r2", "r4"):
        if last == "r4":
            built.lab.cut("r2-r3")
            stream.flows()
        outer = tunnel_packet(built, last, "s2", ORIGINAL_TTL - (HOPS[built.without] - 1))
        assert outer.df
        assert outer.ttl == 64 - 1  # r3 has routed it
    built.lab.restore("r2-r3")
    built.scheme.wait_ready(built.lab)


def test_cuts_move_paths_between_tunnels_and_links(built: BierLab, stream: Stream) -> None:
    """With r4-r1 cut, what r1 sends s3 takes the tunnel from r2 to r4; else it may have come by links alone."""
    before = refused(built)
    for link in built.ring:
        built.lab.cut(link)
        stream.flows()
        if link == "r4-r1":
            tunnel_packet(built, "r2", "r4")
        built.lab.restore(link)
        built.scheme.wait_ready(built.lab)
        wait_for(lambda: lossless(stream), "a time without a loss")
    assert refused(built) == before


def test_an_agent_that_takes_over_keeps_the_tunnels(built: BierLab, stream: Stream) -> None:
    for attempt in range(ATTEMPTS + 1):
        built.lab.wait_for_igp()
        wait_for(lambda: lossless(stream), "a time without a loss")
        mark, before = stream.sent, route_changes(built)
        agent = built.lab.daemons["r2", "bier-agent"]
        agent.kill()
        agent.wait()
        built.restart_agent("r2")
        wait_for(lambda: answers(built, "r2"), "the new agent")
        try:
            stream.nothing_missing_since(mark)
            break
        except AssertionError:  # unless the IGP of a loaded host saw failures, which cost packets
            if route_changes(built) == before or attempt == ATTEMPTS:
                raise


def test_the_view_names_the_tunnels(built: BierLab) -> None:
    with built.forwarder("r2") as forwarder:
        wait_for(lambda: f"tunnel to {loopback(built, 's2')}" in forwarder.show("bift"), "the tunnel to s2")
