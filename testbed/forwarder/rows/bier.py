"""BIER forwarding: BIFTs and their paths (RFC 8279 section 6)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import ClassVar

from testbed.forwarder.rows.row import Row, one_of
from testbed.forwarder.rows.words import Word, Words, option
from testbed.packet import BitString, Encapsulation


@dataclass(frozen=True, slots=True)
class Bift(Row):
    """A Bit Index Forwarding Table; `id` is its BIFT-id or BIER-MPLS label. Its paths are rows of their own.

    `bfr_id`: of this router, which may then be BFIR; `context`: where packets for its own bit are delivered; `mtu`: of
    the domain, octets of a BIER packet with its header.
    """

    kind: ClassVar[str] = "bift"
    encapsulation: Encapsulation
    id: int
    _: KW_ONLY
    bsl: int
    sd: int = 0
    si: int = 0
    bfr_id: int | None = None
    context: int | None = None
    mtu: int | None = None

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.encapsulation, self.id)

    def options(self) -> tuple[Word, ...]:
        fixed = ("sd", self.sd, "si", self.si, "bsl", self.bsl)
        return (*fixed, *option("bfr-id", self.bfr_id), *option("context", self.context), *option("mtu", self.mtu))

    @classmethod
    def read(cls, words: Words) -> Bift:
        key = words.encapsulation(), words.number()
        names = ("sd", "si", "bsl", "bfr_id", "context", "mtu")
        found = words.options(**dict.fromkeys(names, Words.number))
        return cls(*key, bsl=one_of(found, "bsl"), **found)


class End(Enum):
    """Where a path may lead instead of to a next hop."""

    LOCAL = "local"  # this router's own bit
    DROP = "drop"  # BFERs that cannot be reached


@dataclass(frozen=True, slots=True)
class Path(Row):
    """All bits of a BIFT that share a neighbour (RFC 8279 section 6.4). `way`: which of the BIFTs for ECMP (6.7.2).

    `to`: a next hop's number, or an End. `as_id`: the BIFT-id or label that the neighbour wants, if it is another.
    """

    kind: ClassVar[str] = "path"
    encapsulation: Encapsulation
    bift: int
    way: int
    index: int
    _: KW_ONLY
    fbm: BitString
    to: int | End
    as_id: int | None = None

    def __post_init__(self) -> None:
        if self.as_id is not None and isinstance(self.to, End):
            raise ValueError("only a path to a next hop has another BIFT-id there")
        if self.as_id == self.bift:
            object.__setattr__(self, "as_id", None)

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.encapsulation, self.bift, self.way, self.index)

    def options(self) -> tuple[Word, ...]:
        to = (self.to.value,) if isinstance(self.to, End) else ("nexthop", self.to)
        return ("fbm", self.fbm, *to, *option("as", self.as_id))

    @classmethod
    def read(cls, words: Words) -> Path:
        key = words.encapsulation(), words.number(), words.number(), words.number()
        found = words.options(
            fbm=Words.bit_string,
            nexthop=Words.number,
            local=lambda _: End.LOCAL,
            drop=lambda _: End.DROP,
            as_=Words.number,
        )
        fbm, to = one_of(found, "fbm"), one_of(found, "nexthop", "local", "drop")
        return cls(*key, fbm=fbm, to=to, as_id=found.get("as_"))
