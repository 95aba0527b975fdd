"""What the network carried: bytes, packets and drops of every direction of every link, and multicast state.

A direction of a link is counted where it is sent: by the interface's transmit counters and its root qdisc.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.lab import rtnetlink as rt
from testbed.plan.types import Plan
from testbed.record import LinkResult

_IFLA_IFNAME, _IFLA_STATS64 = 3, 23
_TCA_STATS2, _TCA_STATS_QUEUE = 7, 3
_TC_H_ROOT = 0xFFFFFFFF
_STATS64 = struct.Struct("=8Q")  # packets rx tx, bytes rx tx, errors rx tx, dropped rx tx, ...
_QUEUE = struct.Struct("=5I")  # qlen, backlog, drops, requeues, overlimits

Direction = tuple[str, str]  # a link's name, and the node that sends


@dataclass(frozen=True, slots=True)
class Counters:
    """One direction. `bytes` are layer-2 bytes without FCS, control traffic and probes included.

    `qdisc_drops` are the root qdisc's (its children's are among them), `device_drops` those of the device below it;
    `overlimits` counts how often a shaper held a packet back.
    """

    bytes: int
    packets: int
    qdisc_drops: int
    device_drops: int
    overlimits: int

    @property
    def drops(self) -> int:
        return self.qdisc_drops + self.device_drops

    def since(self, before: Counters) -> Counters:
        """The growth from `before`. A counter that went back was reset (its qdisc replaced): it grew by its value."""
        pairs = [(getattr(self, f), getattr(before, f)) for f in self.__slots__]
        return Counters(*(now - then if now >= then else now for now, then in pairs))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All directions at about `t` (CLOCK_MONOTONIC seconds; reading 100 nodes takes some 0.1 s)."""

    t: float
    counters: dict[Direction, Counters]


def read_interfaces(pid: int) -> dict[str, Counters]:
    """The transmit side of every interface in the network namespace of `pid`. Raises OSError."""
    with rt.open_route_socket(pid) as sock:
        links = rt.dump(sock, rt.RTM_GETLINK, rt.IFINFOMSG.pack(0, 0, 0, 0, 0))
        qdiscs = rt.dump(sock, rt.RTM_GETQDISC, rt.TCMSG.pack(0, 0, 0, 0, 0))
    queues: dict[int, tuple[int, int]] = {}
    for kind, payload in qdiscs:
        _family, index, _handle, parent, _info = rt.TCMSG.unpack_from(payload)
        if kind == rt.RTM_NEWQDISC and parent == _TC_H_ROOT:
            stats = rt.attributes(rt.attributes(payload, rt.TCMSG.size).get(_TCA_STATS2, b""))
            if _TCA_STATS_QUEUE in stats:
                _qlen, _backlog, drops, _requeues, overlimits = _QUEUE.unpack_from(stats[_TCA_STATS_QUEUE])
                queues[index] = (drops, overlimits)
    found = {}
    for kind, payload in links:
        _family, _type, index, _flags, _change = rt.IFINFOMSG.unpack_from(payload)
        read = rt.attributes(payload, rt.IFINFOMSG.size)
        if kind == rt.RTM_NEWLINK and _IFLA_STATS64 in read:
            _, packets, _, size, _, _, _, dropped = _STATS64.unpack_from(read[_IFLA_STATS64])
            qdisc_drops, overlimits = queues.get(index, (0, 0))
            found[rt.text(read[_IFLA_IFNAME])] = Counters(size, packets, qdisc_drops, dropped, overlimits)
    return found


def read_counters(plan: Plan, pid_of: Callable[[str], int]) -> Snapshot:
    """Every direction of every link of the plan; `pid_of(node)` is a process in the node's namespaces.

    An interface that is gone counts as absent, not as an error. Raises OSError if a node is gone.
    """
    t = time.monotonic()
    counters = {}
    for node in plan.nodes.values():
        present = read_interfaces(pid_of(node.name))
        for interface in node.interfaces:
            if interface.name in present:
                counters[interface.link, node.name] = present[interface.name]
    return Snapshot(t, counters)


def difference(before: Snapshot, after: Snapshot) -> dict[Direction, Counters]:
    """The growth of every direction that `after` has."""
    nothing = Counters(0, 0, 0, 0, 0)
    return {d: counted.since(before.counters.get(d, nothing)) for d, counted in after.counters.items()}


def link_results(
    plan: Plan, grown: Mapping[Direction, Counters], ideal: Mapping[Direction, int]
) -> tuple[LinkResult, ...]:
    """Both directions of every link in plan order; `ideal`: the bytes the ideal tree puts on a direction.

    Directions it leaves out carry none. For one sync that is
    `dict.fromkeys(tree, unique payload packets x layer-2 frame size)`.
    """
    nothing = Counters(0, 0, 0, 0, 0)
    results = []
    for link in plan.links.values():
        for src, dst in ((link.a.node, link.b.node), (link.b.node, link.a.node)):
            counted = grown.get((link.name, src), nothing)
            results.append(
                LinkResult(
                    link=link.name,
                    src=src,
                    dst=dst,
                    bytes=counted.bytes,
                    packets=counted.packets,
                    drops=counted.drops,
                    ideal_bytes=ideal.get((link.name, src), 0),
                    is_lan=link.is_lan,
                )
            )
    return tuple(results)


def parse_mroutes(table: str) -> dict[str, int]:
    """Counts from the text of /proc/net/ip_mr_cache: `mroutes`, their outgoing interfaces `oifs`, `unresolved`."""
    counts = {"mroutes": 0, "oifs": 0, "unresolved": 0}
    for line in table.splitlines()[1:]:
        # Group Origin Iif Pkts Bytes Wrong [oif:ttl ...]; an unresolved entry has Iif -1.
        fields = line.split()
        if len(fields) < 3:
            continue
        if fields[2] == "-1":
            counts["unresolved"] += 1
        else:
            counts["mroutes"] += 1
            counts["oifs"] += sum(":" in field for field in fields[6:])
    return counts


def multicast_state(plan: Plan, pid_of: Callable[[str], int]) -> dict[str, dict[str, int]]:
    """`parse_mroutes` of every router of the plan, for record.Run.state. Raises OSError if a node is gone."""
    tables = {node.name: Path(f"/proc/{pid_of(node.name)}/net/ip_mr_cache") for node in plan.routers}
    return {name: parse_mroutes(table.read_text()) for name, table in tables.items()}
