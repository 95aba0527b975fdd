"""A P2MP tree instance: one plan with an Instance-ID and a Replication-SID, and how far it is programmed. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from testbed.control.p2mp.plans import Plan, part_of
from testbed.control.replication import Segment, SegmentId

ORDERS = ("parallel", "bottom-up")


@dataclass(slots=True, eq=False)
class Instance:
    """`sid` is its Replication-SID's number at every router. `preference`: of the candidate path it was made for, -1
    where that is not known. `missing`: routers behind the root that have not confirmed their segment."""

    id: SegmentId
    sid: int
    plan: Plan
    preference: int
    missing: set[IPv4Address] = field(default_factory=set)
    opened: int = 0  # levels whose routers have been asked
    was_active: bool = False
    retire_at: float | None = None  # when it goes, CLOCK_MONOTONIC seconds; None: it is in use
    is_adopted: bool = False

    @classmethod
    def make(cls, segment_id: SegmentId, sid: int, plan: Plan, preference: int) -> Instance:
        """A new one, of which nothing is programmed."""
        missing = {router for level in plan.levels for router in level}
        return cls(segment_id, sid, plan, preference, missing)

    @classmethod
    def adopted(cls, head: Segment, active: bool) -> Instance:
        """One that was there before this controller. What is found of it makes its plan, bit by bit."""
        plan = Plan(head.id.root, {head.id.root: part_of(head)})
        return cls(head.id, head.sid, plan, -1, set(plan.gaps), 1 << 16, active, is_adopted=True)

    def find(self, router: IPv4Address, segment: Segment) -> bool:
        """A segment of an adopted instance; whether it really is one of it."""
        if segment.sid != self.sid:
            return False
        self.plan = Plan(self.plan.root, {**self.plan.parts, router: part_of(segment)})
        self.missing = (self.missing - {router}) | self.plan.gaps
        return True

    def follows(self, plan: Plan, unknown: Collection[IPv4Address]) -> bool:
        """Whether its plan is this one. What an adopted instance has at routers that nobody has met is `unknown`."""
        if self.plan == plan:
            return True
        return self.is_adopted and {router: part for router, part in plan.parts.items() if router not in unknown} == {
            **self.plan.parts
        }

    @property
    def complete(self) -> bool:
        """Whether packets may be sent into it."""
        return not self.missing

    def segment(self, router: IPv4Address) -> Segment:
        return self.plan.segment(router, self.id, self.sid)

    def open(self, order: str) -> tuple[IPv4Address, ...]:
        """The routers whose turn has come: with "bottom-up" those of the next level, once all below are confirmed."""
        turn: list[IPv4Address] = []
        levels = self.plan.levels
        while self.opened < len(levels) and (order == "parallel" or not self.opened or self._below_confirmed()):
            turn += levels[self.opened]
            self.opened += 1
        return tuple(turn)

    def _below_confirmed(self) -> bool:
        return self.missing.isdisjoint(self.plan.levels[self.opened - 1])
