"""Reading octets in network order and checking values; what every codec here is made with."""

from __future__ import annotations

from testbed.packet.error import PacketError


def unsigned(field: str, value: int, bits: int, least: int = 0) -> None:
    """Raise PacketError unless `value` fits into an unsigned field of `bits` bits and is at least `least`."""
    if not least <= value < 1 << bits:
        raise PacketError(field, value, f"{least} to {(1 << bits) - 1}")


class Reader:
    """A cursor over received octets; what is missing is an error that names the field.

    `name` is the header's, put before every field; `base` is where `data` lies in what the caller was given, so that
    offsets in errors count from there in nested structures too.
    """

    def __init__(self, data: bytes, name: str, base: int = 0) -> None:
        self.name = name
        self._data, self._base, self._at = data, base, 0

    @property
    def offset(self) -> int:
        """Of the next octet, as errors count it."""
        return self._base + self._at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int, field: str) -> bytes:
        if self.left < count:
            raise self.error(field, f"{self.left} octets", f"{count}", 0)
        self._at += count
        return self._data[self._at - count : self._at]

    def uint(self, octets: int, field: str) -> int:
        return int.from_bytes(self.take(octets, field), "big")

    def inner(self, count: int, field: str) -> Reader:
        """A reader over the next `count` octets alone, under this one's name."""
        base = self.offset
        return Reader(self.take(count, field), self.name, base)

    def rest(self) -> bytes:
        return self.take(self.left, "rest")

    def error(self, field: str, found: object, expected: str, octets: int) -> PacketError:
        """An error about what was read `octets` octets ago."""
        return PacketError(f"{self.name}.{field}", found, expected, self.offset - octets)
