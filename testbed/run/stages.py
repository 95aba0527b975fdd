"""Convergence, stage by stage: from each fault to the first probe after it. Pure: events in, rows out.

The chain is read from its end, for every stage waits for the one before it: packets are back; the scheme's own state
changed last before that; the kernel's routes that the site's path needs were right; the LSAs that told of it had
arrived; they were originated; the failure had been detected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

from testbed.record import Event, fault_words
from testbed.run.costs import Course, find_costs

# How long after its detection a fault is answered for what happens.
WINDOW_S = 10.0
SLACK_S = 0.05
# A scheme's agent says that a change is done once it was told so; a packet may come ahead of that.
CONFIRM_S = 0.002
_INJECTIONS = ("fault", "fault-restored")
_ROUTER_LSA = 1


# (host, when a fault struck, when its window ends) -> seconds until the IGP had repaired the host's path, if it did.
Repaired = Callable[[str, float, float], float | None]
# (host, when its window ends) -> the nodes whose changes a host's packets depend on; None: any may be.
Concerned = Callable[[str, float], Set[str] | None]


def find_stages(
    events: Iterable[Event],
    sites: Sequence[str] = (),
    repaired: Repaired = lambda host, fault, until: None,
    concerned: Concerned = lambda host, until: None,
    own: Sequence[str] = ("mroute",),
    window_s: float = WINDOW_S,
    probes_s: float = 0.0,
) -> tuple[dict[str, Any], ...]:
    """One row for each fault or restoration and each host whose probes it interrupted, from the events of one run.

    A fault's window ends with the next one, or after `window_s`. An outage belongs to it that starts inside
    (SLACK_S early: probes in flight when the link was cut), and so does its end, whenever that is.
    Of several outages of a host in one window the row spans the first's start to the last's end. `sites` orders
    the hosts (default: by name). A fault that interrupted nobody has one row with site "". Times are ms after
    the injection, None where the thing did not happen or is not known. `own` are the kinds of events that are stages
    of the scheme's own, in their order (`schemes/base.py`). A row of a site goes by its path's routers alone, where
    `concerned` tells them; one with site "" by all.

    - `detection_ms`, `detected_by`: the first router noticed: by `carrier`, `bfd`, or `hello` (an adjacency that went
      without either; after a restoration, that came);
    - `neighbour_ms`: the last adjacency anywhere that ceased, or became Full, before the LSAs below;
    - `lsa_sent_ms`: the last router-LSA originated anywhere before the next;
    - `lsa_ms`: the last router had heard what it then acted on: its last router-LSA before the routes below;
    - `route_first_ms`, `route_ms`: the first and the last kernel route change anywhere;
    - `igp_ms`: when the IGP had repaired this host's path (`repaired`; see repair.py), 0 if it needed no repair;
    - `<kind>_ms` for each of `own`, such as `mroute_ms`, `bift_ms`: the last such event at or before the first probe
      (at all, if no probe came); dashes in a kind become underscores;
    - `outage_start_ms`, `first_probe_ms`: when the first probe was sent that this host lost, and when one came again;
    - `costs`, of a fault that interrupted the host and is over: what the outage went to (costs.py); `probes_s` is the
      time between two probes;
    - `routers`, in the first row of each fault only: who changed, and when. See `_routers`.
    """
    ordered = sorted(events, key=lambda e: e.t)
    injections = [e for e in ordered if e.kind in _INJECTIONS]
    rows: list[dict[str, Any]] = []
    for i, fault in enumerate(injections):
        last = i + 1 == len(injections)
        end = fault.t + window_s if last else min(injections[i + 1].t, fault.t + window_s)
        inside = [e for e in ordered if fault.t <= e.t < end]
        spans = _interruptions(ordered, fault.t - SLACK_S, end if last else end - SLACK_S)
        hosts = sorted(spans, key=lambda h: (sites.index(h) if h in sites else len(sites), h))
        for host in hosts or [""]:
            started, came = spans.get(host, (None, None))
            igp = repaired(host, fault.t, end) if host else None
            nodes = concerned(host, end) if host else None
            row = {
                "fault": describe(fault),
                "t": fault.t,
                "site": host,
                **_chain(fault, inside, nodes, igp),
                "igp_ms": _ms(igp),
            }
            until = None if came is None else came + CONFIRM_S
            for kind in own:
                row[key_of(kind)] = _after(fault, _last(inside, kind, nodes, until))
            row["outage_start_ms"] = _after(fault, started)
            row["first_probe_ms"] = _after(fault, came)
            if fault.kind == "fault" and started is not None and came is not None:
                course = Course(
                    fault=fault.t,
                    start=started,
                    end=came,
                    travel_s=_travel(ordered, host, came),
                    probes_s=probes_s,
                    detected=_detection(fault, inside)[0],
                    repaired=None if igp is None else fault.t + igp,
                    state=_state(inside, own, nodes, until),
                )
                row["costs"] = find_costs(course, ordered)
            if host == (hosts or [""])[0]:
                row["routers"] = _routers(fault, inside, own)
            rows.append(row)
    return tuple(rows)


def key_of(kind: str) -> str:
    """A kind of event as a row's key: `tree-computed` -> `tree_computed_ms`."""
    return f"{kind.replace('-', '_')}_ms"


