"""The kernel's unicast routes, followed by its events: where this router's next hops come from.

Only routes to single addresses count, for a BFR-prefix is nothing else (RFC 8279 section 2). A failure in the network
brings as many notifications of other routes: a filter in the kernel spares us those.
"""

from __future__ import annotations

import errno
import socket
import struct
from array import array
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from testbed.control.bift import Hop
from testbed.lab.rtnetlink import (
    NLMSGHDR,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTNLGRP_IPV4_ROUTE,
    attributes,
    dump,
    messages,
    subscribe,
)

Hops = tuple[Hop, ...]
Known = dict[tuple[bytes | None, ...], Hops]  # for one burst, since interfaces can be renamed: what attributes mean

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH = 1, 4, 5, 6, 9
_U32 = struct.Struct("=I")
_RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, interface index
_HOST, _MAIN, _UNICAST = 32, 254, 1  # length, table, type
_LARGEST = 1 << 16
_RECEIVE_BUFFER = 8 << 20

# Classic BPF: the octet at an offset into A; go on if it is k, else skip to the end; pass all, or nothing.
_LOAD, _IF_EQUAL, _RETURN = 0x30, 0x15, 0x06
_SO_ATTACH_FILTER = 26


class Routes:
    """The next hops of the main table's host routes, by address; `changed()` reads what has happened.

    Of several routes to one address the one with the least metric counts; one without a gateway leads nowhere. Belongs
    to the network namespace that it was made in. Raises OSError.
    """

    def __init__(self) -> None:
        self._metrics: dict[IPv4Address, dict[int, Hops]] = {}
        self._socket = subscribe((RTNLGRP_IPV4_ROUTE,), _RECEIVE_BUFFER)
        self._socket.setblocking(False)
        _attach_filter(self._socket)
        self._read_all()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def current(self) -> Mapping[IPv4Address, Hops]:
        """Every address that has a route through a gateway."""
        return {address: self._best(address) for address in self._metrics}

    def changed(self) -> dict[IPv4Address, Hops]:
        """Where what is different since the last call leads now, no hops: nowhere. Does not wait."""
        before: dict[IPv4Address, Hops] = {}
        known: Known = {}
        try:
            while True:
                for kind, payload in messages(self._socket.recv(_LARGEST)):
                    if kind in (RTM_NEWROUTE, RTM_DELROUTE) and (found := _read(payload, known)):
                        address, metric, hops = found
                        if address not in before:
                            before[address] = self._best(address)
                        self._put(address, metric, hops if kind == RTM_NEWROUTE else ())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            for address in self._metrics:  # events were lost: read everything anew
                before.setdefault(address, self._best(address))
            self._metrics.clear()
            self._read_all()
            before = dict.fromkeys(self._metrics, ()) | before
        return {address: now for address, hops in before.items() if (now := self._best(address)) != hops}

    def _read_all(self) -> None:
        known: Known = {}
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as once:
            body = RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
            for _, payload in dump(once, RTM_GETROUTE, body):
                if found := _read(payload, known):
                    self._put(*found)

    def _best(self, address: IPv4Address) -> Hops:
        by_metric = self._metrics.get(address)
        return by_metric[min(by_metric)] if by_metric else ()

    def _put(self, address: IPv4Address, metric: int, hops: Hops) -> None:
        if hops:
            self._metrics.setdefault(address, {})[metric] = hops
        elif address in self._metrics:
            self._metrics[address].pop(metric, None)
            if not self._metrics[address]:
                del self._metrics[address]


def _read(payload: bytes, known: Known) -> tuple[IPv4Address, int, Hops] | None:
    """Address, metric and hops of a route message, if it is a unicast host route of the main table."""
    if len(payload) < RTMSG.size:
        return None
    _family, length, _, _, table, _, _, kind, _flags = RTMSG.unpack_from(payload)
    if (length, table, kind) != (_HOST, _MAIN, _UNICAST):  # a table above 255 is another number here, and no 254
        return None
    found = attributes(payload, RTMSG.size)
    if len(address := found.get(_RTA_DST, b"")) != 4:
        return None
    (metric,) = _U32.unpack(found[_RTA_PRIORITY]) if _RTA_PRIORITY in found else (0,)
    where = found.get(_RTA_OIF), found.get(_RTA_GATEWAY), found.get(_RTA_MULTIPATH)
    if where not in known:  # of the many routes in a burst, most have one of a few next hops
        known[where] = tuple(sorted(_hops(*where)))
    return IPv4Address(address), metric, known[where]


def _hops(port: bytes | None, gateway: bytes | None, several: bytes | None) -> Iterator[Hop]:
    if port and gateway:
        yield from _hop(_U32.unpack(port)[0], gateway)
    data = several or b""
    while len(data) >= _RTNEXTHOP.size:
        length, _flags, _weight, index = _RTNEXTHOP.unpack_from(data)
        if not _RTNEXTHOP.size <= length <= len(data):
            return
        via = attributes(data[:length], _RTNEXTHOP.size).get(_RTA_GATEWAY)
        if via is not None:
            yield from _hop(index, via)
        data = data[(length + 3) & ~3 :]


def _hop(index: int, gateway: bytes) -> Iterator[Hop]:
    try:
        yield Hop(socket.if_indextoname(index), IPv4Address(gateway))
    except OSError:  # the interface is gone already; the kernel is about to say so of the route, too
        return


def _attach_filter(sock: socket.socket) -> None:
    """Let the kernel pass on only what `_read` would not ignore at once. A notification is one message."""
    at = {_HOST: 1, _MAIN: 4, _UNICAST: 7}  # offsets in RTMSG
    program = []
    for number, (value, offset) in enumerate(at.items()):
        to_the_end = 2 * (len(at) - number) - 1
        program += [(_LOAD, 0, 0, NLMSGHDR.size + offset), (_IF_EQUAL, 0, to_the_end, value)]
    program += [(_RETURN, 0, 0, _LARGEST), (_RETURN, 0, 0, 0)]
    code = array("B", b"".join(struct.pack("=HBBI", *each) for each in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), code.buffer_info()[0]))
