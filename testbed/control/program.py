"""One program request: what it asks for, everything that is wrong with it, and what a router then holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeVar

from testbed.control.fields import Fields
from testbed.control.replication import Branch, Held, Policy, PolicyId, Segment, SegmentId
from testbed.forwarder.rows import Role

T = TypeVar("T")
DEEPEST = 6  # routers of a branch's path: eight labels with the downstream Node-SID and Replication-SID


class Refused(ValueError):
    """A program that is not carried out; says everything that is wrong with it."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program is carried out: a router, its neighbours by its own addresses on the links to them, and the
    routers that a loose branch may lead to: those with a Node-SID or locator, where such are served."""

    router: IPv4Address
    neighbours: Mapping[IPv4Address, IPv4Address]
    known: Collection[IPv4Address]
    paths: bool
    """Whether a branch may have one."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to delete, and what to add or replace, in this order. What is not there to be deleted is deleted already."""

    segments: tuple[Segment, ...] = ()
    delete: tuple[SegmentId, ...] = ()
    policies: tuple[Policy, ...] = ()
    delete_policies: tuple[PolicyId, ...] = ()

    @classmethod
    def read(cls, request: dict[str, Any]) -> Program:
        """Raises Refused."""
        problems: list[str] = []
        fields = Fields({key: value for key, value in request.items() if key not in ("op", "seq")}, "", problems)
        read = cls(
            tuple(map(Segment.read, fields.objects("segments"))),
            tuple(map(SegmentId.read, fields.objects("delete"))),
            tuple(map(Policy.read, fields.objects("policies"))),
            tuple(map(PolicyId.read, fields.objects("delete_policies"))),
        )
        fields.close()
        if problems:
            raise Refused(problems)
        return read

    def carried_out(self, held: Held, place: Place) -> Held:
        """What the router holds afterwards. Raises Refused."""
        problems = [*self._contradictions()]
        for segment in self.segments:
            problems += (f"segment {segment.id}: {what}" for what in _faults(segment, place))
        problems += (
            f"policy {policy.id}: its root is another router than {place.router}"
            for policy in self.policies
            if policy.id.root != place.router
        )
        segments, policies = dict(held.segments), dict(held.policies)
        for segment_id in self.delete:
            segments.pop(segment_id, None)
        for policy_id in self.delete_policies:
            policies.pop(policy_id, None)
        segments |= {segment.id: segment for segment in self.segments}
        policies |= {policy.id: policy for policy in self.policies}
        after = Held(segments, policies)
        problems += _conflicts(after)
        if problems:
            raise Refused(problems)
        return after

    def _contradictions(self) -> Iterator[str]:
        segments, policies = [each.id for each in self.segments], [each.id for each in self.policies]
        yield from (f"segment {each} is given twice" for each in _twice(segments))
        yield from (f"policy {each} is given twice" for each in _twice(policies))


def _faults(segment: Segment, place: Place) -> Iterator[str]:
    """What is wrong with a segment at this router, whatever else is there."""
    if (segment.role is Role.HEAD) != (segment.id.root == place.router):
        yield f"the role {segment.role.value} does not fit: the root is {segment.id.root}, and this is {place.router}"
    if segment.role is Role.LEAF and segment.branches:
        yield "a leaf has no branches; with branches it is a bud"
    if segment.role is not Role.LEAF and not segment.branches:
        yield f"a {segment.role.value} needs a branch"
    for node in _twice(branch.node for branch in segment.branches):
        yield f"two branches to {node}: its packets would be doubled"
    for branch in segment.branches:
        yield from (f"branch to {branch.node}: {what}" for what in _branch_faults(branch, place))


def _branch_faults(branch: Branch, place: Place) -> Iterator[str]:
    if branch.node == place.router:
        yield "that is this router itself"
    elif branch.link is None:
        unknown = [router for router in (*branch.path, branch.node) if router not in place.known]
        yield from (f"no Node-SID or locator of {router} is known" for router in unknown)
    elif branch.link not in place.neighbours:
        yield f"this router has no link with the address {branch.link}"
    elif place.neighbours[branch.link] != branch.node:
        yield f"the link {branch.link} leads to {place.neighbours[branch.link]}"
    if branch.path and not place.paths:
        yield "a path needs the data plane sr-mpls"
    if len(branch.path) > DEEPEST:
        yield f"a path of {len(branch.path)} routers, {DEEPEST} at most"
    if place.router in branch.path:
        yield "its path goes through this router itself"


def _conflicts(held: Held) -> Iterator[str]:
    """What does not fit together of all that is held."""
    for sid in _twice(segment.sid for segment in held.segments.values()):
        owners = ", ".join(str(each.id) for each in held.segments.values() if each.sid == sid)
        yield f"sid {sid} of several segments: {owners}"
    for policy in held.policies.values():
        if policy.segment is not None and policy.segment not in held.segments:
            yield f"policy {policy.id}: there is no segment of its active instance {policy.active}"
    for source, group in _twice(flow for policy in held.policies.values() for flow in policy.flows):
        owners = ", ".join(str(each.id) for each in held.policies.values() if (source, group) in each.flows)
        yield f"flow {source or '*'} {group} more than once: {owners}"


def _twice(values: Iterable[T]) -> list[T]:
    return [value for value, count in Counter(values).items() if count > 1]