def describe(fault: Event) -> str:
    """A fault's or restoration's own words."""
    words = fault_words(fault.detail)
    return f"restored: {words}" if fault.kind == "fault-restored" else words


def _chain(fault: Event, inside: Sequence[Event], nodes: Set[str] | None, igp: float | None) -> dict[str, Any]:
    """From detection to the routes: everything that a row has of the IGP but `igp_ms`."""
    routes = [e.t for e in inside if e.kind == "route"]
    until = fault.t + igp if igp else routes[-1] if routes else None
    lsas = [e for e in inside if _is_router_lsa(e)]
    heard = _last(lsas, "lsa", nodes, until)
    sent = _last([e for e in lsas if e.detail["own"]], "lsa", None, heard)
    noticed, how = _detection(fault, inside)
    return {
        "detection_ms": _after(fault, noticed),
        "detected_by": how,
        "neighbour_ms": _after(fault, _last(inside, "neighbour", None, sent)),
        "lsa_sent_ms": _after(fault, sent),
        "lsa_ms": _after(fault, heard),
        "route_first_ms": _after(fault, routes[0] if routes else None),
        "route_ms": _after(fault, routes[-1] if routes else None),
    }


def _routers(fault: Event, inside: Sequence[Event], own: Sequence[str]) -> list[dict[str, Any]]:
    """What each node did that noticed the fault itself or changed anything for it, in the order in which they began.

    `router`; `detection_ms`, `detected_by`; `neighbour_ms`, `lsa_sent_ms`: its first adjacency change, and its first
    router-LSA; `lsa_ms`: the first router-LSA that it heard from another; `route_first_ms`, `route_ms`; and for each
    of `own` `<kind>_first_ms` and `<kind>_ms`, the first and the last. What did not happen is left out.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    for node in sorted({e.node for e in inside if e.node}):
        events = [e for e in inside if e.node == node]
        noticed, how = _detection(fault, events)
        times: dict[str, float | None] = {"detection_ms": noticed}
        times["neighbour_ms"] = _first(events, "neighbour")
        lsas = [e for e in events if _is_router_lsa(e)]
        times["lsa_sent_ms"] = _first([e for e in lsas if e.detail["own"]], "lsa")
        times["lsa_ms"] = _first([e for e in lsas if not e.detail["own"]], "lsa")
        changed = noticed is not None
        for kind in ("route", *own):
            key = key_of(kind)
            times[key.replace("_ms", "_first_ms")], times[key] = _first(events, kind), _last(events, kind)
            changed = changed or times[key] is not None
        known = {key: t for key, t in times.items() if t is not None}
        if changed:
            began = min(known.values())
            said = {"detected_by": how} if how else {}
            found.append((began, {"router": node, **said, **{key: _after(fault, t) for key, t in known.items()}}))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _detection(fault: Event, events: Sequence[Event]) -> tuple[float | None, str]:
    """When the fault, or its end, was first noticed, and by what.

    The cause may be told a little after its effect: bfdd tells ospfd before its log, and the kernel tells the monitor
    when that gets the processor. So what follows within SLACK_S at the same interface is what it was noticed by.
    """
    back = fault.kind == "fault-restored"
    carrier, states = ("link-up", ("to", "up", "Full")) if back else ("link-down", ("from", "up", "Full"))
    for e in events:
        if e.kind == carrier:
            return e.t, "carrier"
        if e.kind in ("bfd", "neighbour") and e.detail[states[0]] in states[1:]:
            near = {o.kind for o in events if _place(o) == _place(e) and e.t <= o.t <= e.t + SLACK_S}
            return e.t, "carrier" if carrier in near else "bfd" if "bfd" in near else "hello"
    return None, ""


def _place(event: Event) -> tuple[str, Any]:
    return event.node, event.detail.get("ifname")


def _is_router_lsa(event: Event) -> bool:
    return event.kind == "lsa" and event.detail["type"] == _ROUTER_LSA


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


def _travel(ordered: Iterable[Event], host: str, came: float) -> float:
    """Seconds that the first probe after an outage was on its way."""
    ends = (e.detail.get("travel_ms") for e in ordered if (e.kind, e.node, e.t) == ("outage-end", host, came))
    return (next(ends, None) or 0.0) / 1000


def _state(
    inside: Iterable[Event], own: Sequence[str], nodes: Set[str] | None, until: float | None
) -> Event | None:
    """The last of the scheme's own events that say that forwarding state is in force: the kernel's, and those of agents
    that tell `since` when they had known what it is made of."""
    found = [
        e
        for e in inside
        if e.kind in own
        and (e.kind == "mroute" or "since" in e.detail)
        and (nodes is None or e.node in nodes)
        and (until is None or e.t <= until)
    ]
    return found[-1] if found else None


def _first(events: Iterable[Event], kind: str) -> float | None:
    return next((e.t for e in events if e.kind == kind), None)


def _last(
    events: Iterable[Event], kind: str, nodes: Set[str] | None = None, until: float | None = None
) -> float | None:
    """When the last event of a kind was, at these nodes (None: any) and up to a moment (None: whenever)."""
    times = [e.t for e in events if e.kind == kind and (nodes is None or e.node in nodes)]
    return max((t for t in times if until is None or t <= until), default=None)


def _after(fault: Event, t: float | None) -> float | None:
    return None if t is None else _ms(t - fault.t)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
