"""MPLS label stacks (RFC 3032 section 2.1; TC: RFC 5462).

A BIER header's first word is the last entry of such a stack: what goes in front of it is built with `bottom=False`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.packet.error import PacketError
from testbed.packet.wire import Reader, unsigned

ENTRY_SIZE = 4  # octets
MAX_LABEL = (1 << 20) - 1


@dataclass(frozen=True, slots=True)
class LabelStackEntry:
    label: int
    tc: int = 0
    s: int = 0
    ttl: int = 64

    def __post_init__(self) -> None:
        unsigned("mpls.label", self.label, 20)
        unsigned("mpls.tc", self.tc, 3)
        unsigned("mpls.s", self.s, 1)
        unsigned("mpls.ttl", self.ttl, 8)

    def encode(self, payload: bytes = b"") -> bytes:
        return (self.label << 12 | self.tc << 9 | self.s << 8 | self.ttl).to_bytes(ENTRY_SIZE, "big") + payload

    @classmethod
    def decode(cls, data: bytes) -> tuple[LabelStackEntry, bytes]:
        reader = Reader(data, "mpls")
        return cls._from(reader.uint(ENTRY_SIZE, "label")), reader.rest()

    @classmethod
    def _from(cls, word: int) -> LabelStackEntry:
        return cls(word >> 12, word >> 9 & 7, word >> 8 & 1, word & 0xFF)


def label_stack(
    labels: Iterable[int], *, ttl: int = 64, tc: int = 0, bottom: bool = True
) -> tuple[LabelStackEntry, ...]:
    """Entries for `labels`, top first; the S bit is set on the last one unless more entries follow it."""
    labels = tuple(labels)
    last = len(labels) - 1
    return tuple(LabelStackEntry(label, tc, int(bottom and i == last), ttl) for i, label in enumerate(labels))


def encode_stack(stack: Sequence[LabelStackEntry], payload: bytes = b"") -> bytes:
    """The entries, top first, and what they are pushed on. Only the last one may have the S bit."""
    for depth, entry in enumerate(stack[:-1]):
        if entry.s:
            raise PacketError("mpls.s", 1, f"0 at depth {depth} of {len(stack)} entries")
    return b"".join(entry.encode() for entry in stack) + payload


def decode_stack(data: bytes) -> tuple[tuple[LabelStackEntry, ...], bytes]:
    """The entries down to the one with the S bit, and what follows. With BIER, that last one is the BIFT-id."""
    reader = Reader(data, "mpls")
    stack: list[LabelStackEntry] = []
    while not (stack and stack[-1].s):
        stack.append(LabelStackEntry._from(reader.uint(ENTRY_SIZE, "label")))
    return tuple(stack), reader.rest()
