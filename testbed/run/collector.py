"""The probe collector, a program of its own: `python -m testbed.run.collector --config JSON`.

One process listens for all destinations: it opens a socket in each host's network namespace, joins the sync's
group there if it has one, and empties every socket once a poll period (the kernel has stamped the datagrams on
arrival, so the period costs no precision). `--config` is a file, or the JSON itself:

    {"directory": where the records go, "poll": seconds,
     "streams": [{"sync": number, "name": the sync's, "host", "pid", "interface": "eth0",
                  "address": the group's, or the host's own, "source": address or null (join any source),
                  "port": 5001, "interval": seconds between probes, "told": false, "background": false}, ...],
     "joins": [{"pid", "interface": "eth0", "channels": [[group, source or null], ...]}, ...]}

What `joins` names is joined and never read. Of a sync that is `told` the sockets are open from the beginning, and join
when standard input says `join SYNC` (its number); after `leave SYNC` nobody expects probes of it any more. What is
joined stays joined to the end.

Standard output gets JSON lines {"t", "kind", "node", "detail"}: `ready` once all sockets are open, `joined` and `left`
where that was told, `first-probe`, `outage-start` and `outage-end` as they show (for the live display: outages.py works
on the records; not of what is `background`), and on SIGTERM or SIGINT `summary`, when the records are written. The end
of a sender without a `leave` looks like an outage that stays open.
"""

from __future__ import annotations

import argparse
import gc
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np

from testbed.lab.namespace import inside
from testbed.run.batch import SO_TIMESTAMPNS, Batch, drops
from testbed.run.clock import MonotonicStamps
from testbed.run.probe import HEADER, HEADER_DTYPE, MAGIC, PORT, Int64s, Probes, record_name, write_records
from testbed.run.program import Orders, Stop, read_config, say

_MCAST_JOIN_GROUP = 42
_MCAST_JOIN_SOURCE_GROUP = 46
_IP_MULTICAST_ALL = 49
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_SILENT_INTERVALS = 5
_MEMBERSHIPS = 20  # of one socket (net.ipv4.igmp_max_memberships)


def _sockaddr(address: str) -> bytes:
    """A sockaddr_storage holding an IPv4 address."""
    return struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(address))


