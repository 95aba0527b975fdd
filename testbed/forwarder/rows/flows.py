"""The overlay: what is done with IP multicast of a context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from testbed.forwarder.rows.row import Row, check_name, rank
from testbed.forwarder.rows.words import Address, Word, Words
from testbed.packet import BitString, Encapsulation


@dataclass(frozen=True, slots=True)
class BierAction:
    """Into a BIER domain, to the BFERs of a BitString, as their BFIR."""

    encapsulation: Encapsulation
    bift: int
    bits: BitString

    def words(self) -> tuple[Word, ...]:
        return ("bier", self.encapsulation, self.bift, self.bits)


@dataclass(frozen=True, slots=True)
class SegmentAction:
    """Into a Replication segment, as its head."""

    segment: int

    def words(self) -> tuple[Word, ...]:
        return ("segment", self.segment)


@dataclass(frozen=True, slots=True)
class PortAction:
    """Out of a port as it is, IP multicast."""

    port: str

    def __post_init__(self) -> None:
        check_name(self.port)

    def words(self) -> tuple[Word, ...]:
        return ("port", self.port)


Action = BierAction | SegmentAction | PortAction


@dataclass(frozen=True, slots=True)
class Flow(Row):
    """IP multicast packets of a context, and everything that is done with each: None is any source, any group.

    The order of the actions means nothing; they are kept sorted.
    """

    kind: ClassVar[str] = "flow"
    context: int
    source: Address | None
    group: Address | None
    actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        for address in (self.source, self.group):
            if address is not None and address.is_unspecified:
                raise ValueError(f"any source or group is None, not {address}")
        object.__setattr__(self, "actions", tuple(sorted(self.actions, key=_action_order)))

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.context, self.source, self.group)

    def options(self) -> tuple[Word, ...]:
        return tuple(word for action in self.actions for word in action.words())

    @classmethod
    def read(cls, words: Words) -> Flow:
        key = words.number(), words.address_or_any(), words.address_or_any()
        return cls(*key, tuple(_read_action(word, words) for word in words))


def _action_order(action: Action) -> tuple[object, ...]:
    kinds = (BierAction, SegmentAction, PortAction)
    return (kinds.index(type(action)), *map(rank, action.words()))


def _read_action(word: str, words: Words) -> Action:
    match word:
        case "bier":
            return BierAction(words.encapsulation(), words.number(), words.bit_string())
        case "segment":
            return SegmentAction(words.number())
        case "port":
            return PortAction(words.word())
    raise ValueError(f"unknown word: {word}")
