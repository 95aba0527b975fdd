"""A copy of an area's link state database, and what an LSA that comes does to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from testbed.packet.ospf_lsa import Lsa, LsaKey


class Change(Enum):
    """`REFRESHED`: a newer instance that says the same (RFC 2328 section 13.2)."""

    ADDED = "added"
    CHANGED = "changed"
    REFRESHED = "refreshed"
    DELETED = "deleted"


class Lsdb(Mapping[LsaKey, Lsa]):
    """The newest instance of every LSA that is not being flushed."""

    def __init__(self) -> None:
        self._lsas: dict[LsaKey, Lsa] = {}

    def __getitem__(self, key: LsaKey) -> Lsa:
        return self._lsas[key]

    def __iter__(self) -> Iterator[LsaKey]:
        return iter(self._lsas)

    def __len__(self) -> int:
        return len(self._lsas)

    def of_type(self, kind: int) -> tuple[Lsa, ...]:
        """All LSAs of one type."""
        return tuple(lsa for key, lsa in self._lsas.items() if key.type == kind)

    def put(self, lsa: Lsa) -> Change | None:
        """Take over an instance; None if it is the one that is here already."""
        if lsa.is_max_age:
            return self.drop(lsa.key)
        before = self._lsas.get(lsa.key)
        self._lsas[lsa.key] = lsa
        if before is None:
            return Change.ADDED
        if not lsa.same_contents(before):
            return Change.CHANGED
        return Change.REFRESHED if lsa.sequence != before.sequence else None

    def drop(self, key: LsaKey) -> Change | None:
        """Forget an LSA; None if there is no such one."""
        return Change.DELETED if self._lsas.pop(key, None) else None
