"""The probe sender, a program of its own: `python -m testbed.run.probe_sender --to A [A ...] --source A ...`.

Started inside the repository host's namespaces. Sends one probe every interval, to the group or to each destination,
each at an absolute deadline of CLOCK_MONOTONIC; with --told, from when a line on standard input says so. A sender that
wakes too late skips the deadlines it missed and never bursts: a burst would look like a repaired outage. Prints JSON
lines {"t", "kind", "node", "detail"}: `ready` before the first probe and, on SIGTERM or SIGINT, `summary` (the fields
of Summary).
"""

from __future__ import annotations

import argparse
import gc
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from testbed.run.probe import HEADER, MAGIC, PORT, TTL
from testbed.run.program import Orders, Stop, raise_priority, say

_BUCKET_NS = 10_000
_BUCKETS = 100_000  # up to 1 s; what is later falls into the last one


@dataclass(frozen=True, slots=True)
class Summary:
    """What was sent. `sent` probes have sequence numbers 0..sent-1; lateness is behind the deadline.

    `skipped`: deadlines missed by more than an interval (no sequence number was used up for them).
    `refused`: probes the socket did not take (the host's link was down); they count as sent, and as lost.
    """

    sent: int
    skipped: int
    refused: int
    first_sent_ns: int
    last_sent_ns: int
    late_max_ms: float
    late_p99_ms: float
    scheduling: str


def open_socket(source: str, interface: str, ttl: int = TTL) -> socket.socket:
    """A UDP socket that sends from `source`, multicast out of `interface`. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    index = socket.if_nametoindex(interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    sock.bind((source, 0))
    return sock


def send_probes(
    send: Callable[[bytearray], object],
    wait: Callable[[float], bool],
    now_ns: Callable[[], int],
    *,
    sync: int,
    interval_ns: int,
    size: int,
    scheduling: str = "",
) -> Summary:
    """Send until `wait(seconds)` answers True. `send` may raise OSError: the probe is then lost at its source."""
    packet = bytearray(max(size, HEADER.size))
    late = [0] * _BUCKETS
    late_max = seq = skipped = refused = first = last = 0
    deadline = now_ns()
    while not wait(max(0, deadline - now_ns()) / 1e9):
        now = now_ns()
        if now < deadline:
            continue
        missed = (now - deadline) // interval_ns
        skipped += missed
        lateness = now - deadline
        late_max = max(late_max, lateness)
        late[min(lateness // _BUCKET_NS, _BUCKETS - 1)] += 1
        HEADER.pack_into(packet, 0, MAGIC, sync, seq, now)
        try:
            send(packet)
        except OSError:
            refused += 1
        first, last = first or now, now
        seq += 1
        deadline += (missed + 1) * interval_ns
    p99 = min(_percentile_ns(late, seq, 0.99), late_max)
    return Summary(seq, skipped, refused, first, last, late_max / 1e6, p99 / 1e6, scheduling)


def _percentile_ns(histogram: list[int], total: int, ratio: float) -> int:
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if total and seen >= ratio * total:
            return (bucket + 1) * _BUCKET_NS
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="testbed.run.probe_sender", description=__doc__)
    parser.add_argument("--to", required=True, nargs="+", help="the sync's group, or every destination's address")
    parser.add_argument("--source", required=True, help="the sending host's address")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--ttl", type=int, default=TTL)
    parser.add_argument("--sync", type=int, default=1, help="the sync's number")
    parser.add_argument("--interval", type=float, default=0.001, help="seconds")
    parser.add_argument("--size", type=int, default=64, help="bytes of UDP payload")
    parser.add_argument("--told", action="store_true", help="begin when standard input says so")
    options = parser.parse_args(arguments)

    stop = Stop()
    scheduling = raise_priority()
    gc.disable()
    with open_socket(options.source, options.interface, options.ttl) as sock:
        places = [(address, options.port) for address in options.to]

        def send(packet: bytearray) -> None:
            for place in places:
                sock.sendto(packet, place)

        say(time.monotonic(), "ready")
        if options.told:
            orders = Orders()
            if not stop.wait(None, orders) and not orders.read():  # whoever might have said so is gone
                stop.request()
        summary = send_probes(
            send,
            stop.wait,
            time.monotonic_ns,
            sync=options.sync,
            interval_ns=round(options.interval * 1e9),
            size=options.size,
            scheduling=scheduling,
        )
    say(time.monotonic(), "summary", "", asdict(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
