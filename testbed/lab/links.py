"""Links: veth pairs created straight inside their nodes, addressed, shaped, cut and restored, all by netlink."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from pyroute2 import IPRoute

from testbed import plan
from testbed.lab.node import Node
from testbed.lab.shaping import needs_netem, reshape_interface, shape_interface


def connect(link: plan.Link, a: Node, b: Node) -> None:
    """Create the veth pair of `link` with one end in each node; nothing passes through the root namespace.

    What crosses it are packets of at most its MTU. TCP would hand over 64 KiB at a time and leave the cutting to a
    network card (segmentation offload), which veth passes on whole: shapers, queues and counters would see one packet.
    """
    common = {"mtu": link.mtu, "gso_max_segs": 1}
    peer = {"ifname": link.b.name, "net_ns_pid": b.pid} | common
    a.netlink(lambda ip: ip.link("add", ifname=link.a.name, kind="veth", peer=peer, **common))


def configure(
    node: Node, links: dict[str, plan.Link], *, impaired: bool, impairable: Collection[str] = ()
) -> None:
    """Address and shape every interface of `node` and bring it up; set its loopback and its default route.

    `impaired`: apply delay and loss too (needs netem), and make the links `impairable` ready for some.
    """

    def work(ip: IPRoute) -> None:
        if (loopback := node.spec.loopback) is not None:
            ip.addr("add", index=1, address=str(loopback.ip), prefixlen=32)
        indices = {link.get_attr("IFLA_IFNAME"): int(link["index"]) for link in ip.get_links()}
        for interface in node.spec.interfaces:
            index = indices[interface.name]
            address = interface.address
            ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
            shape = links[interface.link].shape
            netem = impaired and (interface.link in impairable or needs_netem(shape))
            shape_interface(ip, index, shape, netem=netem)
            ip.link("set", index=index, state="up")
        if (gateway := node.spec.gateway) is not None:
            ip.route("add", dst="default", gateway=str(gateway))

    node.netlink(work)


def reshape(node: Node, interface: plan.Interface, shape: plan.Shape, *, netem: bool) -> None:
    """Change what is sent from one end of a link to another shape. `netem`: the interface has one."""
    node.netlink(lambda ip: reshape_interface(ip, index_of(ip, interface.name), shape, netem=netem))


def set_state(ends: Iterable[tuple[Node, plan.Interface]], state: str) -> None:
    """Bring both ends of a link down (each end then also sees its peer's carrier go) or up again, side by side."""

    def switch(ip: IPRoute, name: str) -> None:
        ip.link("set", index=index_of(ip, name), state=state)

    jobs = [node.submit_netlink(partial(switch, name=interface.name)) for node, interface in ends]
    for job in jobs:
        job.result()


def index_of(ip: IPRoute, name: str) -> int:
    """The interface index of `name` in the socket's namespace."""
    return int(ip.link_lookup(ifname=name)[0])
