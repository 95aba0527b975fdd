"""A router's kernel with SRv6: IPv6 where routers meet, the locator, and the forwarder's way into the routing."""

from __future__ import annotations

from pathlib import Path

from pyroute2 import IPRoute

from testbed.lab.node import Node
from testbed.plan.srv6 import KERNEL_MAC, KERNEL_PEER, KERNEL_PORT, LOCATOR_LENGTH, locator, source

_IFA_F_NOPREFIXROUTE = 0x200


def configure(node: Node) -> None:
    """Give a router its locator. Its links to others get link-local addresses; those to hosts have no IPv6."""

    def work(ip: IPRoute) -> None:
        number = node.spec.number
        core = [interface for interface in node.spec.interfaces if not interface.is_lan]
        mtu = max((interface.mtu for interface in core), default=1500)
        _set("all/forwarding", "1")
        peer = {"ifname": KERNEL_PEER, "address": KERNEL_MAC, "mtu": mtu}
        ip.link("add", ifname=KERNEL_PORT, kind="veth", mtu=mtu, peer=peer)
        for name in ("lo", KERNEL_PEER, *(interface.name for interface in core)):
            # Link-local addresses are there with the link, without two seconds of duplicate address detection.
            _set(f"{name}/accept_dad", "0")
            _set(f"{name}/disable_ipv6", "0")
        for name in (KERNEL_PORT, KERNEL_PEER):
            ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")
        # ospf6d advertises the address's prefix as an intra-area one. It would redistribute the route, too, but
        # computes AS-external routes a second later than these.
        ip.route("add", dst=str(locator(number)), type="blackhole")
        ip.addr("add", index=1, address=str(source(number)), prefixlen=LOCATOR_LENGTH, flags=_IFA_F_NOPREFIXROUTE)

    node.netlink(work)


def _set(key: str, value: str) -> None:
    (Path("/proc/sys/net/ipv6/conf") / key).write_text(value)
