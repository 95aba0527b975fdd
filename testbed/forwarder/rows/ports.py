"""The router itself, its interfaces and its neighbours."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

from testbed.forwarder.rows.row import Row, check_name, one_of
from testbed.forwarder.rows.words import Address, Word, Words, option

UNSPECIFIED = IPv6Address("::")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Node(Row):
    """What concerns the router as a whole. `tunnel`: its end of every tunnel; `fib`: the next hop that is the kernel's
    own routing."""

    kind: ClassVar[str] = "node"
    _: KW_ONLY
    source: IPv6Address = UNSPECIFIED
    ttl: int = 64
    tunnel: IPv4Address | None = None
    fib: int | None = None

    @property
    def key(self) -> tuple[Word, ...]:
        return ()

    def options(self) -> tuple[Word, ...]:
        fixed = ("source", self.source, "ttl", self.ttl)
        return (*fixed, *option("tunnel", self.tunnel), *option("fib", self.fib))

    @classmethod
    def read(cls, words: Words) -> Node:
        found = words.options(source=Words.address6, ttl=Words.number, tunnel=Words.address4, fib=Words.number)
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Port(Row):
    """An interface. `transport`: BIER, MPLS and SRv6 are accepted; `context`: IP multicast is looked up there."""

    kind: ClassVar[str] = "port"
    name: str
    _: KW_ONLY
    transport: bool = False
    context: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.name,)

    def options(self) -> tuple[Word, ...]:
        return (*(("transport",) if self.transport else ()), *option("context", self.context))

    @classmethod
    def read(cls, words: Words) -> Port:
        return cls(words.word(), **words.options(transport=Words.flag, context=Words.number))


@dataclass(frozen=True, slots=True)
class NextHop(Row):
    """A neighbour on a port: by its MAC address ("02:00:00:00:00:01", lower case), or by an IP address that the
    forwarder lets the kernel resolve.

    `tunnel`: the far end of a tunnel that begins there, which is the BFR-NBR then (RFC 8279 section 6.9)."""

    kind: ClassVar[str] = "nexthop"
    id: int
    port: str
    to: Address | str
    _: KW_ONLY
    tunnel: IPv4Address | None = None

    def __post_init__(self) -> None:
        check_name(self.port)
        if isinstance(self.to, str) and not _MAC.fullmatch(self.to):
            raise ValueError(f"a MAC address is written 02:00:00:00:00:01, not {self.to!r}")

    @property
    def key(self) -> tuple[Word, ...]:
        return (self.id,)

    def options(self) -> tuple[Word, ...]:
        to = ("mac" if isinstance(self.to, str) else "via", self.to)
        return ("port", self.port, *to, *option("tunnel", self.tunnel))

    @classmethod
    def read(cls, words: Words) -> NextHop:
        number = words.number()
        found = words.options(port=Words.word, mac=Words.word, via=Words.address, tunnel=Words.address4)
        return cls(number, one_of(found, "port"), one_of(found, "mac", "via"), **found)
