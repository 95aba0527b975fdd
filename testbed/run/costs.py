"""What an outage went to: the IGP, the controller, its messages' way, the routers, and the packet's. Pure.

An outage has a course of moments, each of which waited for the one before; what lies between two of them is charged to
whoever was at work there. So the parts add up to the outage, and what nobody was at work for stands apart.

Where a controller switched the root to another tree, and packets were back no sooner, the course is read backwards from
that message: it was sent when the last router of the level below had confirmed, which had been sent its own message
when..., down to the first, which was sent when the tree had been computed, of an LSA that the controller had heard:

    fault > detected > LSA heard > computed, sent > received > in force > confirmed > sent > ... > in force > packet
          detection  IGP       controller     distance   routers    distance  controller

All clocks are one, so that a message's way out and its way back are each known by themselves. Distance is what the
fastest message between the controller and that router took in the run, out or back. What another took on top of that,
it was held up: it was lost and sent again, waited for the network to heal, or for somebody to read it.

In every other case: detected, the path repaired by the IGP (as the scheme's agent heard it, where it tells; else the
kernel's route), the scheme's own state in force (PIM's mroute, BIER's BIFT, rows of a forwarder), packet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from testbed.record import Event

PARTS = ("before", "detection", "igp", "controller", "distance", "held", "routers", "packet", "unexplained")
_SLACK_S = 0.002  # an agent is told that a change is done when packets may have come already


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of one outage at one site. Moments are CLOCK_MONOTONIC seconds, None: not known.

    `start`, `end`: when its first lost probe was sent, and when one came again, which had been on its way for
    `travel_s`; a probe is sent every `probes_s`. `detected`; `repaired`: by the IGP. `state`: the last event of the
    scheme's own on the path before the end.
    """

    fault: float
    start: float
    end: float
    travel_s: float
    probes_s: float
    detected: float | None
    repaired: float | None
    state: Event | None


def find_costs(course: Course, events: Iterable[Event]) -> dict[str, Any]:
    """`<part>_ms` for each of PARTS, which are: from the fault to the first lost probe (of the cut itself, no part of
    the outage); then, together the outage: until somebody noticed; until the IGP had told; the controller's own time;
    its messages' and the answers' way, and for how long they were held up on it; routers', from a message, a route or a
    Join to state in force; the first packet's way, and its wait to be sent; and what is left.

    Of a controller also `rounds`, the messages that waited for each other, and `computing_ms`, `computing_cpu_ms`: wall
    and processor time of the trees on the way there. `events`: of the run, in order.
    """
    chain = _chain(tuple(events), course)
    steps: list[tuple[str, float | None]] = [("before", course.start), ("detection", course.detected)]
    told: dict[str, Any] = {}
    if chain is not None:
        steps += chain.steps
        told = {"rounds": chain.rounds, "computing_ms": _ms(chain.wall_s), "computing_cpu_ms": _ms(chain.cpu_s)}
    else:
        heard = course.state.detail.get("since") if course.state else None  # of an agent; the kernel does not tell
        steps += [("igp", heard or course.repaired), ("routers", course.state.t if course.state else None)]
        if course.repaired is not None and course.repaired <= course.end:  # else the monitor was late to see it
            steps.append(("igp", course.repaired))
    parts, at = dict.fromkeys(PARTS, 0.0), course.fault
    for part, t in steps:
        if t is not None and (t := min(t, course.end)) > at:
            parts[part] += t - at
            at = t
    rest = course.end - at
    parts["packet"] = min(rest, course.travel_s + course.probes_s)
    parts["unexplained"] = rest - parts["packet"]
    return {f"{part}_ms": _ms(seconds) for part, seconds in parts.items()} | told


@dataclass(frozen=True, slots=True)
class _Chain:
    steps: list[tuple[str, float | None]]
    rounds: int
    wall_s: float
    cpu_s: float


def _chain(events: Sequence[Event], course: Course) -> _Chain | None:
    """From the LSA that the controller heard to the message that switched the root; None if packets were back before
    that had been received."""
    fastest = _fastest(events)
    events = [e for e in events if course.fault <= e.t]
    message = _latest(events, ("switched",), course.end + _SLACK_S, lambda e: e.detail["received"])
    if message is None:
        return None
    backwards: list[tuple[str, float | None]] = []
    rounds = 0
    while True:
        rounds += 1
        sent, received, applied = (message.detail[key] for key in ("sent", "received", "applied"))
        out = fastest[_router(message)][0]
        backwards += [("routers", applied), ("held", received), ("distance", sent + out), ("controller", sent)]
        cause = _latest(events, ("confirmed", "computed"), sent, lambda e: e.t)
        if cause is None or cause.kind == "computed" or cause.detail["sent"] >= sent:
            break
        back = fastest[_router(cause)][1]
        backwards += [("held", cause.t), ("distance", cause.detail["applied"] + back)]
        message = cause
    heard, wall, cpu = None, 0.0, 0.0
    if cause is not None and cause.kind == "computed":
        wall, cpu = cause.detail["wall_s"], cause.detail["cpu_s"]
        graph = _latest(events, ("graph",), cause.t, lambda e: e.t)
        heard = graph.detail["since"] if graph else cause.t - wall
    return _Chain([("igp", heard), *reversed(backwards)], rounds, wall, cpu)


def _fastest(events: Iterable[Event]) -> dict[str, tuple[float, float]]:
    """By router, the seconds that the fastest message to it and the fastest answer from it took."""
    found: dict[str, tuple[float, float]] = {}
    for e in events:
        if e.kind in ("confirmed", "switched") and e.detail["sent"] is not None:
            out, back = found.get(_router(e), (inf, inf))
            way = e.detail["received"] - e.detail["sent"], e.t - e.detail["applied"]
            found[_router(e)] = min(out, way[0]), min(back, way[1])
    return found


def _router(message: Event) -> str:
    """Whom it went to: the root, where that was switched."""
    return str(message.detail["root"] if message.kind == "switched" else message.detail["router"])


def _latest(
    events: Iterable[Event], kinds: Collection[str], until: float, moment: Callable[[Event], float | None]
) -> Event | None:
    """The event of these kinds with the latest moment up to `until`; one without the moment does not count."""
    found = [(t, index, e) for index, e in enumerate(events) if e.kind in kinds and (t := moment(e)) is not None]
    return max((each for each in found if each[0] <= until), default=(0.0, 0, None))[2]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
