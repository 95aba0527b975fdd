"""How deep a link's queue and how big its token bucket must be for the rate that was asked for.

A token bucket filter (TBF) gives the rate it was told only if two sizes fit the link:

burst   The bucket. A qdisc that has run out of tokens is woken by a timer, and wakes late: up to a tick of the
        kernel when the CPU is shared with the routers of the whole lab. What does not fit into the bucket until
        then is lost to the rate. It must also hold the biggest buffer that the stack hands over in one piece
        (64 KiB of segments under GSO, each counted with its headers), else TBF cuts each of those in software.
queue   What waits for tokens. Too short, and a sender's own burst, or a sender that was not scheduled for some
        milliseconds and catches up, is dropped at a link it does not overload; no longer than needed, for it is
        also what a probe waits behind.

Tried: a bucket of 3 kB ("1 Gb/s" of munet) passes 0.3 Mb/s; 256 kB with a queue of 4 MB at 1 Gb/s passes 957 Mb/s.
64 KiB and no room for headers, at 10 Mb/s and an MTU of 1500: TCP's buffers arrive in pieces of 5 kB, with 880 drops
in 2 s instead of 20. `bench/shaping.py` measures what these sizes give.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from testbed.errors import Problem, RequestError
from testbed.plan.types import Shape
from testbed.spec.limits import MAX_RATE, MIN_RATE
from testbed.spec.topology import Link, LinkDefaults
from testbed.units import format_duration, format_rate, format_size

# A frame is its MTU and an Ethernet header; TBF counts both.
ETHERNET_HEADER = 14
# The biggest buffer under GSO (linux: GSO_LEGACY_MAX_SIZE), and the headers of its segments: 66 bytes for each of the
# 54 that an MTU of 1280 makes of it.
LARGEST_BUFFER = 64 * 1024 + 4 * 1024
# How late a qdisc's timer may be served, in s: one tick of Debian's kernels (CONFIG_HZ=250).
TIMER_SLACK = 0.004
# How long a sender may catch up for after it was not scheduled, in s.
SENDER_SLACK = 0.030
# The bytes that a TBF can be told to hold: netlink carries them in 32 bits.
LARGEST_QUEUE = 2**32 - 1
# Frames that fit into any queue, so that slow links take a burst of routing packets and a sender's batch.
LEAST_FRAMES = 64
# netem holds what is on the way, and counts it in packets: room for packets as small as this, in bytes.
SMALL_PACKET = 256
# What stands for the rate of an unshaped link when packets on the way are counted: more than a veth pair passes.
UNSHAPED_RATE = 10 * 10**9


def frame(mtu: int) -> int:
    """Bytes of the longest frame on a link."""
    return mtu + ETHERNET_HEADER


def burst_for(rate: int, mtu: int) -> int:
    """Bytes of a TBF's bucket for a rate in bit/s."""
    return max(math.ceil(rate * TIMER_SLACK / 8), LARGEST_BUFFER, 2 * frame(mtu))


def queue_for(rate: int, delay: float, mtu: int) -> int:
    """Bytes that may wait for a rate in bit/s.

    The longest of: what the sender catches up with; the link's own round trip (the window of a TCP that this
    link alone delays); some frames. Never less than the bucket, so that a whole burst can wait for the next.
    Never more than a TBF can be told: 100 Gb/s with a round trip of 2 s would want 25 GB.
    """
    catching_up = math.ceil(rate * SENDER_SLACK / 8)
    round_trip = math.ceil(rate * 2 * delay / 8)
    wanted = max(catching_up, round_trip, LEAST_FRAMES * frame(mtu), burst_for(rate, mtu))
    return min(wanted, LARGEST_QUEUE)


def netem_limit(shape: Shape) -> int:
    """Packets that netem must be able to hold so that it drops none by itself: all that are on the way, small
    ones, and the queue. (Its default of 1000 is full at 500 Mb/s, 9000 byte packets and 144 ms; with small
    packets long before.)"""
    on_the_way = (shape.rate or UNSHAPED_RATE) * (shape.delay + shape.jitter) / 8
    return max(1000, math.ceil((on_the_way + shape.queue) / SMALL_PACKET))


