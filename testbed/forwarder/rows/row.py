"""What all rows have in common."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from testbed.forwarder.rows.words import Word, Words, text
from testbed.packet import BitString, Encapsulation

_NAME = re.compile(r"[!-~]{1,15}")


class Row:
    """What all rows have in common. Rows are values: frozen, hashable, equal if every field is."""

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def key(self) -> tuple[Word, ...]:
        """What tells this row from others of its kind."""
        raise NotImplementedError

    def options(self) -> tuple[Word, ...]:
        """The words behind the key."""
        raise NotImplementedError

    @classmethod
    def read(cls, words: Words) -> Row:
        """The row whose kind has just been read. Raises ValueError."""
        raise NotImplementedError

    def line(self) -> str:
        """The row in the control language, without a newline."""
        return " ".join([self.kind, *map(text, self.key), *map(text, self.options())])

    def delete_line(self) -> str:
        """The line of an update that deletes the row; with a bift go its paths, with a segment its branches."""
        return " ".join(["del", self.kind, *map(text, self.key)])


def rank(word: Word) -> tuple[int, int, str]:
    """What sorts words at one place of a line: numbers by value, IPv4 before IPv6, "*" first."""
    if word is None:
        return (0, 0, "")
    if isinstance(word, int):
        return (0, word, "")
    if isinstance(word, Encapsulation | str | BitString):
        return (0, 0, text(word))
    return (word.version, int(word), "")


def check_name(name: str) -> None:
    """Raises ValueError unless `name` is one word that an interface may be called by."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"an interface name has 1 to 15 characters and no blank, not {name!r}")


def one_of(found: dict[str, Any], *names: str) -> Any:
    """Take the one of these options that was given out of `found`; ValueError unless it is one."""
    given = [name for name in names if name in found]
    if len(given) != 1:
        raise ValueError(f"{'one of ' if len(names) > 1 else ''}{', '.join(names)} must be given, once")
    return found.pop(given[0])
