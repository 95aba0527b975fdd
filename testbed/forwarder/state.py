"""What a forwarder knows and has counted: its answer to `state`, typed.

Every entry holds the row that it is about, so that `state.tables()` is what the forwarder was told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from testbed.forwarder.rows import (
    Action,
    BierAction,
    Bift,
    Branch,
    Context,
    End,
    Flow,
    Label,
    MplsBranch,
    NextHop,
    Node,
    Path,
    Pop,
    PopTo,
    Port,
    PortAction,
    Replicate,
    Role,
    Row,
    Segment,
    SegmentAction,
    Sid,
    Srv6Branch,
    Swap,
)
from testbed.forwarder.rows.words import encapsulation
from testbed.forwarder.tables import Tables
from testbed.packet import BitString, Encapsulation

Json = dict[str, Any]
Lengths = dict[tuple[Encapsulation, int], int]


@dataclass(frozen=True, slots=True)
class Counter:
    """Packets and their octets: a port's with their Ethernet headers, all others' without."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PortState:
    """`ifindex` 0: there is no such interface now. `mtu` in octets; `up`: administratively, and with carrier."""

    row: Port
    ifindex: int
    mac: str
    mtu: int
    up: bool
    rx: Counter
    tx: Counter


@dataclass(frozen=True, slots=True)
class NextHopState:
    """`mac` is None as long as the neighbour is not resolved."""

    row: NextHop
    mac: str | None


@dataclass(frozen=True, slots=True)
class PathState:
    row: Path
    sent: Counter


@dataclass(frozen=True, slots=True)
class BiftState:
    row: Bift
    delivered: Counter
    paths: tuple[PathState, ...]


@dataclass(frozen=True, slots=True)
class LabelState:
    row: Label
    received: Counter


@dataclass(frozen=True, slots=True)
class SidState:
    row: Sid
    received: Counter


@dataclass(frozen=True, slots=True)
class BranchState:
    row: Branch
    sent: Counter


@dataclass(frozen=True, slots=True)
class SegmentState:
    row: Segment
    received: Counter
    delivered: Counter
    branches: tuple[BranchState, ...]


@dataclass(frozen=True, slots=True)
class ActionState:
    action: Action
    sent: Counter


