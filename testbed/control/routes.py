"""The kernel's unicast routes, followed by its events: where this router's next hops come from."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.control.bift import Hop
from testbed.lab.rtnetlink import (
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

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 6, 9, 15
_RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, interface index
_MAIN = 254
_UNICAST = 1
_LARGEST = 1 << 16
_RECEIVE_BUFFER = 8 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table. `hops` is empty for a destination on a link, or one that is gone."""

    network: IPv4Network
    hops: tuple[Hop, ...]


class Routes:
    """The main table's routes that have a gateway, by network; `changed()` reads what has happened.

    Of several routes to one network the one with the least metric counts. Belongs to the network namespace that it was
    made in. Raises OSError.
    """

    def __init__(self) -> None:
        self._metrics: dict[IPv4Network, dict[int, tuple[Hop, ...]]] = {}
        self._socket = subscribe((RTNLGRP_IPV4_ROUTE,), _RECEIVE_BUFFER)
        self._socket.setblocking(False)
        self._read_all()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def current(self) -> Mapping[IPv4Network, tuple[Hop, ...]]:
        """Every network that has a route through a gateway."""
        return {network: self._best(network) for network in self._metrics}

    def changed(self) -> list[Route]:
        """What is different since the last call, in no order; does not wait."""
        before: dict[IPv4Network, tuple[Hop, ...]] = {}
        try:
            while True:
                data = self._socket.recv(_LARGEST)
                for kind, payload in messages(data):
                    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
                        for network, metric, hops in _read(payload):
                            before.setdefault(network, self._best(network))
                            self._put(network, metric, hops if kind == RTM_NEWROUTE else ())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            for network in self._metrics:  # events were lost: read everything anew
                before.setdefault(network, self._best(network))
            self._metrics.clear()
            self._read_all()
            before = dict.fromkeys(self._metrics, ()) | before
        return [Route(n, self._best(n)) for n, hops in before.items() if self._best(n) != hops]

    def _read_all(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as once:
            body = RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
            for _, payload in dump(once, RTM_GETROUTE, body):
                for network, metric, hops in _read(payload):
                    self._put(network, metric, hops)

    def _best(self, network: IPv4Network) -> tuple[Hop, ...]:
        by_metric = self._metrics.get(network)
        return by_metric[min(by_metric)] if by_metric else ()

    def _put(self, network: IPv4Network, metric: int, hops: tuple[Hop, ...]) -> None:
        if hops:
            self._metrics.setdefault(network, {})[metric] = hops
        elif network in self._metrics:
            self._metrics[network].pop(metric, None)
            if not self._metrics[network]:
                del self._metrics[network]


def _read(payload: bytes) -> Iterator[tuple[IPv4Network, int, tuple[Hop, ...]]]:
    """Network, metric and hops of a route message, if it is a unicast route of the main table."""
    if len(payload) < RTMSG.size:
        return
    _family, length, _, _, table, _, _, kind, _flags = RTMSG.unpack_from(payload)
    found = attributes(payload, RTMSG.size)
    if _RTA_TABLE in found:
        (table,) = struct.unpack("=I", found[_RTA_TABLE])
    if table != _MAIN or kind != _UNICAST or length > 32:
        return
    network = IPv4Network((found.get(_RTA_DST, bytes(4)), length))
    metric = struct.unpack("=I", found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0
    yield network, metric, tuple(sorted(_hops(found)))


def _hops(found: Mapping[int, bytes]) -> Iterator[Hop]:
    if _RTA_GATEWAY in found and _RTA_OIF in found:
        yield from _hop(struct.unpack("=i", found[_RTA_OIF])[0], found[_RTA_GATEWAY])
    data = found.get(_RTA_MULTIPATH, b"")
    while len(data) >= _RTNEXTHOP.size:
        length, _flags, _weight, index = _RTNEXTHOP.unpack_from(data)
        if not _RTNEXTHOP.size <= length <= len(data):
            return
        gateway = attributes(data[:length], _RTNEXTHOP.size).get(_RTA_GATEWAY)
        if gateway is not None:
            yield from _hop(index, gateway)
        data = data[(length + 3) & ~3 :]


def _hop(index: int, gateway: bytes) -> Iterator[Hop]:
    try:
        yield Hop(socket.if_indextoname(index), IPv4Address(gateway))
    except OSError:  # the interface is gone already; the kernel is about to say so of the route, too
        return
