"""Is each link as it was asked for? Probes over all links at once, before any router runs: delay, loss, then the rate.

A probe is a frame of an Ethertype for experiments (IEEE 802: 0x88B5) between the two ends of a link, so that neither
addresses nor routes matter; its arrival is stamped by the kernel. The rate is that at which a queue runs empty that was
filled beforehand. Some 1.5 s for thirty links.
"""

from __future__ import annotations

import contextlib
import math
import socket
import statistics
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed import plan
from testbed.lab.node import Node
from testbed.plan.shape import frame
from testbed.units import format_duration, format_rate

Direction = tuple[str, str]  # a link's name, and the node that sends

ROUNDS = 40
PAUSE_S = 0.008
# Probes a round where packets are lost or doubled, for a share needs more of them than a delay.
MANY = 5
# How long a link needs to send what is put into its queue, in s, and in how many frames at least; how long putting it
# there may take.
TRAIN_S = 0.015
TRAIN_FRAMES = 20
FILL_S = 0.05
SETTLE_S = 0.05

# What is still as asked for: of a delay, a fixed and a relative part, and what jitter leaves uncertain of a median; of
# losses, standard deviations; of a rate, a share.
DELAY_TOLERANCE_S, DELAY_TOLERANCE, JITTER_TOLERANCE = 0.001, 0.02, 0.5
DEVIATIONS = 5
RATE_TOLERANCE = 0.1

_SHOWN = 3
_ETHERTYPE = 0x88B5
_HEADER = b"\xff" * 6 + b"\x02" + bytes(5) + _ETHERTYPE.to_bytes(2, "big")
_NUMBER = struct.Struct("=QQ")  # number, when it was sent (CLOCK_REALTIME, ns)
_LEAST = 60
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE, _SO_TIMESTAMPNS = 33, 32, 35
_BUFFER = 2**25


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """One direction of a link, asked and found: seconds, bit/s, shares. None: nothing came, or it was not measured."""

    asked: plan.Shape
    delay: float | None
    sent: int
    lost: int
    rate: float | None

    def problems(self) -> list[str]:
        """What is not as it was asked for, in words."""
        asked, found = self.asked, []
        if self.delay is None:
            return [f"none of {self.sent} probes arrived"]
        tolerance = DELAY_TOLERANCE_S + DELAY_TOLERANCE * asked.delay + JITTER_TOLERANCE * asked.jitter
        if abs(self.delay - asked.delay) > tolerance:
            found.append(f"a delay of {format_duration(self.delay)} where {format_duration(asked.delay)} was asked for")
        spread = math.sqrt(self.sent * asked.loss * (1 - asked.loss) * max(1.0, 2 * asked.loss_burst - 1))
        if abs(self.lost - self.sent * asked.loss) > DEVIATIONS * spread:
            found.append(f"{self.lost} of {self.sent} probes lost where {asked.loss:.3g} was asked for")
        if asked.rate and self.rate is not None and abs(self.rate / asked.rate - 1) > RATE_TOLERANCE:
            found.append(f"a rate of {format_rate(self.rate)} where {format_rate(asked.rate)} was asked for")
        return found

    def record(self) -> dict[str, Any]:
        """For a run's record: ms, bit/s, shares."""
        found: dict[str, Any] = {
            "delay_ms": {"asked": round(self.asked.delay * 1e3, 4), "found": _rounded(self.delay, 1e3)},
            "loss": {"asked": self.asked.loss, "found": round(self.lost / self.sent, 4)},
        }
        if self.asked.rate:
            found["rate"] = {"asked": self.asked.rate, "found": None if self.rate is None else round(self.rate)}
        return found


def check_links(links: Mapping[str, plan.Link], nodes: Mapping[str, Node]) -> dict[Direction, LinkCheck]:
    """Both directions of every link that has a rate or more. Raises OSError."""
    shaped = [link for link in links.values() if link.shape.impaired or link.shape.rate]
    with contextlib.ExitStack() as stack:
        pairs: list[tuple[_Way, _Way]] = []
        for link in shaped:
            a, b = (stack.enter_context(_socket(nodes[end.node], end.name)) for end in (link.a, link.b))
            pairs.append((_Way(link, link.a.node, a, b), _Way(link, link.b.node, b, a)))
        ways = [way for pair in pairs for way in pair]
        _probe(ways)
        for pair in pairs:
            _train(pair, ways)
        _settle(ways)
        return {(way.link.name, way.sender): way.judged() for way in ways}


