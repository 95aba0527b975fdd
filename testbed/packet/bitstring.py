"""BitStrings: which BFERs a BIER packet is for (RFC 8279 section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.packet.error import PacketError
from testbed.packet.wire import unsigned

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)  # RFC 8296 section 2.1.2
DEFAULT_LENGTH = 256  # RFC 8296 section 2
MAX_BFR_ID = 65535  # RFC 8279 section 2
MAX_SI = 255  # RFC 8279 section 1


@dataclass(frozen=True, slots=True)
class BitString:
    """A set of bit positions 1 to `length`; bit 1 is the least significant one of `value`.

    In SI 0 a bit position is the BFR-id itself. `&`, `|` and `-` are those of sets; both sides have one length.
    """

    value: int = 0
    length: int = DEFAULT_LENGTH

    def __post_init__(self) -> None:
        check_length("bitstring.length", self.length)
        if not 0 <= self.value < 1 << self.length:
            raise PacketError("bitstring.value", f"{self.value:#x}", f"{self.length} bits")

    @classmethod
    def of(cls, positions: Iterable[int], length: int = DEFAULT_LENGTH) -> BitString:
        """With these bits set. `BitString.of({1, 27, 235}, 256)`."""
        check_length("bitstring.length", length)
        value = 0
        for position in positions:
            if not 1 <= position <= length:
                raise PacketError("bitstring.position", position, f"1 to {length}")
            value |= 1 << (position - 1)
        return cls(value, length)

    @classmethod
    def from_bytes(cls, data: bytes) -> BitString:
        """From the wire, where the most significant octet comes first."""
        return cls(int.from_bytes(data, "big"), len(data) * 8)

    def __bytes__(self) -> bytes:
        return self.value.to_bytes(self.length // 8, "big")

    def hex(self) -> str:
        """The octets on the wire, in hexadecimal."""
        return bytes(self).hex()

    def __iter__(self) -> Iterator[int]:
        """The positions of the set bits, ascending: the order in which RFC 8279 section 6.5 looks at them."""
        value = self.value
        while value:
            yield (value & -value).bit_length()
            value &= value - 1

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and position >= 1 and bool(self.value >> (position - 1) & 1)

    def __bool__(self) -> bool:
        return self.value != 0

    def bit_count(self) -> int:
        """How many bits are set."""
        return self.value.bit_count()

    def __and__(self, other: BitString) -> BitString:
        return BitString(self.value & self._same(other).value, self.length)

    def __or__(self, other: BitString) -> BitString:
        return BitString(self.value | self._same(other).value, self.length)

    def __sub__(self, other: BitString) -> BitString:
        """The bits that are set here and not in `other`: what remains after a copy was sent with F-BM `other`."""
        return BitString(self.value & ~self._same(other).value, self.length)

    def __str__(self) -> str:
        return f"{{{','.join(map(str, self))}}}/{self.length}"

    def bfr_ids(self, si: int = 0) -> set[int]:
        """The BFR-ids that the set bits stand for in Set Identifier `si`."""
        unsigned("bitstring.si", si, 8)
        last = si * self.length + self.value.bit_length()
        if last > MAX_BFR_ID:
            raise PacketError("bitstring.bfr_id", last, f"at most {MAX_BFR_ID}")
        return {si * self.length + position for position in self}

    def _same(self, other: BitString) -> BitString:
        if other.length != self.length:
            raise PacketError("bitstring.length", other.length, f"{self.length}, as the other side has")
        return other


def check_length(field: str, length: int) -> None:
    if length not in LENGTHS:
        raise PacketError(field, length, "one of " + ", ".join(map(str, LENGTHS)))


def locate(bfr_id: int, bsl: int = DEFAULT_LENGTH) -> tuple[int, int]:
    """The Set Identifier and the bit position of a BFR-id under BitStringLength `bsl` (RFC 8279 section 3)."""
    check_length("bitstring.length", bsl)
    most = min(MAX_BFR_ID, (MAX_SI + 1) * bsl)
    if not 1 <= bfr_id <= most:
        raise PacketError("bitstring.bfr_id", bfr_id, f"1 to {most} under BSL {bsl}")
    return (bfr_id - 1) // bsl, (bfr_id - 1) % bsl + 1


def split(bfr_ids: Iterable[int], bsl: int = DEFAULT_LENGTH) -> dict[int, BitString]:
    """One BitString for each Set Identifier, ascending: a BFIR sends one packet for each (RFC 8279 section 3)."""
    positions: dict[int, set[int]] = {}
    for bfr_id in bfr_ids:
        si, position = locate(bfr_id, bsl)
        positions.setdefault(si, set()).add(position)
    return {si: BitString.of(positions[si], bsl) for si in sorted(positions)}
