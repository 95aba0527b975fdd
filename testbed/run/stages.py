"""Convergence, stage by stage: from each fault to the first probe after it. Pure: events in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from testbed.record import Event

WINDOW_S = 10.0
SLACK_S = 0.05
_INJECTIONS = ("fault", "fault-restored")


# (host, when a fault struck, when its window ends) -> seconds until the IGP had repaired the host's path, if it did.
Repaired = Callable[[str, float, float], float | None]


def find_stages(
    events: Iterable[Event], sites: Sequence[str] = (), repaired: Repaired = lambda host, fault, until: None
) -> tuple[dict[str, Any], ...]:
    """One row for each fault or restoration and each host whose probes it interrupted, from the events of one run.

    A fault's window ends with the next one, or after WINDOW_S. An outage belongs to it that starts inside
    (SLACK_S early: probes in flight when the link was cut), and so does its end, whenever that is.
    Of several outages of a host in one window the row spans the first's start to the last's end. `sites` orders
    the hosts (default: by name). A fault that interrupted nobody has one row with site "". Times are ms after
    the injection, None where the thing did not happen or is not known:

    - `link_down_ms`, `link_up_ms`: the first interface that lost, or got, its carrier;
    - `route_first_ms`, `route_ms`: the first and the last kernel route change anywhere;
    - `igp_ms`: when the IGP had repaired this host's path (`repaired`; see repair.py), 0 if it needed no repair;
    - `mroute_ms`: the last multicast route change at or before the first probe (anywhere, if no probe came);
    - `outage_start_ms`, `first_probe_ms`: when the first probe was sent that this host lost, and when one came again.
    """
    ordered = sorted(events, key=lambda e: e.t)
    injections = [e for e in ordered if e.kind in _INJECTIONS]
    rows: list[dict[str, Any]] = []
    for i, fault in enumerate(injections):
        last = i + 1 == len(injections)
        end = fault.t + WINDOW_S if last else min(injections[i + 1].t, fault.t + WINDOW_S)
        inside = [e for e in ordered if fault.t <= e.t < end]
        spans = _interruptions(ordered, fault.t - SLACK_S, end if last else end - SLACK_S)
        hosts = sorted(spans, key=lambda h: (sites.index(h) if h in sites else len(sites), h))
        for host in hosts or [""]:
            started, came = spans.get(host, (None, None))
            mroutes = [e.t for e in inside if e.kind == "mroute" and (came is None or e.t <= came)]
            routes = _times(inside, "route")
            rows.append(
                {
                    "fault": describe(fault),
                    "t": fault.t,
                    "site": host,
                    "link_down_ms": _after(fault, _times(inside, "link-down")[:1]),
                    "link_up_ms": _after(fault, _times(inside, "link-up")[:1]),
                    "route_first_ms": _after(fault, routes[:1]),
                    "route_ms": _after(fault, routes[-1:]),
                    "igp_ms": _ms(repaired(host, fault.t, end)) if host else None,
                    "mroute_ms": _after(fault, mroutes[-1:]),
                    "outage_start_ms": _after(fault, [] if started is None else [started]),
                    "first_probe_ms": _after(fault, [] if came is None else [came]),
                }
            )
    return tuple(rows)


def describe(fault: Event) -> str:
    """A fault's or restoration's own words: the event's `text`, else what its other details say."""
    detail = fault.detail
    words = detail.get("text") or " ".join(str(detail[k]) for k in ("action", "target", "link") if detail.get(k))
    if fault.kind == "fault-restored":
        return f"restored: {words}" if words else "restored"
    return words or "fault"


def _interruptions(ordered: Sequence[Event], begin: float, end: float) -> dict[str, tuple[float, float | None]]:
    """For each host: the first start of an outage in [begin, end) and the end of the last that started there."""
    spans: dict[str, tuple[float, float | None]] = {}
    concerned: set[str] = set()  # hosts whose latest outage started in the window
    for event in ordered:
        if event.kind == "outage-start":
            if begin <= event.t < end:
                spans[event.node] = (spans.get(event.node, (event.t, None))[0], None)
                concerned.add(event.node)
            else:
                concerned.discard(event.node)
        elif event.kind == "outage-end" and event.node in concerned:
            spans[event.node] = (spans[event.node][0], event.t)
            concerned.discard(event.node)
    return spans


def _times(events: Iterable[Event], kind: str) -> list[float]:
    return [e.t for e in events if e.kind == kind]


def _after(fault: Event, times: Sequence[float]) -> float | None:
    return _ms(times[0] - fault.t) if times else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
