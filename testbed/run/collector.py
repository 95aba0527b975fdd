"""The probe collector, a program of its own: `python -m testbed.run.collector --config JSON`.

One process listens for all destinations: it opens a socket in each host's network namespace, joins the sync's
group there if it has one, and empties every socket once a poll period (the kernel has stamped the datagrams on
arrival, so the period costs no precision). `--config` is a file, or the JSON itself:

    {"directory": where the records go, "interval": seconds between probes, "poll": seconds,
     "streams": [{"sync": number, "name": the sync's, "host", "pid", "interface": "eth0",
                  "address": the group's, or the host's own, "source": address or null (join any source),
                  "port": 5001}, ...]}

Standard output gets JSON lines {"t", "kind", "node", "detail"}: `ready` once all sockets are open, `first-probe`,
`outage-start` and `outage-end` as they show (for the live display: outages.py works on the records), and on SIGTERM
or SIGINT `summary`, when the records are written. The sender's end looks like an outage that stays open.
"""

from __future__ import annotations

import argparse
import gc
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np

from testbed.lab.namespace import inside
from testbed.run.batch import SO_TIMESTAMPNS, Batch, drops
from testbed.run.clock import MonotonicStamps
from testbed.run.probe import HEADER, HEADER_DTYPE, MAGIC, PORT, Int64s, Probes, record_name, write_records
from testbed.run.program import Stop, read_config, say

_MCAST_JOIN_GROUP = 42
_MCAST_JOIN_SOURCE_GROUP = 46
_IP_MULTICAST_ALL = 49
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_SILENT_INTERVALS = 5


def _sockaddr(address: str) -> bytes:
    """A sockaddr_storage holding an IPv4 address."""
    return struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(address))


def open_socket(address: str, source: str | None, port: int, interface: str) -> socket.socket:
    """A stamped, non-blocking UDP socket at `address`, in the caller's network namespace; if that is a group's, joined
    to it on `interface`.

    With a `source` the join is source-specific (IGMPv3; the protocol-independent API of RFC 3678 section 5).
    Raises OSError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        sock.bind((address, port))
        if IPv4Address(address).is_multicast:
            request = struct.pack("=I4x", socket.if_nametoindex(interface)) + _sockaddr(address)
            if source is None:
                sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_GROUP, request)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _MCAST_JOIN_SOURCE_GROUP, request + _sockaddr(source))
    except BaseException:
        sock.close()
        raise
    return sock


Line = tuple[float, str, dict[str, Any]]


class Stream:
    """What one host receives of one sync: its records, and whether it looks silent right now."""

    def __init__(self, host: str, sync: int, name: str, interval_ns: int) -> None:
        self.host, self.sync, self.name = host, sync, name
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
        before_seq = np.concatenate(([self._last_seq], seq[:-1]))
        before_ns = np.concatenate(([self._last_ns], received_ns[:-1]))
        hole = (received_ns - before_ns > self._silence_ns) & (seq - before_seq > 1)
        if self._silent and not hole[0]:
            yield received_ns[0] / 1e9, "outage-end", {"lost": 0}
        for i in np.flatnonzero(hole):
            if i or not self._silent:
                yield (int(before_ns[i]) + self._interval_ns) / 1e9, "outage-start", {}
            yield received_ns[i] / 1e9, "outage-end", {"lost": int(seq[i] - before_seq[i]) - 1}
        self._silent = False
        self._last_seq, self._last_ns = int(seq[-1]), int(received_ns[-1])

    def idle(self, now_ns: int) -> Iterator[Line]:
        """Nothing is queued at `now_ns`: say so once that has lasted too long."""
        if self.received and not self._silent and now_ns - self._last_ns > self._silence_ns:
            self._silent = True
            yield (self._last_ns + self._interval_ns) / 1e9, "outage-start", {}


class Collector:
    """All streams, their sockets, and the loop over them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.directory = Path(config["directory"])
        self.poll = float(config.get("poll", 0.02))
        interval_ns = round(float(config["interval"]) * 1e9)
        self._stamps = MonotonicStamps()
        self._batch = Batch(256, HEADER.size)
        self._sockets: list[tuple[Stream, socket.socket, float]] = []
        for spec in config["streams"]:
            address, source, port = spec["address"], spec.get("source"), int(spec.get("port", PORT))
            interface = spec.get("interface", "eth0")
            sock = inside(
                spec["pid"], lambda a=address, s=source, p=port, i=interface: open_socket(a, s, p, i)  # type: ignore[misc]
            )
            stream = Stream(spec["host"], spec["sync"], spec["name"], interval_ns)
            self._sockets.append((stream, sock, time.monotonic()))

    def drain(self) -> Iterator[tuple[str, Line]]:
        """Empty every socket; yield (host, change of state)."""
        for stream, sock, _ in self._sockets:
            while True:
                now_ns = time.monotonic_ns()
                data, realtime = self._batch.receive(sock)
                if not len(data):
                    break
                # Measured after the stamps were made, once a batch: the realtime clock may be slewed meanwhile.
                for line in stream.take(data, realtime - self._stamps.refresh()):
                    yield stream.host, line
            for line in stream.idle(now_ns):
                yield stream.host, line

    def finish(self) -> dict[str, Any]:
        """Write the records; return the summary."""
        self.directory.mkdir(parents=True, exist_ok=True)
        streams = []
        for stream, sock, joined in self._sockets:
            name = record_name(stream.name, stream.host)
            write_records(self.directory / name, stream.probes())
            streams.append(
                {
                    "host": stream.host,
                    "sync": stream.name,
                    "received": stream.received,
                    "joined": joined,
                    "socket_drops": drops(sock),
                    "file": name,
                }
            )
            sock.close()
        return {
            "streams": streams,
            "clock_error_ms": self._stamps.error_ns / 1e6,
            "clock_steps": self._stamps.steps,
            "cpu_s": time.process_time(),
        }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="testbed.run.collector", description=__doc__)
    parser.add_argument("--config", required=True, help="a JSON file, or the JSON itself")
    config = read_config(parser.parse_args(arguments).config)
    stop = Stop()
    collector = Collector(config)
    gc.freeze()
    say(time.monotonic(), "ready")
    stopped = False
    while not stopped:
        stopped = stop.wait(collector.poll)
        for host, (t, kind, detail) in collector.drain():
            say(t, kind, host, detail)
    say(time.monotonic(), "summary", "", collector.finish())
    return 0


if __name__ == "__main__":
    sys.exit(main())
