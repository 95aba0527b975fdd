"""A JSON object read field by field: every mistake is noted with its place, and reading goes on."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any, TypeVar

T = TypeVar("T")
_NOWHERE = IPv4Address(0)


class Fields:
    """The fields of one object. What is missing or wrong goes to `problems`, and a value that fits is given instead:
    what is read is of use only if there are no problems in the end. `close` notes fields that nobody asked for."""

    def __init__(self, value: object, where: str, problems: list[str]) -> None:
        self.where, self.problems = where, problems
        self._values: dict[str, Any] = value if isinstance(value, dict) else {}
        self._asked: set[str] = set()
        self._children: list[Fields] = []
        self._is_object = isinstance(value, dict)
        if not self._is_object:
            problems.append(f"{where or 'the request'} is no object")

    def number(self, name: str, low: int, high: int) -> int:
        value = self._get(name)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        return self._wrong(name, value, f"a number from {low} to {high}", low)

    def number_or_none(self, name: str, low: int, high: int) -> int | None:
        return None if self._get(name) is None else self.number(name, low, high)

    def text(self, name: str) -> str:
        value = self._get(name)
        return value if isinstance(value, str) else self._wrong(name, value, "a text", "")

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self._get(name)
        if isinstance(value, str) and value in choices:
            return value
        return self._wrong(name, value, f"one of {', '.join(choices)}", choices[0])

    def address(self, name: str) -> IPv4Address:
        return self._address(name, self._get(name))

    def address_or_none(self, name: str) -> IPv4Address | None:
        return None if self._get(name) is None else self.address(name)

    def addresses(self, name: str) -> tuple[IPv4Address, ...]:
        return tuple(self._address(f"{name}[{place}]", value) for place, value in enumerate(self.items(name)))

    def group(self, name: str) -> IPv4Address:
        """A multicast group."""
        value = self.address(name)
        if value != _NOWHERE and not value.is_multicast:
            self._wrong(name, str(value), "a multicast group", value)
        return value

    def items(self, name: str) -> list[Any]:
        """A list; one that is left out is empty."""
        value = self._get(name)
        if value is None or isinstance(value, list):
            return value or []
        return self._wrong(name, value, "a list", [])

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        found = [Fields(v, self._place(f"{name}[{place}]"), self.problems) for place, v in enumerate(self.items(name))]
        self._children += found
        return found

    def close(self) -> None:
        """Nothing more is asked of this object and those in it."""
        for name in self._values.keys() - self._asked:
            self.problems.append(f"{self._place(name)} is not known here")
        for child in self._children:
            child.close()

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self._values.get(name)

    def _address(self, name: str, value: object) -> IPv4Address:
        try:
            if isinstance(value, str):
                return IPv4Address(value)
        except ValueError:
            pass
        return self._wrong(name, value, "an IPv4 address", _NOWHERE)

    def _wrong(self, name: str, value: object, wanted: str, instead: T) -> T:
        if self._is_object:  # else everything would be missing
            said = "is missing" if value is None else f"is {value!r:.60}"
            self.problems.append(f"{self._place(name)} {said}, and should be {wanted}")
        return instead

    def _place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name
