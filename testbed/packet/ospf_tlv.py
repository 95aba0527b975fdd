"""The type-length-value framing of OSPFv2's opaque LSAs (RFC 7684 section 2, from RFC 3630)."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.packet.wire import Reader, unsigned


def encode_tlv(kind: int, value: bytes) -> bytes:
    """Padded with zeros to 4 octets; the padding is not counted in the length."""
    unsigned("tlv.type", kind, 16)
    unsigned("tlv.length", len(value), 16)
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


def decode_tlvs(reader: Reader) -> Iterator[tuple[int, Reader]]:
    """Each TLV's type and a reader over its value. One that overruns its container, or a rest too short for a TLV
    header, is an error: the LSA is malformed (RFC 7684 section 5)."""
    while reader.left:
        kind = reader.uint(2, "tlv.type")
        length = reader.uint(2, "tlv.length")
        value = reader.inner(length, "tlv.value")
        reader.take(-length % 4, "tlv.padding")
        yield kind, value
