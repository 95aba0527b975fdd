"""Where packets go, as the kernels' tables say: unicast hop by hop, multicast by the multicast routing cache."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.lab.lab import Lab
from testbed.plan.paths import DirectedLink


def path(lab: Lab, src: str, dst: IPv4Address) -> tuple[DirectedLink, ...] | None:
    """The links from node `src` to the node with an address, each node's kernel asked for its route; None where they
    do not lead there."""
    hops: list[DirectedLink] = []
    node = src
    while not _has(lab, node, dst):
        port = lab[node].netlink(lambda ip: _route(ip, dst))
        hop = link_of(lab, node, port) if port else None
        if hop is None or len(hops) > len(lab.nodes):
            return None
        hops.append(hop)
        node = hop.dst
    return tuple(hops)


def unicast_tree(lab: Lab, addresses: Iterable[IPv4Address]) -> set[DirectedLink]:
    """The links that packets from the repository's router to these addresses take, all together."""
    paths = (path(lab, lab.plan.repository_edge, address) for address in addresses)
    return {hop for found in paths for hop in found or ()}


def multicast(lab: Lab, router: str, source: IPv4Address, group: IPv4Address) -> tuple[DirectedLink, ...]:
    """The links that a router's kernel sends packets of a flow into: (S,G), else (*,G); () where it has neither."""
    pid = lab.pid_of(router)
    vifs = {}
    for line in Path(f"/proc/{pid}/net/ip_mr_vif").read_text().splitlines()[1:]:
        number, name = line.split()[:2]
        vifs[number] = name
    found: dict[str, list[str]] = {}
    for line in Path(f"/proc/{pid}/net/ip_mr_cache").read_text().splitlines()[1:]:
        # Group Origin Iif Pkts Bytes Wrong [oif:ttl ...]; an unresolved entry has Iif -1.
        fields = line.split()
        if fields[0] == _word(group) and fields[2] != "-1":
            found[fields[1]] = [field.partition(":")[0] for field in fields[6:]]
    oifs = found.get(_word(source)) or found.get(_word(IPv4Address(0))) or []
    links = (link_of(lab, router, vifs.get(oif, "")) for oif in oifs)
    return tuple(link for link in links if link is not None)


def link_of(lab: Lab, node: str, port: str) -> DirectedLink | None:
    """The link behind an interface of a node, as packets leave by it; None where it is none of the plan's."""
    for interface in lab.plan.nodes[node].interfaces:
        if interface.name == port:
            return DirectedLink(interface.link, node, interface.peer_node)
    return None


def _has(lab: Lab, node: str, address: IPv4Address) -> bool:
    spec = lab.plan.nodes[node]
    own = [spec.loopback] if spec.loopback else []
    return address in [each.ip for each in (*own, *(interface.address for interface in spec.interfaces))]


def _route(ip: IPRoute, dst: IPv4Address) -> str:
    """The name of the interface that packets to an address leave by; "" where there is no route."""
    try:
        (route, *_) = ip.route("get", dst=str(dst))
    except NetlinkError:
        return ""
    index = route.get_attr("RTA_OIF")
    (link, *_) = ip.get_links(index)
    return str(link.get_attr("IFLA_IFNAME"))


def _word(address: IPv4Address) -> str:
    """As /proc/net/ip_mr_cache prints it: its octets as one number of this machine's."""
    return f"{int.from_bytes(socket.inet_aton(str(address)), sys.byteorder):08X}"
