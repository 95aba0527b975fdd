"""What the controller knows of one router's agent: what it holds, what it was asked to hold, what it should hold. Pure.

Requests are idempotent and answered in order, so any number may be under way: what comes next is the difference between
what should be and what will be once all of them are carried out. Whatever goes wrong ends in the same way: the agent is
asked for its state, and the difference from that is what is sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from testbed.control.replication import Held, Policy, PolicyId, Segment, SegmentId

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One program request. None: to be deleted."""

    segments: dict[SegmentId, Segment | None]
    policies: dict[PolicyId, Policy | None]

    def __bool__(self) -> bool:
        return bool(self.segments or self.policies)

    def apply(self, held: Held) -> Held:
        segments, policies = dict(held.segments), dict(held.policies)
        for segment_id, segment in self.segments.items():
            if segment is None:
                segments.pop(segment_id, None)
            else:
                segments[segment_id] = segment
        for policy_id, policy in self.policies.items():
            if policy is None:
                policies.pop(policy_id, None)
            else:
                policies[policy_id] = policy
        return Held(segments, policies)

    def request(self, seq: int) -> Json:
        return {
            "op": "program",
            "seq": seq,
            "segments": [segment.json() for segment in self.segments.values() if segment],
            "delete": [segment_id.json() for segment_id, segment in self.segments.items() if not segment],
            "policies": [policy.json() for policy in self.policies.values() if policy],
            "delete_policies": [policy_id.json() for policy_id, policy in self.policies.items() if not policy],
        }


@dataclass(slots=True)
class Agent:
    """`synced`: connected, and its state is known. `away_since`: since when it is not, or is but refused something,
    CLOCK_MONOTONIC seconds.

    `confirmed` is what it last said it holds, also while it is away: its forwarder goes on meanwhile.
    """

    away_since: float
    synced: bool = False
    met: bool = False  # it was synced before
    confirmed: Held = field(default_factory=Held)
    expected: Held = field(default_factory=Held)  # once all that is under way is carried out
    under_way: deque[tuple[int, Change]] = field(default_factory=deque)
    wanted: dict[SegmentId, Segment] = field(default_factory=dict)
    policies: dict[PolicyId, Policy] = field(default_factory=dict)  # wanted as well
    refusals: int = 0  # in a row
    retry_at: float | None = None
    _doubtful: list[Change] = field(default_factory=list)  # whether they were carried out is not known

    @property
    def ready(self) -> bool:
        return self.synced and not self.refusals

    def learn(self, t: float, held: Held) -> None:
        """Its state, as it says after everything before."""
        self.confirmed = self.expected = held
        self.under_way.clear()
        self._doubtful.clear()
        self.synced = self.met = True
        self.retry_at = None
        if self.refusals:
            self.away_since = t  # it has another chance

    def lose(self, t: float) -> None:
        """From `t` on, what it does is not known until `learn`."""
        self._doubtful += (change for _, change in self.under_way)
        self.under_way.clear()
        if self.ready:
            self.away_since = t
        self.synced = False

    def difference(self, keep: frozenset[SegmentId] = frozenset()) -> Change:
        """What it has to be asked for. `keep`: what it holds and is nobody's to delete yet."""
        held = self.expected
        segments: dict[SegmentId, Segment | None] = {
            segment_id: None for segment_id in held.segments if segment_id not in self.wanted and segment_id not in keep
        }
        segments |= {key: each for key, each in self.wanted.items() if held.segments.get(key) != each}
        policies: dict[PolicyId, Policy | None] = {key: None for key in held.policies if key not in self.policies}
        policies |= {key: each for key, each in self.policies.items() if held.policies.get(key) != each}
        return Change(segments, policies)

    def ask(self, seq: int, change: Change) -> None:
        self.under_way.append((seq, change))
        self.expected = change.apply(self.expected)

    def confirm(self, seq: int) -> Change | None:
        """The answer to a request; None if it is one to something that does not count any more."""
        if not self.under_way or self.under_way[0][0] != seq:
            return None
        _, change = self.under_way.popleft()
        self.confirmed = change.apply(self.confirmed)
        return change

    def maybe_active(self, policy_id: PolicyId) -> set[int]:
        """The instances one of which is active at this root; which one is known when nothing is under way."""
        row = self.confirmed.policies.get(policy_id)
        rows = [row] if row else []
        for change in (*self._doubtful, *(change for _, change in self.under_way)):
            if asked := change.policies.get(policy_id):
                rows.append(asked)
        return {row.active for row in rows if row.active is not None}

    def sids(self) -> set[int]:
        """The Replication-SIDs that it has or may have."""
        held = [*self.confirmed.segments.values(), *self.expected.segments.values(), *self.wanted.values()]
        doubtful = [segment for change in self._doubtful for segment in change.segments.values() if segment]
        return {segment.sid for segment in (*held, *doubtful)}
