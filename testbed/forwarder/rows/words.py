"""The words of a line of the control language (docs/forwarder.md), written and read; what a row is is for `rows`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from testbed.packet import BitString, Encapsulation
from testbed.packet.bitstring import LENGTHS

Address = IPv4Address | IPv6Address
Word = int | str | Address | Encapsulation | BitString | None

_DIGITS = re.compile(r"[0-9A-Fa-f]+")
_ENCAPSULATIONS = {"ethernet": Encapsulation.NON_MPLS, "mpls": Encapsulation.MPLS}
_NAMES = {encapsulation: name for name, encapsulation in _ENCAPSULATIONS.items()}


def text(value: Word) -> str:
    """A value as one word: None is "*"; a BitString has all its digits, so that they tell its length."""
    if value is None:
        return "*"
    if isinstance(value, Encapsulation):
        return _NAMES[value]
    return value.hex() if isinstance(value, BitString) else str(value)


def joined(values: tuple[int, ...] | tuple[IPv6Address, ...]) -> str:
    """A list as one word."""
    return ",".join(map(str, values))


def option(name: str, value: Word) -> tuple[Word, ...]:
    """The words of an option that may be left out."""
    return () if value is None else (name, value)


def encapsulation(name: str) -> Encapsulation:
    """Raises ValueError."""
    if name not in _ENCAPSULATIONS:
        raise ValueError(f"the encapsulation is ethernet or mpls, not {name}")
    return _ENCAPSULATIONS[name]


def bit_string(digits: str) -> BitString:
    """A hexadecimal number. As many digits as a BitStringLength has give that length, others the least that holds it.

    Raises ValueError.
    """
    if not _DIGITS.fullmatch(digits):
        raise ValueError(f"a BitString is a hexadecimal number, not {digits}")
    value = int(digits, 16)
    if 4 * len(digits) in LENGTHS:
        return BitString(value, 4 * len(digits))
    return BitString(value, next((length for length in LENGTHS if value < 1 << length), LENGTHS[-1]))


def number(digits: str) -> int:
    """Raises ValueError: int() takes more, "1_000" and " 1" for instance."""
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"a number is wanted, not {digits}")
    return int(digits)


class Words:
    """The words of one line, taken from the left. Every method raises ValueError where the line says something else."""

    def __init__(self, line: str) -> None:
        self._left = line.split()[::-1]

    def __iter__(self) -> Iterator[str]:
        while self._left:
            yield self._left.pop()

    def word(self) -> str:
        if not self._left:
            raise ValueError("the line ends too early")
        return self._left.pop()

    def number(self) -> int:
        return number(self.word())

    def numbers(self) -> tuple[int, ...]:
        return tuple(map(number, self.word().split(",")))

    def address(self) -> Address:
        return ip_address(self.word())

    def address4(self) -> IPv4Address:
        return IPv4Address(self.word())

    def address6(self) -> IPv6Address:
        return IPv6Address(self.word())

    def addresses6(self) -> tuple[IPv6Address, ...]:
        return tuple(map(IPv6Address, self.word().split(",")))

    def address_or_any(self) -> Address | None:
        word = self.word()
        return None if word == "*" else ip_address(word)

    def encapsulation(self) -> Encapsulation:
        return encapsulation(self.word())

    def bit_string(self) -> BitString:
        return bit_string(self.word())

    def flag(self) -> bool:
        """The value of an option that is a word alone."""
        return True

    def options(self, **readers: Callable[[Words], Any]) -> dict[str, Any]:
        """The rest of the line as options in any order; `bfr_id` is written bfr-id, and `as_` is written as."""
        known = {name.rstrip("_").replace("_", "-"): name for name in readers}
        found: dict[str, Any] = {}
        for word in self:
            if word not in known:
                raise ValueError(f"unknown word: {word}")
            found[known[word]] = readers[known[word]](self)
        return found

    def end(self) -> None:
        if self._left:
            raise ValueError(f"the line should end, not go on with {self._left[-1]}")
