"""Whether the IGP has done its work: every adjacency full, every router's kernel with a route to everywhere."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

from testbed import plan as plans
from testbed.lab import vty
from testbed.lab.node import Node
from testbed.lab.waiting import until
from testbed.plan.srv6 import locator

DEADLINE = 60.0

Prefix = tuple[int, int]  # network and mask, as /proc/net/route prints them
Prefix6 = tuple[str, str]  # network and prefix length, as /proc/net/ipv6_route prints them


def wait_for_igp(
    plan: plans.Plan, nodes: Mapping[str, Node], *, srv6: bool = False, deadline: float = DEADLINE
) -> None:
    """Return once OSPFv2 stands, with `srv6` OSPFv3, too. Raises NotConverged with the routers and what they lack."""
    core = [link for link in plan.links.values() if not link.is_lan]
    adjacencies = {n.name: sum(n.name in (link.a.node, link.b.node) for link in core) for n in plan.routers}
    wanted = frozenset(_prefix(i.address.network) for n in plan.routers for i in n.interfaces) | frozenset(
        _prefix(n.loopback.network) for n in plan.routers if n.loopback
    )
    locators = frozenset(_locator(n) for n in plan.routers) if srv6 else frozenset()
    waiting = dict.fromkeys(adjacencies)

    def missing() -> str:
        lacking = []
        for name in list(waiting):
            node, count = nodes[name], adjacencies[name]
            if what := _lacks(node, count, wanted) or (srv6 and _lacks_srv6(node, count, locators)):
                lacking.append(f"{name}: {what}")
                if len(lacking) >= 3:  # enough to go on waiting, and to say
                    break
            else:
                del waiting[name]
        return "; ".join(lacking) + (f" ({len(waiting)} routers)" if lacking else "")

    until(missing, deadline, "OSPF")


def _lacks(node: Node, adjacencies: int, wanted: frozenset[Prefix]) -> str:
    own = {_prefix(node.spec.loopback.network)} if node.spec.loopback else set()
    routes = kernel_routes(node.pid)
    if lost := len(wanted - own - routes):
        return f"{lost} of {len(wanted)} routes"
    full = full_adjacencies(node)
    return "" if full >= adjacencies else f"{full} of {adjacencies} OSPF adjacencies full"


def _lacks_srv6(node: Node, adjacencies: int, locators: frozenset[Prefix6]) -> str:
    if lost := len(locators - kernel_routes_srv6(node.pid)):
        return f"{lost} of {len(locators)} locators"
    full = full_adjacencies(node, "ospf6d")
    return "" if full >= adjacencies else f"{full} of {adjacencies} OSPFv3 adjacencies full"


def full_adjacencies(node: Node, daemon: str = "ospfd") -> int:
    """How many of the router's neighbours are in state Full (RFC 2328 10.1, RFC 5340 4.2.1)."""
    ip, ospf = {"ospfd": ("ip", "ospf"), "ospf6d": ("ipv6", "ospf6")}[daemon]
    answer = vty.ask_json(node.folder / f"run/frr/{daemon}.vty", f"show {ip} {ospf} neighbor json")
    neighbours = answer.get("neighbors", answer)
    # ospfd lists them by interface, ospf6d in one list.
    lists = neighbours.values() if isinstance(neighbours, dict) else [neighbours]
    entries = [e for many in lists if isinstance(many, list) for e in many]
    return sum(str(e.get("nbrState", e.get("state", ""))).startswith("Full") for e in entries)


def kernel_routes(pid: int) -> set[Prefix]:
    """The main table's destinations in the namespace of `pid`, from /proc/net/route."""
    lines = Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]
    return {(int(fields[1], 16), int(fields[7], 16)) for fields in map(str.split, lines)}


def kernel_routes_srv6(pid: int) -> set[Prefix6]:
    """The IPv6 destinations in the namespace of `pid`, from /proc/net/ipv6_route (a router's own locator, too)."""
    lines = Path(f"/proc/{pid}/net/ipv6_route").read_text().splitlines()
    return {(fields[0], fields[1]) for fields in map(str.split, lines)}


def _prefix(network: IPv4Network) -> Prefix:
    def word(packed: bytes) -> int:
        return int.from_bytes(packed, "little")  # as the kernel prints it here

    return word(socket.inet_aton(str(network.network_address))), word(socket.inet_aton(str(network.netmask)))


def _locator(node: plans.Node) -> Prefix6:
    network = locator(node.number)
    return network.network_address.packed.hex(), f"{network.prefixlen:02x}"
