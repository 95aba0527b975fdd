"""What FRR itself says while it converges: BFD sessions, adjacencies, LSAs, at every router and in every scheme alike.

Once the network stands, ospfd and bfdd are told by vty to write the lines that matter to a file beside their log
(`<daemon>-stages.log` in the bundle). A line is a few microseconds of a daemon's time, and a fault is a few lines.
The alternatives say less: an OSPF API client hears LSAs, but PIM's routers have none, and vtysh knows no times.

FRR stamps a line when it is logged, in microseconds of local wall-clock time. Stamps become CLOCK_MONOTONIC by the
offset between the clocks, read at both ends of the run; how far that moved in between is how far a stamp may be wrong,
and stands in the `frr-clock` event.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from testbed.lab import vty
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.record import Event
from testbed.run.clock import Offset, measure_offset

RESOLUTION_MS = 0.001
_OSPFD = (
    "configure terminal",
    "log timestamp precision 6",
    "log filter-text AdjChg",
    "log filter-text Install",
    "log filtered-file /var/log/ospfd-stages.log debugging",
    "debug ospf lsa install",
    "router ospf",
    "log-adjacency-changes detail",
)
_BFDD = (
    "configure terminal",
    "log timestamp precision 6",
    "log filter-text state-change",
    "log filtered-file /var/log/bfdd-stages.log debugging",
    "debug bfd peer",
)
_WATCHED = {"ospfd": _OSPFD, "bfdd": _BFDD}

_STAMP = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}) ")
_BFD = re.compile(r"state-change: \[.*?ifname:(\S+)\] (\w+) -> (\w+)(?: reason:(\S+))?")
_ADJACENCY = re.compile(r"AdjChg: Nbr ([\d.]+).*? on ([^\s:]+)\S*: (\w+) -> (\w+) \((\S+)\)")
_LSA = re.compile(r"LSA\[Type(\d+),id\(([\d.]+)\),ar\(([\d.]+)\)\]: Install ")


class FrrLog:
    """The daemons' stage logs of one lab, from `watch` on."""

    def __init__(self, lab: Lab, run: str) -> None:
        self._lab, self._run = lab, run
        self._names = {str(n.spec.loopback.ip): n.name for n in lab.routers if n.spec.loopback is not None}
        self._offset = measure_offset()
        self._refused: list[Event] = []

    def watch(self) -> None:
        """Tell every ospfd and bfdd what to write. One that refuses is recorded, and its stages stay unknown."""
        for node in self._lab.routers:
            for daemon in _WATCHED:
                self.watch_again(node.name, daemon)

    def watch_again(self, router: str, daemon: str) -> None:
        """The same for one that was started anew and knows nothing of it."""
        socket = self._lab[router].folder / "run/frr" / f"{daemon}.vty"
        try:
            if daemon in _WATCHED and socket.exists():  # a timer profile may do without BFD
                vty.converse(socket, _WATCHED[daemon])
        except vty.VtyError as error:
            detail = {"daemon": daemon, "why": str(error)}
            self._refused.append(Event(time.monotonic(), self._run, "unwatched", router, detail))

    def events(self) -> Iterator[Event]:
        """What was said since, in no order: bfd, neighbour, lsa (see record.Event), and one frr-clock."""
        now = measure_offset()
        yield from self._refused
        moved = abs(now.offset_ns - self._offset.offset_ns) + now.error_ns + self._offset.error_ns
        detail = {"error_ms": round(moved / 1e6, 4), "resolution_ms": RESOLUTION_MS}
        yield Event(time.monotonic(), self._run, "frr-clock", "", detail)
        for node in self._lab.routers:
            for daemon in _WATCHED:
                for t, kind, found in read(_lines(node, daemon), now, self._names, node.name):
                    yield Event(t, self._run, kind, node.name, found)


def read(
    lines: Iterable[str], offset: Offset, names: Mapping[str, str], node: str
) -> Iterator[tuple[float, str, dict[str, Any]]]:
    """(CLOCK_MONOTONIC, kind, detail) of the lines of one router's daemon; `names` are the routers' by router ID.

    - bfd `{ifname, from, to, reason}`: a session's state changed;
    - neighbour `{neighbour, ifname, from, to, event}`: an adjacency became Full or ceased to be (RFC 2328 10.3);
    - lsa `{type, id, router, own}`: an instance was installed (RFC 2328 13.2): `own` where the router originated it,
      else it has just been heard.
    """
    for line in lines:
        if not (stamp := _STAMP.match(line)):
            continue  # cut off, or of another format
        t = datetime.strptime(stamp[1], "%Y/%m/%d %H:%M:%S.%f").timestamp() - offset.offset_ns / 1e9
        if found := _LSA.search(line):
            origin = names.get(found[3], found[3])
            yield t, "lsa", {"type": int(found[1]), "id": found[2], "router": origin, "own": origin == node}
        elif (found := _ADJACENCY.search(line)) and "Full" in (found[3], found[4]):
            neighbour = names.get(found[1], found[1])
            detail = {"neighbour": neighbour, "ifname": found[2], "from": found[3], "to": found[4], "event": found[5]}
            yield t, "neighbour", detail
        elif found := _BFD.search(line):
            detail = {"ifname": found[1], "from": found[2], "to": found[3], "reason": found[4] or ""}
            yield t, "bfd", detail


def _lines(node: Node, daemon: str) -> list[str]:
    try:
        return (node.folder / "log" / f"{daemon}-stages.log").read_text(errors="replace").splitlines()
    except OSError:
        return []
