"""What routers say in opaque LSAs of one type, and for how long it counts once it is said no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Generic, TypeVar

from testbed.control.lsdb import Change
from testbed.packet.error import PacketError
from testbed.packet.ospf_lsa import Lsa, LsaKey, LsaType

T = TypeVar("T")


class Advertised(Generic[T]):
    """The decoded bodies of one opaque type's LSAs of area scope; what is malformed says nothing.

    An LSA that is flushed still counts for `hold` seconds: ospfd flushes those of an agent that dies, and its router
    goes on forwarding. Whoever is really gone has no route any more.
    """

    def __init__(self, opaque_type: int, decode: Callable[[bytes], T], hold: float) -> None:
        """`decode` raises PacketError."""
        self._type, self._decode, self._hold = opaque_type, decode, hold
        self._said: dict[LsaKey, T] = {}
        self._doomed: dict[LsaKey, float] = {}

    def update(self, t: float, change: Change, lsa: Lsa) -> bool:
        """Take an LSA over; whether something else is said now. `t`: CLOCK_MONOTONIC."""
        if lsa.type != LsaType.OPAQUE_AREA or lsa.opaque_type != self._type or change is Change.REFRESHED:
            return False
        if change is Change.DELETED:
            if lsa.key in self._said:
                self._doomed[lsa.key] = t + self._hold
            return False
        self._doomed.pop(lsa.key, None)
        try:
            said = self._decode(lsa.body)
        except PacketError:
            return self._said.pop(lsa.key, None) is not None
        if self._said.get(lsa.key) == said:
            return False
        self._said[lsa.key] = said
        return True

    def expire(self, t: float) -> bool:
        """Forget what has not counted any more since `t` at the latest; whether there was any."""
        over = [key for key, end in self._doomed.items() if end <= t]
        for key in over:
            del self._doomed[key], self._said[key]
        return bool(over)

    def next_expiry(self) -> float | None:
        return min(self._doomed.values(), default=None)

    def by_router(self) -> Mapping[IPv4Address, list[T]]:
        """All that counts, by advertising router; of several LSAs, in the order of their ids."""
        found: dict[IPv4Address, list[T]] = {}
        for key in sorted(self._said):
            found.setdefault(key.advertising_router, []).append(self._said[key])
        return found
