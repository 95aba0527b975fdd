"""What a replication agent is programmed with: segments and policies, as the objects of RFC 9524 and of the SR P2MP
policy drafts, and how they are read from JSON and written to it. What fits together is checked in program.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from testbed.control.fields import Fields
from testbed.control.replication_config import LARGEST_SID
from testbed.forwarder.rows import Role

Json = dict[str, Any]
FlowKey = tuple[IPv4Address | None, IPv4Address]  # source (None: any), group
_32_BITS = (1 << 32) - 1


class PolicyId(NamedTuple):
    """<Root, Tree-ID>."""

    root: IPv4Address
    tree: int

    def __str__(self) -> str:
        return f"{self.root}/{self.tree}"

    def json(self) -> Json:
        return {"root": str(self.root), "tree": self.tree}

    @classmethod
    def read(cls, fields: Fields) -> PolicyId:
        return cls(fields.address("root"), fields.number("tree", 0, _32_BITS))


class SegmentId(NamedTuple):
    """<Root, Tree-ID, Instance-ID>; with the router's own id it is the Replication-ID."""

    root: IPv4Address
    tree: int
    instance: int

    @property
    def policy(self) -> PolicyId:
        return PolicyId(self.root, self.tree)

    def __str__(self) -> str:
        return f"{self.root}/{self.tree}/{self.instance}"

    def json(self) -> Json:
        return self.policy.json() | {"instance": self.instance}

    @classmethod
    def read(cls, fields: Fields) -> SegmentId:
        return cls(*PolicyId.read(fields), fields.number("instance", 0, _32_BITS))


@dataclass(frozen=True, slots=True)
class Branch:
    """A downstream node, by its router-id, and its Replication-SID there.

    `link`: pinned to it, by this router's address on it; None: loose, the IGP leads there. `path`: routers that a loose
    branch goes through before.
    """

    node: IPv4Address
    sid: int
    link: IPv4Address | None = None
    path: tuple[IPv4Address, ...] = ()

    def json(self) -> Json:
        mode: Json = {"mode": "loose"} if self.link is None else {"mode": "pinned", "link": str(self.link)}
        path: Json = {"path": [str(router) for router in self.path]} if self.path else {}
        return {"node": str(self.node), "sid": self.sid} | mode | path

    @classmethod
    def read(cls, fields: Fields) -> Branch:
        node, sid = fields.address("node"), fields.number("sid", 1, LARGEST_SID)
        if fields.choice("mode", ("pinned", "loose")) == "pinned":
            return cls(node, sid, fields.address("link"))
        return cls(node, sid, None, fields.addresses("path"))


@dataclass(frozen=True, slots=True)
class Segment:
    """A Replication segment at this router (RFC 9524 section 2). `sid`: the F of its Replication-SID."""

    id: SegmentId
    role: Role
    sid: int
    branches: tuple[Branch, ...] = ()

    def json(self) -> Json:
        branches = [branch.json() for branch in self.branches]
        return self.id.json() | {"role": self.role.value, "sid": self.sid, "branches": branches}

    @classmethod
    def read(cls, fields: Fields) -> Segment:
        role = Role(fields.choice("role", [role.value for role in Role]))
        sid = fields.number("sid", 1, LARGEST_SID)
        return cls(SegmentId.read(fields), role, sid, tuple(map(Branch.read, fields.objects("branches"))))


@dataclass(frozen=True, slots=True)
class Policy:
    """An SR P2MP policy at its root. `active`: the instance that its flows go into, None: none.

    `leaves` and `candidate_paths` are kept for the controller, and given back to it as they are.
    """

    id: PolicyId
    active: int | None = None
    flows: tuple[FlowKey, ...] = ()
    leaves: tuple[IPv4Address, ...] = ()
    candidate_paths: tuple[Any, ...] = field(default=(), hash=False)

    @property
    def segment(self) -> SegmentId | None:
        """What is active."""
        return None if self.active is None else SegmentId(*self.id, self.active)

    def json(self) -> Json:
        flows = [{"source": str(source) if source else None, "group": str(group)} for source, group in self.flows]
        return self.id.json() | {
            "active": self.active,
            "flows": flows,
            "leaves": [str(leaf) for leaf in self.leaves],
            "candidate_paths": list(self.candidate_paths),
        }

    @classmethod
    def read(cls, fields: Fields) -> Policy:
        identity, active = PolicyId.read(fields), fields.number_or_none("active", 0, _32_BITS)
        flows = tuple((each.address_or_none("source"), each.group("group")) for each in fields.objects("flows"))
        return cls(identity, active, flows, fields.addresses("leaves"), tuple(fields.items("candidate_paths")))


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that a router holds. Immutable; a program makes another one (program.py)."""

    segments: Mapping[SegmentId, Segment] = field(default_factory=dict)
    policies: Mapping[PolicyId, Policy] = field(default_factory=dict)

    def json(self) -> Json:
        return {
            "segments": [segment.json() for segment in self.segments.values()],
            "policies": [policy.json() for policy in self.policies.values()],
        }
