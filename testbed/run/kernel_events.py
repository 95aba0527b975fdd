"""What a kernel's rtnetlink notifications say, in the words of record.Event: one interpreter for each node.

Pure but for the memory of interface names and carrier states, which later messages need.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from testbed.lab import rtnetlink as rt

_RTNL_FAMILY_IPMR = 128
_IFLA_IFNAME = 3
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE = 1, 2, 3, 4, 5, 9, 15
_RT_TABLE_LOCAL = 255
_UP = 0x1 | 0x10000  # IFF_UP and IFF_LOWER_UP: an interface that is up and has carrier
_NEXTHOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, ifindex

# Unspecified addresses: a default route has no destination.
_ANY = {int(socket.AF_INET): "0.0.0.0", int(socket.AF_INET6): "::"}

Change = tuple[str, dict[str, Any]]


class Interpreter:
    """Turns one node's messages into (kind, detail): link-down, link-up, route, mroute.

    Details: `{ifname}`; `{op, dst, via, ifname}` (`via` and `ifname` list every next hop, comma-separated, of a
    multipath route); `{op, source, group, iif, oifs}` (`oifs` a list). `op` is add (or replaced) or del. A route is
    IPv4's or IPv6's, as its `dst` says; what IPv6 has on every link of itself (link-local, multicast) is left out.
    Routes that go with their link are told of where they are IPv6's.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._up: dict[int, bool] = {}

    def learn(self, links: list[tuple[int, bytes]]) -> None:
        """Take over a dump of the interfaces as they are, without events."""
        for kind, payload in links:
            self._link(kind, payload)

    def read(self, data: bytes) -> list[Change]:
        """The changes in one datagram of notifications; what is of no interest here is left out."""
        found = []
        for kind, payload in rt.messages(data):
            change = None
            if kind in (rt.RTM_NEWLINK, rt.RTM_DELLINK) and len(payload) >= rt.IFINFOMSG.size:
                change = self._link(kind, payload)
            elif kind in (rt.RTM_NEWROUTE, rt.RTM_DELROUTE) and len(payload) >= rt.RTMSG.size:
                change = self._route("add" if kind == rt.RTM_NEWROUTE else "del", payload)
            if change is not None:
                found.append(change)
        return found

    def _link(self, kind: int, payload: bytes) -> Change | None:
        family, _type, index, flags, _change = rt.IFINFOMSG.unpack_from(payload)
        if family != socket.AF_UNSPEC:  # a bridge's view of its port
            return None
        name = rt.attributes(payload, rt.IFINFOMSG.size).get(_IFLA_IFNAME)
        if name is not None:
            self._names[index] = rt.text(name)
        up = kind == rt.RTM_NEWLINK and flags & _UP == _UP
        before = self._up.get(index, False)
        self._up[index] = up
        if up == before:
            return None
        return "link-up" if up else "link-down", {"ifname": self._name(index)}

    def _route(self, op: str, payload: bytes) -> Change | None:
        family, length, _src, _tos, table, _protocol, _scope, _type, _flags = rt.RTMSG.unpack_from(payload)
        found = rt.attributes(payload, rt.RTMSG.size)
        if family == _RTNL_FAMILY_IPMR:
            return "mroute", {
                "op": op,
                "source": _address(found.get(_RTA_SRC)),
                "group": _address(found.get(_RTA_DST)),
                "iif": self._name(_integer(found.get(_RTA_IIF))),
                "oifs": [self._name(index) for _, index in _next_hops(found.get(_RTA_MULTIPATH, b""))],
            }
        if family not in _ANY or (_integer(found.get(_RTA_TABLE)) or table) == _RT_TABLE_LOCAL:
            return None
        if family == socket.AF_INET6 and found.get(_RTA_DST, b"")[:1] in (b"\xfe", b"\xff"):
            return None
        hops = _next_hops(found.get(_RTA_MULTIPATH, b""))
        if not hops and _RTA_OIF in found:
            hops = [(found.get(_RTA_GATEWAY), _integer(found[_RTA_OIF]))]
        return "route", {
            "op": op,
            "dst": f"{_address(found.get(_RTA_DST), _ANY[family])}/{length}",
            "via": ",".join(_address(gateway) for gateway, _ in hops if gateway),
            "ifname": ",".join(self._name(index) for _, index in hops),
        }

    def _name(self, index: int) -> str:
        return self._names.get(index, f"if{index}" if index else "")


def _address(attribute: bytes | None, otherwise: str = "0.0.0.0") -> str:
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(attribute or b""))
    return socket.inet_ntop(family, attribute) if family and attribute else otherwise


def _integer(attribute: bytes | None) -> int:
    return int(struct.unpack_from("=I", attribute)[0]) if attribute and len(attribute) >= 4 else 0


def _next_hops(data: bytes) -> list[tuple[bytes | None, int]]:
    """(gateway, interface index) of each entry of an RTA_MULTIPATH attribute."""
    hops, offset = [], 0
    while offset + _NEXTHOP.size <= len(data):
        length, _flags, _hops, index = _NEXTHOP.unpack_from(data, offset)
        if not _NEXTHOP.size <= length <= len(data) - offset:
            break
        inner = rt.attributes(data[offset : offset + length], _NEXTHOP.size)
        hops.append((inner.get(_RTA_GATEWAY), index))
        offset += (length + 3) & ~3
    return hops
