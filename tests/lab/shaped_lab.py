"""A lab of two routers without any routing, joined by a link for each shape that is to be tried."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from small_lab import DEADLINE_S

from testbed.lab import namespace
from testbed.lab.lab import Lab
from testbed.plan.build import make_plan
from testbed.plan.frr import RouterConfig
from testbed.plan.types import Interface, Link
from testbed.spec.topology import Topology

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
# More than any link's queue here: what is lost, is lost by the link.
BUFFER = 2**26
UDP_HEADERS = 20 + 8


def shaped_lab(links: dict[str, dict[str, Any]], **options: Any) -> Lab:
    """Links by name, each as a topology's author writes it (`rate`, `delay`, ...), between the routers a and b.

    `options` are the lab's.
    """
    topology = Topology.model_validate(
        {
            "name": "shapes",
            "nodes": {"a": {"kind": "repository"}, "b": {"kind": "site"}},
            "links": [{"a": "a", "b": "b", "name": name, **values} for name, values in links.items()],
        }
    )
    plan = make_plan(topology)
    return Lab(plan, {router.name: RouterConfig({}, ()) for router in plan.routers}, **options)


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline as the kernel tells it: its options, and what it did until the moment of the answer.

    `asked` and `answered` (CLOCK_MONOTONIC seconds) enclose that moment.
    """

    kind: str
    options: Any
    bytes: int
    drops: int
    asked: float
    answered: float


def qdiscs(lab: Lab, end: Interface) -> list[Qdisc]:
    """The queueing disciplines of one end of a link, the root first."""
    asked = time.monotonic()
    answers = lab[end.node].netlink(lambda ip: list(ip.get_qdiscs(index=ip.link_lookup(ifname=end.name)[0])))
    answered = time.monotonic()
    found = []
    for answer in sorted(answers, key=lambda answer: -answer["parent"]):
        stats = answer.get_attr("TCA_STATS2")
        size = stats.get_attr("TCA_STATS_BASIC")["bytes"]
        drops = stats.get_attr("TCA_STATS_QUEUE")["drops"]
        found.append(Qdisc(answer.get_attr("TCA_KIND"), answer.get_attr("TCA_OPTIONS"), size, drops, asked, answered))
    return found


def crowded_out(lab: Lab, end: Interface) -> int:
    """Packets that one end of a link has let go, and whose way ended at the core's full backlog (netdev_max_backlog):
    all links of all labs share that, so they may be lost to a neighbour's traffic."""
    device = lab[end.node].netlink(lambda ip: ip.link("get", ifname=end.name)[0])
    return int(device.get_attr("IFLA_STATS64")["tx_dropped"])


@contextmanager
def datagrams(lab: Lab, link: Link, send_buffer: int = BUFFER) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A UDP socket at each end of a link, connected to each other."""

    def new() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, send_buffer)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.settimeout(DEADLINE_S)
        return sock

    introduce(lab, link.a, link.b)
    introduce(lab, link.b, link.a)
    first, second = (namespace.inside(lab.pid_of(end.node), new) for end in (link.a, link.b))
    with first, second:
        first.bind((str(link.a.address.ip), 0))
        second.bind((str(link.b.address.ip), 0))
        first.connect(second.getsockname())
        second.connect(first.getsockname())
        yield first, second


def introduce(lab: Lab, end: Interface, peer: Interface) -> None:
    """Tell one end its peer's address: ARP would hold up the first packets, and drop all but a few of them."""
    device = lab[peer.node].netlink(lambda ip: ip.link("get", ifname=peer.name)[0])

    def tell(ip: IPRoute) -> None:
        index = ip.link_lookup(ifname=end.name)[0]
        ip.neigh("replace", dst=str(peer.address.ip), lladdr=device.get_attr("IFLA_ADDRESS"), ifindex=index)

    lab[end.node].netlink(tell)
