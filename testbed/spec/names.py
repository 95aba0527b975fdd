"""Names that follow from a topology: its links', its generated hosts', and how many interfaces a router gets.

The one place where these rules stand; the plan and the checks both read them here.
"""

from __future__ import annotations

from testbed.spec.topology import Controller, Link, Repository, Router, Site, Topology

# Linux: IFNAMSIZ is 16 with the terminating NUL (netdevice(7)).
INTERFACE_NAME_MAX = 15


def link_names(topology: Topology) -> tuple[str, ...]:
    """The name of each link, in topology order: its own, else `a-b`; further unnamed ones between the same
    two nodes (either way round) `a-b#2`, `a-b#3`."""
    seen: dict[frozenset[str], int] = {}
    names = []
    for link in topology.links:
        if link.name is not None:
            names.append(link.name)
            continue
        pair = frozenset((link.a, link.b))
        seen[pair] = count = seen.get(pair, 0) + 1
        names.append(f"{link.a}-{link.b}" if count == 1 else f"{link.a}-{link.b}#{count}")
    return tuple(names)


def link_aliases(topology: Topology) -> dict[str, str]:
    """Everything a link may be called (`a-b`, and `b-a` too) -> its name. Real names win over reversed ones."""
    names = link_names(topology)
    aliases: dict[str, str] = {}
    for link, name in zip(topology.links, names, strict=True):
        if link.name is None:
            number = name.removeprefix(f"{link.a}-{link.b}")
            aliases.setdefault(f"{link.b}-{link.a}{number}", name)
    return aliases | {name: name for name in names}


def find_link(topology: Topology, ref: str) -> tuple[str, Link] | None:
    """The link called `ref`, with its proper name; None if there is none."""
    name = link_aliases(topology).get(ref)
    if name is None:
        return None
    return name, topology.links[link_names(topology).index(name)]


def repository_host(node: str) -> str:
    """The host that sends, behind the repository's edge router."""
    return f"{node}-src"


def storage_host(site: str) -> str:
    """A site's local storage host."""
    return f"{site}-st"


def server_host(site: str, number: int) -> str:
    """A site's GPU server; `number` counts from 1."""
    return f"{site}-g{number}"


def generated_hosts(topology: Topology) -> dict[str, str]:
    """Each host that no author named -> the topology's node it stands behind. Controllers name themselves."""
    hosts: dict[str, str] = {}
    for name, node in topology.nodes.items():
        match node:
            case Repository():
                hosts[repository_host(name)] = name
            case Site():
                hosts[storage_host(name)] = name
                hosts |= {server_host(name, k): name for k in range(1, node.servers + 1)}
            case Router() | Controller():
                pass
    return hosts


def router_interfaces(topology: Topology) -> dict[str, int]:
    """How many interfaces each router has, LAN links to its own hosts and controllers included."""
    count = {name: 0 for name, node in topology.nodes.items() if not isinstance(node, Controller)}
    ends = [end for link in topology.links for end in (link.a, link.b)]
    ends += generated_hosts(topology).values()
    ends += [node.at for node in topology.nodes.values() if isinstance(node, Controller)]
    for end in ends:
        if end in count:
            count[end] += 1
    return count


def interface_name(router: str, number: int) -> str:
    """Mininet's convention; `number` counts from 0, in link order, LAN links last."""
    return f"{router}-eth{number}"


def longest_router_name(interfaces: int) -> int:
    """How long a router's name may be so that its last interface's name still fits."""
    return INTERFACE_NAME_MAX - len(interface_name("", max(interfaces - 1, 0)))
