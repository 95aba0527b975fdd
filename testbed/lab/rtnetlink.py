"""Reading rtnetlink (RFC 3549) with struct alone: sockets opened inside a node, dumps, messages, attributes.

A general library takes 100-300 microseconds for one message, and a link failure in a network of 100 routers
brings tens of thousands of them, just when the processor is wanted elsewhere; the few fields wanted here take 10.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from testbed.lab.namespace import inside

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWQDISC, RTM_GETQDISC = 36, 38
RTNLGRP_LINK, RTNLGRP_IPV4_MROUTE, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE = 1, 6, 7, 11
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info

NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NLM_F_REQUEST_DUMP = 0x301
_NLM_F_DUMP_INTR = 0x10
_NLA_TYPE_MASK = 0x3FFF
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_LARGEST = 1 << 16


def open_route_socket(pid: int, groups: tuple[int, ...] = (), receive_buffer: int | None = None) -> socket.socket:
    """A NETLINK_ROUTE socket in the network namespace of `pid`, subscribed to `groups`; usable from any thread.

    Raises OSError.
    """
    return _subscribed(inside(pid, _new_socket), groups, receive_buffer)


def subscribe(groups: tuple[int, ...], receive_buffer: int | None = None) -> socket.socket:
    """The same in the namespace of the calling thread. Raises OSError."""
    return _subscribed(_new_socket(), groups, receive_buffer)


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def _subscribed(sock: socket.socket, groups: tuple[int, ...], receive_buffer: int | None) -> socket.socket:
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        sock.bind((0, 0))
        for group in groups:
            sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of one datagram: (type, payload). A malformed length ends it."""
    offset = 0
    while offset + NLMSGHDR.size <= len(data):
        length, kind, _flags, _sequence, _port = NLMSGHDR.unpack_from(data, offset)
        if not NLMSGHDR.size <= length <= len(data) - offset:
            return
        yield kind, data[offset + NLMSGHDR.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by type (nesting and byte-order flags removed). A malformed length ends it."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            break
        found[kind & _NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def dump(sock: socket.socket, kind: int, body: bytes) -> list[tuple[int, bytes]]:
    """Ask for a dump and return its messages. For a socket without subscriptions. Raises OSError.

    A dump that the kernel marks as interrupted by a change is asked for again.
    """
    request = NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, _NLM_F_REQUEST_DUMP, 1, 0) + body
    for _ in range(10):
        sock.send(request)
        found: list[tuple[int, bytes]] = []
        interrupted = done = False
        while not done:
            data = sock.recv(_LARGEST)
            interrupted |= bool(NLMSGHDR.unpack_from(data)[2] & _NLM_F_DUMP_INTR)
            for answer, payload in messages(data):
                if answer == NLMSG_DONE:
                    done = True
                elif answer == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", payload)
                    raise OSError(-code, f"netlink dump {kind}: {os.strerror(-code)}")
                else:
                    found.append((answer, payload))
        if not interrupted:
            break
    return found


def text(attribute: bytes) -> str:
    """A null-terminated string attribute."""
    return attribute.rstrip(b"\0").decode(errors="replace")