@dataclass(frozen=True, slots=True)
class FlowState:
    """`family` is 4 or 6: a flow of any group is counted for each on its own, so its row is in two of these."""

    row: Flow
    family: int
    received: Counter
    actions: tuple[ActionState, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Everything, at one moment. `drops` has the reasons that occurred, by their names in docs/forwarder.md."""

    node: Node
    ports: dict[str, PortState]
    nexthops: dict[int, NextHopState]
    bifts: dict[tuple[Encapsulation, int], BiftState]
    labels: dict[int, LabelState]
    sids: dict[IPv6Address, SidState]
    segments: dict[int, SegmentState]
    flows: tuple[FlowState, ...]
    drops: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> State:
        """The JSON of a forwarder. Raises ValueError if it is something else."""
        try:
            return _state(json.loads(text))
        except (KeyError, TypeError) as problem:
            raise ValueError(f"this is no state of a forwarder: {problem!r}") from problem

    def rows(self) -> Iterator[Row]:
        """The rows that the entries are about; that of a flow of any group comes twice."""
        yield self.node
        for entries in (self.ports, self.nexthops, self.bifts, self.labels, self.sids, self.segments):
            yield from (entry.row for entry in entries.values())
        for bift in self.bifts.values():
            yield from (path.row for path in bift.paths)
        for segment in self.segments.values():
            yield from (branch.row for branch in segment.branches)
        yield from (flow.row for flow in self.flows)

    def tables(self) -> Tables:
        """What the forwarder was told."""
        return Tables(set(self.rows()))


def _state(data: Json) -> State:
    bifts = {(bift.row.encapsulation, bift.row.id): bift for bift in map(_bift, data["bifts"])}
    lengths = {key: bift.row.bsl for key, bift in bifts.items()}
    node = data["node"]
    return State(
        node=Node(
            source=IPv6Address(node["source"]), ttl=node["ttl"], tunnel=_tunnel_end(node), fib=node.get("fib")
        ),
        ports={port["name"]: _port(port) for port in data["ports"]},
        nexthops={nexthop["id"]: _nexthop(nexthop) for nexthop in data["nexthops"]},
        bifts=bifts,
        labels={label["label"]: LabelState(_label(label), _counter(label["in"])) for label in data["labels"]},
        sids={sid.row.address: sid for sid in map(_sid, data["sids"])},
        segments={segment["id"]: _segment(segment) for segment in data["segments"]},
        flows=tuple(_flow(flow, lengths) for flow in data["flows"]),
        drops=dict(data["drops"]),
    )


def _counter(data: Json) -> Counter:
    return Counter(data["packets"], data["bytes"])


def _port(data: Json) -> PortState:
    return PortState(
        row=Port(data["name"], transport=data["transport"], context=data["context"] or None),
        ifindex=data["ifindex"],
        mac=data["mac"],
        mtu=data["mtu"],
        up=data["up"],
        rx=_counter(data["rx"]),
        tx=_counter(data["tx"]),
    )


def _nexthop(data: Json) -> NextHopState:
    to = ip_address(data["via"]) if "via" in data else data["mac"]
    row = NextHop(data["id"], data["port"], to, tunnel=_tunnel_end(data))
    return NextHopState(row, data["mac"] if data["resolved"] else None)


def _tunnel_end(data: Json) -> IPv4Address | None:
    return IPv4Address(data["tunnel"]) if "tunnel" in data else None


def _bift(data: Json) -> BiftState:
    row = Bift(
        encapsulation(data["encap"]),
        data["id"],
        bsl=data["bsl"],
        sd=data["sd"],
        si=data["si"],
        bfr_id=data["bfr_id"] or None,
        context=data["context"] or None,
        mtu=data["mtu"] or None,
    )
    return BiftState(row, _counter(data["delivered"]), tuple(_path(path, row) for path in data["paths"]))


def _path(data: Json, bift: Bift) -> PathState:
    row = Path(
        bift.encapsulation,
        bift.id,
        data["way"],
        data["index"],
        fbm=BitString(int(data["fbm"], 16), bift.bsl),
        to=data["nexthop"] if data["kind"] == "nexthop" else End(data["kind"]),
        as_id=data.get("out_id"),
    )
    return PathState(row, _counter(data["sent"]))


def _label(data: Json) -> Label:
    kind = data["kind"]
    if kind == "swap":
        return Label(data["label"], Swap(data["out"], data["nexthop"]))
    if kind == "pop-to":
        return Label(data["label"], PopTo(data["nexthop"]))
    if kind == "pop":
        return Label(data["label"], Pop(data["context"] or None))
    return Label(data["label"], Replicate(data["segment"]))


def _sid(data: Json) -> SidState:
    behaviour = Replicate(data["segment"]) if "segment" in data else Context(data["context"])
    return SidState(Sid(IPv6Address(data["address"]), behaviour), _counter(data["in"]))


def _segment(data: Json) -> SegmentState:
    row = Segment(
        data["id"],
        Role(data["role"]),
        threshold=data["threshold"],
        context=data["context"] or None,
        mtu=data["mtu"] or None,
    )
    branches = tuple(BranchState(_branch(branch, row.id), _counter(branch["sent"])) for branch in data["branches"])
    return SegmentState(row, _counter(data["in"]), _counter(data["delivered"]), branches)


def _branch(data: Json, segment: int) -> Branch:
    if data["plane"] == "mpls":
        return MplsBranch(segment, data["index"], tuple(data["labels"]), data.get("nexthop"))
    segments = tuple(map(IPv6Address, data["segments"]))
    return Srv6Branch(
        segment,
        data["index"],
        IPv6Address(data["sid"]),
        data["nexthop"],
        encaps=segments if data["steer"] == "encaps" else (),
        srh=segments if data["steer"] == "srh" else (),
    )


def _flow(data: Json, lengths: Lengths) -> FlowState:
    source, group = (None if data[name] == "*" else ip_address(data[name]) for name in ("source", "group"))
    actions = tuple(ActionState(_action(action, lengths), _counter(action["sent"])) for action in data["actions"])
    row = Flow(data["context"], source, group, tuple(state.action for state in actions))
    return FlowState(row, data["family"], _counter(data["in"]), actions)


def _action(data: Json, lengths: Lengths) -> Action:
    if "bier" in data:
        bift = encapsulation(data["encap"]), data["bier"]
        return BierAction(*bift, BitString(int(data["bits"], 16), lengths[bift]))
    return SegmentAction(data["segment"]) if "segment" in data else PortAction(data["port"])