def burst_chances(loss: float, burst: float) -> tuple[float, float]:
    """The chances, at each packet, of going over to losing all packets, and of going back to losing none (Gilbert's
    model), where a share `loss` of the packets is lost, `burst` in a row in the mean (1 or more).

    Bursts end with a chance of 1 / burst, so their lengths are geometric; the share of time in a burst is the loss.
    The first is above 1 where that is impossible: each pause lasts at least one packet.
    """
    to_good = 1 / burst
    return (loss * to_good / (1 - loss) if loss < 1 else math.inf), to_good


def shape_of(link: Link, defaults: LinkDefaults, mtu: int) -> Shape:
    """The shape of each direction of a link. An unshaped link has neither queue nor bucket: both are 0.

    Raises RequestError for a queue that no TBF can be told.
    """
    rate = defaults.rate if link.rate is None else link.rate
    delay = defaults.delay if link.delay is None else link.delay
    jitter = defaults.jitter if link.jitter is None else link.jitter
    loss = defaults.loss if link.loss is None else link.loss
    asked_queue = defaults.queue if link.queue is None else link.queue
    chances = {
        "loss_burst": defaults.loss_burst if link.loss_burst is None else link.loss_burst,
        "duplicate": defaults.duplicate if link.duplicate is None else link.duplicate,
        "reorder": defaults.reorder if link.reorder is None else link.reorder,
    }
    seed = defaults.seed if link.seed is None else link.seed
    if rate is None:
        return Shape(None, delay, jitter, loss, queue=asked_queue or 0, burst=0, **chances, seed=seed)
    queue = queue_for(rate, delay, mtu) if asked_queue is None else asked_queue
    if queue > LARGEST_QUEUE:
        what = f"a queue of {format_size(queue)} is more than a TBF can be told"
        hint = f"leave queue out, or ask for {format_size(LARGEST_QUEUE)} at most"
        raise RequestError([Problem(what, where=f"link {link.name or f'{link.a}-{link.b}'}", hint=hint)])
    return Shape(rate, delay, jitter, loss, queue, burst_for(rate, mtu), **chances, seed=seed)


def without_impairments(shape: Shape) -> Shape:
    """The same with its rate and queue alone."""
    return Shape(shape.rate, 0.0, 0.0, 0.0, shape.queue, shape.burst)


def reshaped(shape: Shape, mtu: int, **changes: Any) -> Shape:
    """A shape with other fields, its bucket and queue made to fit.

    The queue stays what it is, in bytes, as a router's buffer does; but it holds a bucket, and a link that had no rate
    gets the queue of one that has. Raises RequestError for what no link can be like.
    """
    new = replace(shape, **changes)
    wrong = []
    if new.rate is not None and not MIN_RATE <= new.rate <= MAX_RATE:
        wrong.append(f"a rate of {format_rate(new.rate)} (from {format_rate(MIN_RATE)} to {format_rate(MAX_RATE)})")
    wrong += [f"a {name} of {value} s" for name, value in (("delay", new.delay), ("jitter", new.jitter)) if value < 0]
    if new.jitter > new.delay:
        wrong.append(f"a jitter of {format_duration(new.jitter)} at a delay of {format_duration(new.delay)}")
    chances = {"loss": new.loss, "duplicate": new.duplicate, "reorder": new.reorder}
    wrong += [f"a chance of {name} of {value} (from 0 to 1)" for name, value in chances.items() if not 0 <= value <= 1]
    if new.loss_burst and (new.loss_burst < 1 or burst_chances(new.loss, new.loss_burst)[0] > 1):
        wrong.append(f"{new.loss:.4g} of its packets lost with {new.loss_burst:g} in a row in the mean")
    if wrong:
        raise RequestError([Problem(f"a link cannot have {what}") for what in wrong])
    if new.rate is None:
        return new
    burst = burst_for(new.rate, mtu)
    queue = queue_for(new.rate, new.delay, mtu) if shape.rate is None else max(new.queue, burst)
    return replace(new, burst=burst, queue=queue)


# The link between an edge router and its own host: as fast as the machine.
LAN = Shape(rate=None, delay=0.0, jitter=0.0, loss=0.0, queue=0, burst=0)
