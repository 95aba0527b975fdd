"""SRv6: the Segment Routing Header (RFC 8754 section 2) and encapsulation at a headend (RFC 8986 section 5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from testbed.packet.error import PacketError
from testbed.packet.ip import IPv4, IPv6, Protocol
from testbed.packet.wire import Reader, unsigned

END_REPLICATE = 75  # endpoint behaviour code point of a Replication-SID (RFC 9524 section 3)

ROUTING_TYPE = 4
PAD1, PADN, HMAC = 0, 4, 5  # TLV types
_FIXED_SIZE, _SEGMENT_SIZE = 8, 16  # octets
_MAX_SIZE = 8 + 255 * 8  # what Hdr Ext Len can say


@dataclass(frozen=True, slots=True)
class SrhTlv:
    """Any TLV but padding, which is the encoder's matter."""

    type: int
    value: bytes

    def __post_init__(self) -> None:
        unsigned("srh.tlv.type", self.type, 8)
        unsigned("srh.tlv.length", len(self.value), 8)
        if self.type in (PAD1, PADN):
            raise PacketError("srh.tlv.type", self.type, "no padding: it is added where it is needed")


@dataclass(frozen=True, slots=True)
class Srh:
    """`segments` is the Segment List as on the wire: the last segment of the path comes first.

    A reduced SRH lacks the path's first segment (RFC 8754 section 4.1.1), so `segments_left` may be one more than the
    index of the last entry.
    """

    next_header: int
    segments: tuple[IPv6Address, ...]
    segments_left: int
    flags: int = 0
    tag: int = 0
    tlvs: tuple[SrhTlv, ...] = ()

    def __post_init__(self) -> None:
        unsigned("srh.next_header", self.next_header, 8)
        unsigned("srh.flags", self.flags, 8)
        unsigned("srh.tag", self.tag, 16)
        if not self.segments:
            raise PacketError("srh.segments", "none", "one or more")
        if any(segment.scope_id is not None for segment in self.segments):
            raise PacketError("srh.segments", "an address with a zone", "addresses without")
        if not 0 <= self.segments_left <= len(self.segments):
            raise PacketError("srh.segments_left", self.segments_left, f"0 to {len(self.segments)}")
        size = _FIXED_SIZE + _SEGMENT_SIZE * len(self.segments) + len(_encode_tlvs(self.tlvs))
        if size > _MAX_SIZE:
            raise PacketError("srh.hdr_ext_len", f"{size} octets", f"at most {_MAX_SIZE}")

    def encode(self, payload: bytes = b"") -> bytes:
        body = b"".join(segment.packed for segment in self.segments) + _encode_tlvs(self.tlvs)
        head = struct.pack(
            "!BBBBBBH",
            self.next_header,
            len(body) // 8,
            ROUTING_TYPE,
            self.segments_left,
            len(self.segments) - 1,
            self.flags,
            self.tag,
        )
        return head + body + payload

    @classmethod
    def decode(cls, data: bytes) -> tuple[Srh, bytes]:
        """The header, its padding dropped, and what follows it."""
        reader = Reader(data, "srh")
        next_header, length = reader.uint(1, "next_header"), reader.uint(1, "hdr_ext_len") * 8
        routing_type = reader.uint(1, "routing_type")
        if routing_type != ROUTING_TYPE:
            raise reader.error("routing_type", routing_type, f"{ROUTING_TYPE}", 1)
        segments_left, last_entry = reader.uint(1, "segments_left"), reader.uint(1, "last_entry")
        # Both limits are those of RFC 8754 section 4.3.1.1, S09 to S11.
        if (last_entry + 1) * _SEGMENT_SIZE > length:
            raise reader.error("last_entry", last_entry, f"segments within the {length} octets of Hdr Ext Len", 1)
        if segments_left > last_entry + 1:
            raise reader.error("segments_left", segments_left, f"at most {last_entry + 1}", 2)
        flags, tag = reader.uint(1, "flags"), reader.uint(2, "tag")
        body = reader.inner(length, "segments")
        segments = tuple(IPv6Address(body.take(_SEGMENT_SIZE, "segments")) for _ in range(last_entry + 1))
        return cls(next_header, segments, segments_left, flags, tag, _decode_tlvs(body)), reader.rest()


def _encode_tlvs(tlvs: Sequence[SrhTlv]) -> bytes:
    """With the padding that ends them at a multiple of 8 octets and puts an HMAC at one (RFC 8754 section 2.1)."""
    done = b""
    for tlv in tlvs:
        if tlv.type == HMAC:
            done += _padding(-len(done) % 8)
        done += bytes((tlv.type, len(tlv.value))) + tlv.value
    return done + _padding(-len(done) % 8)


def _padding(count: int) -> bytes:
    if count < 2:
        return bytes(count)  # PAD1 is a zero octet
    return bytes((PADN, count - 2)) + bytes(count - 2)


def _decode_tlvs(reader: Reader) -> tuple[SrhTlv, ...]:
    tlvs = []
    while reader.left:
        kind = reader.uint(1, "tlv.type")
        if kind == PAD1:
            continue
        value = reader.take(reader.uint(1, "tlv.length"), "tlv.value")
        if kind != PADN:
            tlvs.append(SrhTlv(kind, value))
    return tuple(tlvs)


def h_encaps(
    packet: bytes,
    src: IPv6Address,
    path: Sequence[IPv6Address],
    *,
    reduced: bool = False,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
) -> bytes:
    """H.Encaps, or H.Encaps.Red if `reduced`, of an IPv4 or IPv6 packet (RFC 8986 sections 5.1 and 5.2).

    `path` is <S1, S2, ...> in the order of travel. The inner TTL or Hop Limit is decremented (S05); a packet in which
    it would become 0 is refused. With `reduced`, a path of one segment needs no SRH and gets none.
    """
    if not path:
        raise PacketError("srv6.path", "no segment", "one or more")
    inner, kind = _decremented(packet)
    listed = tuple(reversed(path[1:] if reduced else path))
    next_header = kind
    if listed:
        inner = Srh(kind, listed, segments_left=len(path) - 1).encode(inner)
        next_header = Protocol.ROUTING
    return IPv6(src, path[0], next_header, hop_limit, traffic_class, flow_label).encode(inner)


def _decremented(packet: bytes) -> tuple[bytes, Protocol]:
    """The packet with one hop less, and what it is as an IPv6 payload."""
    if packet[:1] and packet[0] >> 4 == 4:
        v4, payload = IPv4.decode(packet)
        if v4.ttl <= 1:
            raise PacketError("ipv4.ttl", v4.ttl, "2 or more, to be forwarded", 8)
        return replace(v4, ttl=v4.ttl - 1).encode(payload), Protocol.IPV4
    v6, payload = IPv6.decode(packet)
    if v6.hop_limit <= 1:
        raise PacketError("ipv6.hop_limit", v6.hop_limit, "2 or more, to be forwarded", 7)
    return replace(v6, hop_limit=v6.hop_limit - 1).encode(payload), Protocol.IPV6