def open_socket(address: str, port: int) -> socket.socket:
    """A stamped, non-blocking UDP socket at `address`, in the caller's network namespace. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def join(sock: socket.socket, group: str, source: str | None, index: int) -> None:
    """Join a group on the interface with this index; from a `source`, only what that sends (IGMPv3; the
    protocol-independent API of RFC 3678 section 5). From any namespace: the socket has its own. Raises OSError."""
    request = struct.pack("=I4x", index) + _sockaddr(group)
    if source is None:
        sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_GROUP, request)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_SOURCE_GROUP, request + _sockaddr(source))


Line = tuple[float, str, dict[str, Any]]


class Stream:
    """What one host receives of one sync: its records, and whether it looks silent right now."""

    def __init__(self, host: str, sync: int, name: str, interval_ns: int, background: bool = False) -> None:
        self.host, self.sync, self.name, self.background = host, sync, name, background
        self.received = 0
        self._interval_ns, self._silence_ns = interval_ns, _SILENT_INTERVALS * interval_ns
        self._parts: list[tuple[Int64s, Int64s, Int64s]] = []
        self._last_ns = self._last_seq = 0
        self._silent = False

    def probes(self) -> Probes:
        if not self._parts:
            empty = np.zeros(0, np.int64)
            return Probes(empty, empty, empty)
        return Probes(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))

    def take(self, data: np.ndarray[Any, Any], received_ns: Int64s) -> Iterator[Line]:
        """Record a batch; yield the changes of state it shows."""
        header = data.view(HEADER_DTYPE)[:, 0]
        ours = (header["magic"] == MAGIC) & (header["sync"] == self.sync)
        seq = header["seq"][ours].astype(np.int64)
        if not len(seq):
            return
        sent_ns, received_ns = header["sent_ns"][ours].astype(np.int64), received_ns[ours]
        self._parts.append((seq, sent_ns, received_ns))
        if not self.received:
            yield received_ns[0] / 1e9, "first-probe", {"sync": self.name, "seq": int(seq[0])}
            self._last_seq, self._last_ns = int(seq[0]), int(received_ns[0])
        self.received += len(seq)
        if self.background:
            return
        before_seq = np.concatenate(([self._last_seq], seq[:-1]))
        before_ns = np.concatenate(([self._last_ns], received_ns[:-1]))
        hole = (received_ns - before_ns > self._silence_ns) & (seq - before_seq > 1)
        if self._silent and not hole[0]:
            yield received_ns[0] / 1e9, "outage-end", {"sync": self.name, "lost": 0}
        for i in np.flatnonzero(hole):
            if i or not self._silent:
                yield (int(before_ns[i]) + self._interval_ns) / 1e9, "outage-start", {"sync": self.name}
            yield received_ns[i] / 1e9, "outage-end", {"sync": self.name, "lost": int(seq[i] - before_seq[i]) - 1}
        self._silent = False
        self._last_seq, self._last_ns = int(seq[-1]), int(received_ns[-1])

    def idle(self, now_ns: int) -> Iterator[Line]:
        """Nothing is queued at `now_ns`: say so once that has lasted too long."""
        if self.background:
            return
        if self.received and not self._silent and now_ns - self._last_ns > self._silence_ns:
            self._silent = True
            yield (self._last_ns + self._interval_ns) / 1e9, "outage-start", {"sync": self.name}


@dataclass(slots=True)
class Place:
    """Where a stream is heard. `joined`: when its group was joined, CLOCK_MONOTONIC seconds; `over`: no probes are
    expected any more."""

    stream: Stream
    sock: socket.socket
    address: str
    source: str | None
    index: int
    joined: float | None = None
    over: bool = False

    def join(self) -> None:
        self.joined = time.monotonic()
        if IPv4Address(self.address).is_multicast:
            join(self.sock, self.address, self.source, self.index)


class Collector:
    """All streams, their sockets, and the loop over them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.directory = Path(config["directory"])
        self.poll = float(config.get("poll", 0.02))
        self._stamps = MonotonicStamps()
        self._batch = Batch(256, HEADER.size)
        self._places: list[Place] = []
        self._members = [inside(spec["pid"], partial(_join_all, spec)) for spec in config.get("joins", ())]
        for spec in config["streams"]:
            interval_ns = round(float(spec["interval"]) * 1e9)
            stream = Stream(spec["host"], spec["sync"], spec["name"], interval_ns, bool(spec.get("background")))
            place = inside(spec["pid"], lambda spec=spec, stream=stream: _open(spec, stream))  # type: ignore[misc]
            if not spec.get("told"):
                place.join()
            self._places.append(place)
        self.told = any(spec.get("told") for spec in config["streams"])

    def obey(self, order: str) -> Iterator[tuple[str, Line]]:
        """`join SYNC` or `leave SYNC`; yield (host, change of state)."""
        what, number = order.split()
        for place in self._places:
            if place.stream.sync != int(number):
                continue
            if what == "join":
                place.join()
                yield place.stream.host, (place.joined or 0.0, "joined", {"sync": place.stream.name})
            else:
                place.over = True
                yield place.stream.host, (time.monotonic(), "left", {"sync": place.stream.name})

    def drain(self) -> Iterator[tuple[str, Line]]:
        """Empty every socket; yield (host, change of state)."""
        for place in self._places:
            stream = place.stream
            while True:
                now_ns = time.monotonic_ns()
                data, realtime = self._batch.receive(place.sock)
                if not len(data):
                    break
                # Measured after the stamps were made, once a batch: the realtime clock may be slewed meanwhile.
                for line in stream.take(data, realtime - self._stamps.refresh()):
                    yield stream.host, line
            for line in () if place.over else stream.idle(now_ns):
                yield stream.host, line

    def finish(self) -> dict[str, Any]:
        """Write the records; return the summary."""
        self.directory.mkdir(parents=True, exist_ok=True)
        streams = []
        for place in self._places:
            stream = place.stream
            name = record_name(stream.name, stream.host)
            write_records(self.directory / name, stream.probes())
            streams.append(
                {
                    "host": stream.host,
                    "sync": stream.name,
                    "received": stream.received,
                    "joined": place.joined,
                    "socket_drops": drops(place.sock),
                    "file": name,
                }
            )
            place.sock.close()
        return {
            "streams": streams,
            "clock_error_ms": self._stamps.error_ns / 1e6,
            "clock_steps": self._stamps.steps,
            "cpu_s": time.process_time(),
        }


def _open(spec: dict[str, Any], stream: Stream) -> Place:
    """In the namespaces of the host."""
    sock = open_socket(spec["address"], int(spec.get("port", PORT)))
    index = socket.if_nametoindex(spec.get("interface", "eth0"))
    return Place(stream, sock, spec["address"], spec.get("source"), index)


def _join_all(spec: dict[str, Any]) -> list[socket.socket]:
    """In the namespaces of the host: sockets that are members of its channels, and receive nothing."""
    index = socket.if_nametoindex(spec.get("interface", "eth0"))
    sockets = []
    for position, (group, source) in enumerate(spec["channels"]):
        if position % _MEMBERSHIPS == 0:
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        join(sockets[-1], group, source, index)
    return sockets


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="testbed.run.collector", description=__doc__)
    parser.add_argument("--config", required=True, help="a JSON file, or the JSON itself")
    config = read_config(parser.parse_args(arguments).config)
    stop = Stop()
    collector = Collector(config)
    gc.freeze()
    say(time.monotonic(), "ready")
    orders = Orders() if collector.told else None
    stopped = False
    while not stopped:
        stopped = stop.wait(collector.poll, orders)
        for order in orders.read() if orders else ():
            for host, (t, kind, detail) in collector.obey(order):
                say(t, kind, host, detail)
        for host, (t, kind, detail) in collector.drain():
            say(t, kind, host, detail)
    say(time.monotonic(), "summary", "", collector.finish())
    return 0


if __name__ == "__main__":
    sys.exit(main())
