"""Numbers for new instances: always the next one, so that what is on its way of an old instance is not taken for it."""

from __future__ import annotations

from collections.abc import Callable

from testbed.control.replication import PolicyId, Segment

LAST_SID = 60000  # of those that are allocated; what is beyond is given by hand (ingress replication)
LAST_INSTANCE = 65535

Used = Callable[[], set[int]]
"""Those that somebody has: asked for only once they have come round."""


class Numbers:
    """Instance-IDs of each policy, and Replication-SIDs of all."""

    def __init__(self) -> None:
        self._last_sid = 0
        self._came_round = False
        self._last_instance: dict[PolicyId, int] = {}

    def seen(self, segment: Segment) -> None:
        """One that an agent holds: what is new comes after it."""
        policy_id = segment.id.policy
        self._last_instance[policy_id] = max(segment.id.instance, self._last_instance.get(policy_id, 0))
        if segment.sid <= LAST_SID:
            self._last_sid = max(segment.sid, self._last_sid)

    def instance(self, policy_id: PolicyId, used: Used) -> int:
        number = self._last_instance.get(policy_id, 0) + 1
        if number > LAST_INSTANCE:
            taken = used()
            # The last stays the last: it is looked for like this from now on.
            return next(each for each in range(1, LAST_INSTANCE + 1) if each not in taken)
        self._last_instance[policy_id] = number
        return number

    def sid(self, used: Used) -> int:
        if self._last_sid >= LAST_SID:
            self._last_sid, self._came_round = 0, True
        self._last_sid += 1
        if self._came_round:
            taken = used()
            while self._last_sid in taken:
                self._last_sid = self._last_sid % LAST_SID + 1
        return self._last_sid
