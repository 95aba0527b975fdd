"""What a bundle says: the records of `runs.json` and the events of `events.jsonl`.

The run writes them, the report reads them; both sides share these types and nothing else.
Times ending in `_s` are seconds, `_ms` milliseconds; event times are CLOCK_MONOTONIC seconds.

Layout of a bundle:

    scenario.yaml          the scenario, resolved: loads again to the same run
    manifest.json          versions, kernel, sysctls, capabilities, seed, timers, flags that change meaning
    events.jsonl           one Event a line, every run, one clock
    runs.json              a list of Run
    report.html            made from the above
    runs/<scheme>-<rep>/   frr/<node>/*.conf, log/<node>/*, delivery/<sync>/<host>/*, probes/<sync>-<host>.npz,
                           tree/<router>.json, timeline.yaml (the faults as they hit),
                           delivered/<host>/<sync>/* (with --keep)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Outcome = Literal["passed", "failed", "unsupported", "invalid", "interrupted"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A hole in a site's probe stream. Times ending in `_s` are after the run's zero (the first sync's start).

    `start_s` is when the first lost probe was sent, `end_s` when the first probe after the hole came (None: none
    came). `length_ms` is the time between the last probe before and the first probe after, as they came, less one
    probe interval: where probes queue on their way it is less than from `start_s` to `end_s`.
    `cause` names the fault it follows ("" if none explains it). `travel_ms` is how long the first probe after it was on
    its way, from the source's socket to the site's; None as `end_s`.
    """

    start_s: float
    length_ms: float
    lost: int
    duplicates: int
    cause: str = ""
    end_s: float | None = None
    travel_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One destination host of one sync. `delivery_s`, `first_byte_s` count from the sync's start; None: never.

    `curve` is the delivery curve: (seconds after the sync's start, verified bytes), thinned to a few hundred points.
    `setup_ms`: of a sync set up on demand, from its start to the first probe here; else, and if none came, None.
    """

    name: str
    site: str
    sync: str
    delivered: bool
    verified_bytes: int
    expected_bytes: int
    first_byte_s: float | None
    delivery_s: float | None
    reason: str = ""
    outages: tuple[Outage, ...] = ()
    probes_received: int = 0
    probes_lost: int = 0
    duplicates: int = 0
    curve: tuple[tuple[float, int], ...] = ()
    setup_ms: float | None = None


@dataclass(frozen=True, slots=True)
class FlowResult:
    """A background flow that was watched (spec.scenario.Background), by its number, at the host of one site."""

    flow: int
    site: str
    outages: tuple[Outage, ...] = ()
    probes_received: int = 0
    probes_lost: int = 0


@dataclass(frozen=True, slots=True)
class LinkResult:
    """One direction of a link during the transfer. `ideal_bytes`: what the ideal tree would put there."""

    link: str
    src: str
    dst: str
    bytes: int
    packets: int
    drops: int
    ideal_bytes: int
    is_lan: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario, one scheme, one repetition.

    `state`: entries by router. `control`: messages (and `bytes`, where anybody counts them) by protocol while the model
    was sent, all routers together; `control_setup`: the same from when the IGP stood until every site had received a
    probe, in which the scheme came up and set its flows up. `stages`: the convergence after each fault and restoration,
    a row a site. Its keys, which end in `_ms`, are explained in run/stages.py; a scheme adds its own, and a reader
    takes those it does not know as they come. `setups`: a row for each sync set up on demand (run/syncs.py): `sync`,
    its start `t`, and in ms after that `flow_ms`, when its scheme had prepared the flow, and `listening_ms`, when the
    transport's receivers were ready; None: not so far. `flows`: the background flows that were watched.
    """

    scheme: str
    repetition: int
    seed: int
    outcome: Outcome
    reason: str = ""
    zero: float = 0.0
    sites: tuple[SiteResult, ...] = ()
    links: tuple[LinkResult, ...] = ()
    state: dict[str, dict[str, int]] = field(default_factory=dict)
    control: dict[str, dict[str, int]] = field(default_factory=dict)
    control_setup: dict[str, dict[str, int]] = field(default_factory=dict)
    stages: tuple[dict[str, Any], ...] = ()
    setups: tuple[dict[str, Any], ...] = ()
    flows: tuple[FlowResult, ...] = ()
    fidelity: dict[str, Any] = field(default_factory=dict)
    bringup: dict[str, float] = field(default_factory=dict)


def fault_words(detail: Mapping[str, Any]) -> str:
    """A fault in words, from its event's detail: `cut r1-r2`, `maintenance r1-r2 (cost out)`."""
    if detail.get("text"):
        return str(detail["text"])
    target = detail.get("link") or detail.get("target") or ""
    return f"{detail.get('action', 'fault')} {target}".strip()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, stamped on CLOCK_MONOTONIC.

    `kind`: phase, sync-start, fault, fault-restored, fault-skipped (docs/faults.md); setup and flow-set-up (a sync set
    up on demand: begun, and done as far as its scheme sees to that), joined and left (its probes' receiver at a
    destination); link-down, link-up, route, mroute, overrun (the kernels', see run/monitor.py); bfd, neighbour, lsa,
    frr-clock, unwatched (FRR's logs', see run/frr_log.py); first-probe, silent and heard-again (as seen live),
    outage-start and outage-end (from the records, afterwards), first-byte, delivered; and those of a scheme's own
    control plane, such as bift (docs/bier.md). `run` is `<scheme>-<repetition>`; `node` is "" where none applies. The
    file is in the order in which events became known; the reader sorts them by their times.
    """

    t: float
    run: str
    kind: str
    node: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
