"""From a topology to a plan: every name, number, address, interface, shape and role.

Addresses, all out of 10.0.0.0/8 and all by position, so that the same topology always gets the same ones:

    10.0.0.0/10    links between routers, a /30 each, in link order: `a` has .1, `b` has .2
    10.64.0.0/10   links between an edge router and a host, a /30 each, in host order: the router has .1
    10.255.0.0/16  loopbacks, a /32 each: router 258 has 10.255.1.2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.errors import Problem, RequestError
from testbed.plan import shape
from testbed.plan.rendezvous import rendezvous_point
from testbed.plan.types import Interface, Link, Node, Plan, Role, Shape
from testbed.spec import names
from testbed.spec.topology import Controller, Repository, Router, Site, Topology

UNDERLAY = IPv4Network("10.0.0.0/8")
CORE_LINKS = IPv4Network("10.0.0.0/10")
LAN_LINKS = IPv4Network("10.64.0.0/10")
LOOPBACKS = IPv4Network("10.255.0.0/16")

# No router is behind a host: what this costs never decides a path.
LAN_COST = 1

HOST_INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class _Wire:
    """A link before its ends have names: between nodes `a` and `b`, numbered in its own address range."""

    name: str
    a: str
    b: str
    subnet: IPv4Network
    shape: Shape
    mtu: int
    cost: int
    is_lan: bool


@dataclass(frozen=True, slots=True)
class _Host:
    name: str
    role: Role
    site: str
    edge: str


def make_plan(topology: Topology) -> Plan:
    """Decide everything that follows from a topology that `testbed.spec` has checked. Same topology, same plan.

    Raises RequestError where it has no repository, or asks for a queue that no frame fits into.
    """
    repository = next((n for n, node in topology.nodes.items() if isinstance(node, Repository)), None)
    if repository is None:
        raise RequestError([Problem("there is no repository", where="nodes", hint="add a node of kind: repository")])
    hosts = tuple(_hosts(topology))
    core = _core_wires(topology)
    wires = (*core, *_lan_wires(topology, hosts, core))
    _refuse_doubles(wires)
    links = _links(wires)
    nodes = _nodes(topology, hosts, links)
    return Plan(
        topology=topology,
        nodes=nodes,
        links=links,
        repository=names.repository_host(repository),
        repository_edge=repository,
        rp=topology.rp or rendezvous_point(nodes, links),
        underlay=UNDERLAY,
    )


def loopback(number: int) -> IPv4Interface:
    """The address of router `number` (from 1): router-id, BFR-prefix, and RP address where it is one."""
    return IPv4Interface((LOOPBACKS.network_address + number, 32))


def _subnet(pool: IPv4Network, index: int) -> IPv4Network:
    return IPv4Network((pool.network_address + 4 * index, 30))


def _hosts(topology: Topology) -> Iterator[_Host]:
    for name, node in topology.nodes.items():
        match node:
            case Repository():
                yield _Host(names.repository_host(name), Role.REPOSITORY, name, name)
            case Site():
                yield _Host(names.storage_host(name), Role.STORAGE, name, name)
                for k in range(1, node.servers + 1):
                    yield _Host(names.server_host(name, k), Role.SERVER, name, name)
            case Controller():
                yield _Host(name, Role.CONTROLLER, name, node.at)
            case Router():
                pass


def _core_wires(topology: Topology) -> tuple[_Wire, ...]:
    defaults = topology.defaults.link
    wires, problems = [], []
    for index, (name, link) in enumerate(zip(names.link_names(topology), topology.links, strict=True)):
        mtu = defaults.mtu if link.mtu is None else link.mtu
        cost = defaults.cost if link.cost is None else link.cost
        wanted = shape.shape_of(link, defaults, mtu)
        if wanted.rate is not None and wanted.queue < shape.frame(mtu):
            problems.append(
                Problem(
                    f"a queue of {wanted.queue} bytes passes no frame of {shape.frame(mtu)} bytes",
                    where=f"link {name}",
                    hint=f"leave queue out, or ask for {shape.queue_for(wanted.rate, wanted.delay, mtu)}",
                )
            )
        wires.append(_Wire(name, link.a, link.b, _subnet(CORE_LINKS, index), wanted, mtu, cost, is_lan=False))
    if problems:
        raise RequestError(problems)
    return tuple(wires)


def _lan_wires(topology: Topology, hosts: tuple[_Host, ...], core: tuple[_Wire, ...]) -> Iterator[_Wire]:
    """A host sees the largest MTU that its edge router can pass on: the LAN is never what limits a packet."""
    for index, host in enumerate(hosts):
        mtu = max((w.mtu for w in core if host.edge in (w.a, w.b)), default=topology.defaults.link.mtu)
        subnet = _subnet(LAN_LINKS, index)
        yield _Wire(f"{host.edge}-{host.name}", host.edge, host.name, subnet, shape.LAN, mtu, LAN_COST, is_lan=True)


def _refuse_doubles(wires: tuple[_Wire, ...]) -> None:
    doubles = sorted(name for name, count in Counter(w.name for w in wires).items() if count > 1)
    if doubles:
        hint = "give one of them another name"
        raise RequestError([Problem(f"two links are called {name}", where="links", hint=hint) for name in doubles])


def _links(wires: tuple[_Wire, ...]) -> dict[str, Link]:
    next_number: dict[str, int] = {}
    links = {}
    for wire in wires:
        a_name, b_name = (_interface_name(wire, node, next_number) for node in (wire.a, wire.b))
        a_address, b_address = (IPv4Interface((host, 30)) for host in wire.subnet.hosts())
        a = _interface(wire, a_name, wire.a, a_address, b_name, wire.b, b_address.ip)
        b = _interface(wire, b_name, wire.b, b_address, a_name, wire.a, a_address.ip)
        links[wire.name] = Link(wire.name, a, b, wire.shape, wire.mtu, wire.is_lan)
    return links


def _interface_name(wire: _Wire, node: str, next_number: dict[str, int]) -> str:
    if wire.is_lan and node == wire.b:
        return HOST_INTERFACE
    number = next_number.get(node, 0)
    next_number[node] = number + 1
    return names.interface_name(node, number)


def _interface(
    wire: _Wire,
    name: str,
    node: str,
    address: IPv4Interface,
    peer_name: str,
    peer_node: str,
    peer_address: IPv4Address,
) -> Interface:
    return Interface(
        name=name,
        node=node,
        link=wire.name,
        peer_node=peer_node,
        peer_name=peer_name,
        address=address,
        peer_address=peer_address,
        mtu=wire.mtu,
        cost=wire.cost,
        is_lan=wire.is_lan,
    )


def _nodes(topology: Topology, hosts: tuple[_Host, ...], links: dict[str, Link]) -> dict[str, Node]:
    ends: dict[str, list[Interface]] = {}
    for link in links.values():
        for end in (link.a, link.b):
            ends.setdefault(end.node, []).append(end)
    nodes: dict[str, Node] = {}
    for name, spec in topology.nodes.items():
        if isinstance(spec, Controller):
            continue
        number = len(nodes) + 1
        role = _router_role(spec)
        site = None if role is Role.CORE else name
        nodes[name] = Node(name, role, site, number, loopback(number), None, tuple(ends.get(name, ())))
    for host in hosts:
        (interface,) = ends[host.name]
        nodes[host.name] = Node(host.name, host.role, host.site, 0, None, interface.peer_address, (interface,))
    return nodes


def _router_role(spec: Router | Site | Repository) -> Role:
    match spec:
        case Repository():
            return Role.REPOSITORY_EDGE
        case Site():
            return Role.SITE_EDGE
        case Router():
            return Role.CORE
