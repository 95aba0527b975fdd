"""Links: veth pairs created straight inside their nodes, addressed, shaped, cut and restored, all by netlink."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pyroute2 import IPRoute

from testbed import plan
from testbed.lab.impairments.base import Engine
from testbed.lab.node import Node
from testbed.lab.shaping import ROOT, set_rate

_IFF_UP = 1


def connect(link: plan.Link, a: Node, b: Node) -> None:
    """Create the veth pair of `link` with one end in each node; nothing passes through the root namespace.

    What crosses it are packets of at most its MTU. TCP would hand over 64 KiB at a time and leave the cutting to a
    network card (segmentation offload), which veth passes on whole: shapers, queues and counters would see one packet.
    """
    common = {"mtu": link.mtu, "gso_max_segs": 1}
    peer = {"ifname": link.b.name, "net_ns_pid": b.pid} | common
    a.netlink(lambda ip: ip.link("add", ifname=link.a.name, kind="veth", peer=peer, **common))


def configure(node: Node, links: dict[str, plan.Link], engine: Engine | None = None) -> None:
    """Address and shape every interface of `node` and bring it up; set its loopback and its default route."""
    for interface in node.spec.interfaces:
        if engine is not None and interface.link in engine.links:
            engine.shape(node, interface, links[interface.link].shape)

    def work(ip: IPRoute) -> None:
        if (loopback := node.spec.loopback) is not None:
            ip.addr("add", index=1, address=str(loopback.ip), prefixlen=32)
        indices = {link.get_attr("IFLA_IFNAME"): int(link["index"]) for link in ip.get_links()}
        for interface in node.spec.interfaces:
            index = indices[interface.name]
            address = interface.address
            ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
            set_rate(ip, index, links[interface.link].shape, _rate_parent(interface, engine))
            ip.link("set", index=index, state="up")
        if (gateway := node.spec.gateway) is not None:
            ip.route("add", dst="default", gateway=str(gateway))

    node.netlink(work)


def reshape(node: Node, interface: plan.Interface, shape: plan.Shape, engine: Engine | None = None) -> None:
    """Change what is sent from one end of a link to another shape."""
    if engine is not None and interface.link in engine.links:
        engine.shape(node, interface, shape)
    parent = _rate_parent(interface, engine)
    node.netlink(lambda ip: set_rate(ip, index_of(ip, interface.name), shape, parent))


def _rate_parent(interface: plan.Interface, engine: Engine | None) -> int:
    return engine.rate_parent if engine is not None and interface.link in engine.links else ROOT


def set_state(ends: Iterable[tuple[Node, plan.Interface]], state: str) -> None:
    """Bring both ends of a link down (each end then also sees its peer's carrier go) or up again, side by side."""

    def switch(ip: IPRoute, name: str) -> None:
        ip.link("set", index=index_of(ip, name), state=state)

    jobs = [node.submit_netlink(partial(switch, name=interface.name)) for node, interface in ends]
    for job in jobs:
        job.result()


def is_up(node: Node, interface: plan.Interface) -> bool:
    """Whether one end of a link was brought up (its carrier is another matter)."""

    def work(ip: IPRoute) -> bool:
        return bool(ip.link("get", ifname=interface.name)[0]["flags"] & _IFF_UP)

    return node.netlink(work)


def index_of(ip: IPRoute, name: str) -> int:
    """The interface index of `name` in the socket's namespace."""
    return int(ip.link_lookup(ifname=name)[0])
