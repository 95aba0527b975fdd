"""From what a router holds to rows of its forwarder: Replication segments over either data plane, and flows. Pure.

A segment's number in the forwarder is the F of its Replication-SID: no two of a router have the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from testbed.control.ledger import Ledger
from testbed.control.membership import Member
from testbed.control.replication import Branch, FlowKey, Held, Segment, SegmentId
from testbed.control.replication_config import (
    KERNEL_NEXTHOP,
    OVERLAY_IN,
    OVERLAY_OUT,
    REPLICATION_SIDS,
    SRGB,
    ReplicationConfig,
    replication_sid,
)
from testbed.control.sr_nodes import SrNode
from testbed.forwarder.rows import Flow, PortAction, Role
from testbed.forwarder.tables import Tables

_IPV6_HEADER, _LABEL = 40, 4  # octets

Rows = dict[str, str]  # as a Ledger has them


class ReplicationRows:
    """Rows of segments, policies and members, put into a ledger; only those of what changed are made anew."""

    def __init__(self, config: ReplicationConfig, links: Mapping[IPv4Address, int], ledger: Ledger) -> None:
        """`links`: the number of the next hop behind each of this router's addresses on a link."""
        self._config, self._links, self._ledger = config, links, ledger
        self._nodes: Mapping[IPv4Address, SrNode] = {}
        self._held = Held()
        self._ports: dict[FlowKey, str] = {}
        self._segments: dict[SegmentId, tuple[Segment, Rows]] = {}
        self._flows: Rows = {}

    def set_nodes(self, nodes: Mapping[IPv4Address, SrNode]) -> None:
        """Routers with what the data plane needs of them, a Node-SID or a locator: all that loose branches lead to."""
        if nodes != self._nodes:
            self._nodes = dict(nodes)
            self._show_segments({**self._held.segments})

    def set_held(self, held: Held) -> None:
        """All segments and policies from now on."""
        self._held = held
        changed = {k: s for k, s in held.segments.items() if k not in self._segments or self._segments[k][0] != s}
        self._show_segments(changed)
        self._show_flows()

    def set_members(self, members: Iterable[Member]) -> None:
        """What this router's own hosts want."""
        ports: dict[FlowKey, set[str]] = {}
        for member in members:
            ports.setdefault((member.source, member.group), set()).add(member.port)
        self._ports = {key: "".join(f" port {name}" for name in sorted(names)) for key, names in ports.items()}
        self._show_flows()

    def _show_segments(self, changed: Mapping[SegmentId, Segment]) -> None:
        gone = (self._segments.keys() - self._held.segments.keys()) | changed.keys()
        old = [key for each in gone if each in self._segments for key in self._segments.pop(each)[1]]
        new: Rows = {}
        for key, segment in changed.items():
            self._segments[key] = segment, self._segment(segment)
            new |= self._segments[key][1]
        self._replace(old, new)

    def _show_flows(self) -> None:
        rows = {_flow(OVERLAY_OUT, key): ports.strip() for key, ports in self._ports.items()}
        for policy in self._held.policies.values():
            active = self._held.segments[policy.segment] if policy.segment is not None else None
            for key in policy.flows:
                words = f"segment {active.sid}" if active else ""
                if words := (words + self._ports.get(key, "")).strip():
                    rows[_flow(OVERLAY_IN, key)] = words
        self._replace(self._flows, rows)
        self._flows = rows

    def _replace(self, old: Iterable[str], new: Rows) -> None:
        for key in old:
            if key not in new:
                self._ledger.put(key, None)
        for key, words in new.items():
            self._ledger.put(key, words)

    def _segment(self, segment: Segment) -> Rows:
        """Branches first: so they go before their segment, too."""
        number, role = segment.sid, segment.role
        rows = {f"branch {number} {place}": self._branch(branch) for place, branch in enumerate(segment.branches)}
        if role is not Role.HEAD:  # which nobody reaches by a SID: packets that went round would do so for ever
            rows[self._sid(number)] = f"replicate {number}"
        options = f" context {OVERLAY_OUT}" if role in (Role.LEAF, Role.BUD) else ""
        if role is Role.HEAD and self._config.mtu:
            options += f" mtu {self._config.mtu - self._overhead(segment)}"
        rows[f"segment {number}"] = role.value + options
        return rows

    def _sid(self, function: int) -> str:
        if self._config.locator is not None:
            return f"sid {replication_sid(self._config.locator, function)}"
        return f"label {REPLICATION_SIDS + function}"

    def _branch(self, branch: Branch) -> str:
        if self._config.srv6 is not None:
            locator = self._nodes[branch.node].locator
            assert locator is not None  # so it was checked
            nexthop = KERNEL_NEXTHOP if branch.link is None else self._links[branch.link]
            return f"sid {replication_sid(locator, branch.sid)} nexthop {nexthop}"
        label = REPLICATION_SIDS + branch.sid
        if branch.link is not None:
            return f"labels {label} nexthop {self._links[branch.link]}"
        steering = [self._nodes[router].index for router in (*branch.path, branch.node)]
        return f"labels {','.join(str(SRGB + index) for index in steering if index is not None)},{label}"

    def _overhead(self, segment: Segment) -> int:
        """Octets in front of an IP packet: elsewhere in the tree there may be a loose branch, too."""
        if self._config.srv6 is not None:
            return _IPV6_HEADER
        return _LABEL * max(2, *(len(branch.path) + 2 for branch in segment.branches))


def _flow(context: int, key: FlowKey) -> str:
    source, group = key
    return f"flow {context} {source or '*'} {group}"


def members_served(tables: Tables) -> set[Member]:
    """Whom a forwarder delivers to."""
    return {
        Member(action.port, flow.group, flow.source if isinstance(flow.source, IPv4Address) else None)
        for flow in tables.all(Flow)
        if flow.context == OVERLAY_OUT and isinstance(flow.group, IPv4Address)
        for action in flow.actions
        if isinstance(action, PortAction)
    }