def not_as_asked(checked: Mapping[Direction, LinkCheck]) -> list[str]:
    """At most one sentence, for a run's warnings."""
    found = [f"{link} from {node}: {' and '.join(p)}" for (link, node), c in checked.items() if (p := c.problems())]
    if not found:
        return []
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"before the run, links were not as they were asked for ({'; '.join(found[:_SHOWN])}{more})"]


@dataclass(slots=True)
class _Way:
    """One direction while it is measured."""

    link: plan.Link
    sender: str
    out: socket.socket
    into: socket.socket
    sent: int = 0
    delays: dict[int, float] = field(default_factory=dict)
    train: list[tuple[int, int]] = field(default_factory=list)  # a number, and when that frame arrived
    probes: int = 0
    filled: int = 0  # when the last frame had been sent; times are ns of CLOCK_REALTIME

    def send(self, size: int) -> None:
        data = _HEADER + _NUMBER.pack(self.sent, time.clock_gettime_ns(time.CLOCK_REALTIME))
        self.sent += 1
        with contextlib.suppress(OSError):  # no room in a queue: it counts as lost
            self.out.send(data.ljust(size, b"\0"))

    def take(self) -> None:
        """Read what has arrived."""
        while True:
            try:
                data, ancillary, _, _ = self.into.recvmsg(len(_HEADER) + _NUMBER.size, 64, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            number, sent = _NUMBER.unpack_from(data, len(_HEADER))
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            arrived = seconds * 10**9 + nanoseconds
            if not self.probes or number < self.probes:
                self.delays.setdefault(number, (arrived - sent) / 1e9)
            else:
                self.train.append((number, arrived))

    def judged(self) -> LinkCheck:
        delay = statistics.median(self.delays.values()) if self.delays else None
        return LinkCheck(self.link.shape, delay, self.probes, self.probes - len(self.delays), self._rate())

    def train_size(self) -> int:
        """Bytes of each frame that fills the queue."""
        return max(_LEAST, min(frame(self.link.mtu), int((self.link.shape.rate or 0) * TRAIN_S / 8 / TRAIN_FRAMES)))

    def _rate(self) -> float | None:
        """By the frames that left when the queue was not filled any more: least squares, for jitter's sake. Numbers of
        frames that were lost count as those of the others. None: the sender was too slow to fill a queue."""
        shape = self.link.shape
        empty_at = self.filled + round((shape.delay + shape.jitter) * 1e9)
        first = min((number for number, arrived in self.train if arrived > empty_at), default=None)
        behind = [pair for pair in self.train if first is not None and pair[0] >= first]
        if len(behind) < TRAIN_FRAMES // 2:
            return None
        slope = statistics.linear_regression([n for n, _ in behind], [t - behind[0][1] for _, t in behind]).slope
        return self.train_size() * 8e9 / slope if slope > 0 else None


def _probe(ways: list[_Way]) -> None:
    begin = time.monotonic()
    for number in range(ROUNDS):
        for way in ways:
            shape = way.link.shape
            for _ in range(MANY if shape.loss or shape.duplicate else 1):
                way.send(_LEAST)
        time.sleep(max(0.0, begin + (number + 1) * PAUSE_S - time.monotonic()))
    _settle(ways)
    for way in ways:
        way.probes = way.sent


def _train(pair: tuple[_Way, _Way], ways: list[_Way]) -> None:
    """Send more than the bucket and the rate let through, in both directions, and wait until it must have left."""
    shape, size = pair[0].link.shape, pair[0].train_size()
    if not shape.rate:
        return
    queued = min(max(TRAIN_FRAMES * size, int(shape.rate * TRAIN_S / 8)), shape.queue - size)
    begin, sent = time.monotonic(), 0
    while sent - shape.burst - shape.rate / 8 * (time.monotonic() - begin) < queued:
        if time.monotonic() - begin > FILL_S:
            break
        for way in pair:
            way.send(size)
        sent += size
    for way in pair:
        way.filled = time.clock_gettime_ns(time.CLOCK_REALTIME)
    time.sleep(max(0, queued) * 8 / shape.rate)
    for way in ways:  # so that no socket holds more than a few trains
        way.take()


def _settle(ways: list[_Way]) -> None:
    time.sleep(SETTLE_S + max((way.link.shape.delay + way.link.shape.jitter for way in ways), default=0.0))
    for way in ways:
        way.take()


def _socket(node: Node, interface: str) -> socket.socket:
    sock = node.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.bind((interface, _ETHERTYPE))
    sock.setblocking(False)
    return sock


def _rounded(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 4)
