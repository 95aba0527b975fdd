"""What a codec says when octets or values are not what the protocol allows."""

from __future__ import annotations


class PacketError(ValueError):
    """A field that cannot be: which one, what was found there, what was expected.

    `field` is dotted, header first ("bier.bsl"). `offset` counts octets from the start of what was being decoded to
    the start of the field's word; None where a value was being built, not decoded. Decoders raise nothing else.
    """

    def __init__(self, field: str, found: object, expected: str, offset: int | None = None) -> None:
        self.field, self.found, self.expected, self.offset = field, found, expected, offset
        place = "" if offset is None else f" at octet {offset}"
        super().__init__(f"{field}{place}: found {found}, expected {expected}")
