"""Segment routing: labels, SIDs, Replication segments and their branches (RFC 9524)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from ipaddress import IPv6Address
from typing import ClassVar

from testbed.forwarder.rows.row import Row, one_of
from testbed.forwarder.rows.words import Word, Words, joined, option


@dataclass(frozen=True, slots=True)
class Swap:
    """CONTINUE: another label, towards a next hop."""

    label: int
    nexthop: int


@dataclass(frozen=True, slots=True)
class PopTo:
    """NEXT towards a next hop: penultimate hop popping, or an adjacency segment."""

    nexthop: int


@dataclass(frozen=True, slots=True)
class Pop:
    """NEXT here: the label below is processed, or the packet is delivered in the context."""

    context: int | None = None


@dataclass(frozen=True, slots=True)
class Replicate:
    """A Replication-SID: the packet goes the ways of the segment."""

    segment: int


@dataclass(frozen=True, slots=True)
class Context:
    """A SID that tells a leaf where packets are delivered (RFC 9524 section 2.2.1)."""

    number: int


@dataclass(frozen=True, slots=True)
class Label(Row):
    """A label of this router's, and what is done with packets that come with it on top."""

    kind: ClassVar[str] = "label"
    label: int
    operation: Swap | PopTo | Pop | Replicate

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.label,)

    def options(self) -> tuple[Word, ...]:
        match self.operation:
            case Swap(label, nexthop):
                return ("swap", label, "nexthop", nexthop)
            case PopTo(nexthop):
                return ("pop", "nexthop", nexthop)
            case Pop(context):
                return ("pop", *option("context", context))
            case Replicate(segment):
                return ("replicate", segment)

    @classmethod
    def read(cls, words: Words) -> Label:
        label, operation = words.number(), words.word()
        match operation:
            case "swap":
                out = words.number()
                return cls(label, Swap(out, one_of(words.options(nexthop=Words.number), "nexthop")))
            case "pop":
                found = words.options(nexthop=lambda w: PopTo(w.number()), context=lambda w: Pop(w.number()))
                return cls(label, one_of(found, "nexthop", "context") if found else Pop())
            case "replicate":
                segment = words.number()
                words.end()
                return cls(label, Replicate(segment))
        raise ValueError(f"a label has one of: swap, pop, replicate, not {operation}")


@dataclass(frozen=True, slots=True)
class Sid(Row):
    """An SRv6 SID of this router's."""

    kind: ClassVar[str] = "sid"
    address: IPv6Address
    behaviour: Replicate | Context

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.address,)

    def options(self) -> tuple[Word, ...]:
        match self.behaviour:
            case Replicate(segment):
                return ("replicate", segment)
            case Context(number):
                return ("context", number)

    @classmethod
    def read(cls, words: Words) -> Sid:
        address = words.address6()
        found = words.options(replicate=lambda w: Replicate(w.number()), context=lambda w: Context(w.number()))
        return cls(address, one_of(found, "replicate", "context"))


class Role(Enum):
    """What a node is to a Replication segment (RFC 9524 section 1.1); a bud is a leaf that has branches."""

    HEAD = "head"
    TRANSIT = "transit"
    LEAF = "leaf"
    BUD = "bud"


@dataclass(frozen=True, slots=True)
class Segment(Row):
    """Replication state (RFC 9524 section 2). Its branches are rows of their own.

    `threshold`: of the IPv6 hop limit, 0 for none; `context`: where a leaf delivers; `mtu`: octets of an IP packet that
    a head steers into it.
    """

    kind: ClassVar[str] = "segment"
    id: int
    role: Role
    _: KW_ONLY
    threshold: int = 0
    context: int | None = None
    mtu: int | None = None

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.id,)

    def options(self) -> tuple[Word, ...]:
        threshold = option("threshold", self.threshold or None)
        return (self.role.value, *threshold, *option("context", self.context), *option("mtu", self.mtu))

    @classmethod
    def read(cls, words: Words) -> Segment:
        key = words.number(), Role(words.word())
        return cls(*key, **words.options(threshold=Words.number, context=Words.number, mtu=Words.number))


@dataclass(frozen=True, slots=True)
class Branch(Row):
    """One downstream node of a segment: an MplsBranch or a Srv6Branch."""

    kind: ClassVar[str] = "branch"
    segment: int
    index: int

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.segment, self.index)

    @classmethod
    def read(cls, words: Words) -> Branch:
        return _read_branch(words)


@dataclass(frozen=True, slots=True)
class MplsBranch(Branch):
    """A downstream node by labels, the outermost first and its Replication-SID last.

    Without a next hop it is loose: the first label is looked up among this router's own, and so follows the IGP.
    """

    labels: tuple[int, ...]
    nexthop: int | None = None

    def options(self) -> tuple[Word, ...]:
        return ("labels", joined(self.labels), *option("nexthop", self.nexthop))


@dataclass(frozen=True, slots=True)
class Srv6Branch(Branch):
    """A downstream node by its Replication-SID; the next hop to the kernel's routing makes it loose.

    `encaps`: segments of an H.Encaps.Red around the copy; `srh`, at a head only: segments before the SID in one
    encapsulation. Both in the order of travel.
    """

    sid: IPv6Address
    nexthop: int
    _: KW_ONLY
    encaps: tuple[IPv6Address, ...] = ()
    srh: tuple[IPv6Address, ...] = ()

    def __post_init__(self) -> None:
        if self.encaps and self.srh:
            raise ValueError("a branch steers its copies either way: encaps or srh")

    def options(self) -> tuple[Word, ...]:
        steer = option("encaps", joined(self.encaps) or None) + option("srh", joined(self.srh) or None)
        return ("sid", self.sid, *steer, "nexthop", self.nexthop)


def _read_branch(words: Words) -> Branch:
    key = words.number(), words.number()
    found = words.options(
        labels=Words.numbers, sid=Words.address6, nexthop=Words.number, encaps=Words.addresses6, srh=Words.addresses6
    )
    if "labels" in found:
        branch: Branch = MplsBranch(*key, found.pop("labels"), found.pop("nexthop", None))
        if found:
            raise ValueError(f"labels and {', '.join(found)} do not go together")
        return branch
    sid, nexthop = one_of(found, "sid"), one_of(found, "nexthop")
    return Srv6Branch(*key, sid, nexthop, **found)
