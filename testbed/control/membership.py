"""Who on this router's own links wants which multicast packets: IGMPv3 reports, heard (RFC 3376).

A membership is a source and a group, or any source. This router is the querier of its links: it asks once when it
starts, and hosts report changes by themselves; a host that vanishes without a word is noticed by its link going down.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.packet.checksum import internet_checksum

_ONE_LINK = IPv4Network("224.0.0.0/24")
_ALL_SYSTEMS = IPv4Address("224.0.0.1")
_ALL_V3_ROUTERS = IPv4Address("224.0.0.22")  # RFC 3376 section 4.2.14
_QUERY, _V2_REPORT, _V3_REPORT, _V2_LEAVE = 0x11, 0x16, 0x22, 0x17
_IS_IN, _IS_EX, _TO_IN, _TO_EX, _ALLOW, _BLOCK = 1, 2, 3, 4, 5, 6  # RFC 3376 section 4.2.12
_IP_PKTINFO, _IP_ROUTER_ALERT = 8, b"\x94\x04\x00\x00"
_LARGEST = 1 << 14
_PATIENCE = 10.0  # seconds: far beyond the tenth in which the query asks for answers


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """Somebody on `port` wants packets to `group`, from `source` or (None) from anyone."""

    port: str
    group: IPv4Address
    source: IPv4Address | None


def read_report(port: str, data: bytes) -> Iterator[tuple[bool, Member]]:
    """(joins, member) for every change that an IGMP message means; nothing for what is no report or is malformed.

    An exclusion of sources counts as a wish for all: what is not wanted is dropped by the host (RFC 3376 section 3.2).
    Groups of one link only (224.0.0.0/24) are no routing protocol's business.
    """
    return ((joins, member) for joins, member in _changes(port, data) if member.group not in _ONE_LINK)


def _changes(port: str, data: bytes) -> Iterator[tuple[bool, Member]]:
    if len(data) < 8 or internet_checksum(data):
        return
    kind = data[0]
    if kind in (_V2_REPORT, _V2_LEAVE):
        yield kind == _V2_REPORT, Member(port, IPv4Address(data[4:8]), None)
        return
    if kind != _V3_REPORT:
        return
    (records,) = struct.unpack_from("!H", data, 6)
    offset = 8
    for _ in range(records):
        if offset + 8 > len(data):
            return
        record, auxiliary, sources = struct.unpack_from("!BBH", data, offset)
        group = IPv4Address(data[offset + 4 : offset + 8])
        end = offset + 8 + 4 * sources + 4 * auxiliary
        if end > len(data):
            return
        listed = [IPv4Address(data[offset + 8 + 4 * i : offset + 12 + 4 * i]) for i in range(sources)]
        offset = end
        if record in (_IS_EX, _TO_EX):
            yield True, Member(port, group, None)
        elif record in (_IS_IN, _TO_IN):
            if not listed:
                yield False, Member(port, group, None)
            yield from ((True, Member(port, group, source)) for source in listed)
        elif record in (_ALLOW, _BLOCK):
            yield from ((record == _ALLOW, Member(port, group, source)) for source in listed)


class Membership:
    """The members on some ports of this network namespace. Raises OSError."""

    def __init__(self, ports: list[str]) -> None:
        self.members: set[Member] = set()
        self._unconfirmed: set[Member] = set()
        self.confirm_by: float | None = None
        self._ports = {socket.if_nametoindex(port): port for port in ports}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_IGMP)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, _IP_ROUTER_ALERT)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        for index in self._ports:
            here = bytes(4) + bytes(4) + struct.pack("=i", index)
            joined = _ALL_V3_ROUTERS.packed + here[4:]
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
            self._socket.sendto(_general_query(), (str(_ALL_SYSTEMS), 0))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def adopt(self, members: Iterable[Member], now: float) -> None:
        """Believe in a predecessor's members until `confirm_by`: they answer the query, if they are still there."""
        self._unconfirmed = set(members)
        self.members |= self._unconfirmed
        self.confirm_by = now + _PATIENCE

    def expire(self, now: float) -> bool:
        """Forget those who did not answer in time; whether there were any."""
        if self.confirm_by is None or now < self.confirm_by:
            return False
        gone = self._unconfirmed & self.members
        self.members -= gone
        self._unconfirmed, self.confirm_by = set(), None
        return bool(gone)

    def changed(self) -> bool:
        """Take in the reports that are there, without waiting; whether `members` is another now."""
        before = set(self.members)
        while True:
            try:
                data, control, _, _ = self._socket.recvmsg(_LARGEST, 64)
            except BlockingIOError:
                return self.members != before
            port = self._ports.get(_interface(control))
            if port is None or not data:
                continue
            for joins, member in read_report(port, data[4 * (data[0] & 0xF) :]):
                self._unconfirmed.discard(member)
                if joins:
                    self.members.add(member)
                else:
                    self._leave(member)

    def _leave(self, member: Member) -> None:
        """One host a link: there is nobody else to ask whether he still wants it."""
        if member.source is None:
            self.members -= {m for m in self.members if (m.port, m.group) == (member.port, member.group)}
        else:
            self.members.discard(member)


def _interface(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return int(struct.unpack_from("=i", value)[0])
    return 0


def _general_query() -> bytes:
    """RFC 3376 section 4.1: to be answered within a tenth of a second."""
    head = struct.pack("!BBH4sBBH", _QUERY, 1, 0, bytes(4), 2, 125, 0)
    return head[:2] + struct.pack("!H", internet_checksum(head)) + head[4:]
