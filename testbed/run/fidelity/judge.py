"""The thresholds, and what they make of a run. Pure: measurements in, a verdict out.

A run is invalid, and never averaged, when the host rather than the emulated network shaped its numbers. Each threshold
is a constant here; docs/fidelity.md says why it is where it is, and what was measured on both sides of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from testbed.run.counters import Counters, Direction
from testbed.run.fidelity.crowding import Crowded
from testbed.run.fidelity.load import IDLE_FLOOR
from testbed.run.fidelity.rates import LinkRate
from testbed.run.fidelity.steadiness import Steadiness
from testbed.run.fidelity.watch import Watched
from testbed.units import format_rate

BUSY_SHARE = 0.5
LATE_LIMIT_MS = 20.0
LATE_WARNING_MS = 2.0
TURN_LIMIT_MS = 1.0
JITTER_LIMIT_MS = 20.0
LOSS_LIMIT = 0.001
RATE_LIMIT = 0.9
RATE_WARNING = 0.95
CROWDED_SHARE = 0.5
CROWDED_LEAST_S = 0.1

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What `assess` judges.

    `links`: what each direction carried, all in all; `lossy`: names of the links whose own shape loses packets;
    `faulted`: of those that a fault touched; `faults`: whether there was any. `rates`: see `rates.link_rates`.
    `steadiness`: by destination; `asked_jitter_ms`: the most that the links' shapes ask for on any destination's way.
    `sender` and `collector` are the two programs' summaries. `outages`: those at the sites that are over.
    """

    watched: Watched = field(default_factory=Watched)
    links: Mapping[Direction, Counters] = field(default_factory=dict)
    lossy: Collection[str] = ()
    faulted: Collection[str] = ()
    faults: bool = False
    rates: Mapping[Direction, LinkRate] = field(default_factory=dict)
    source: Direction | None = None
    steadiness: Mapping[str, Steadiness] = field(default_factory=dict)
    asked_jitter_ms: float = 0.0
    sender: Mapping[str, Any] = field(default_factory=dict)
    collector: Mapping[str, Any] = field(default_factory=dict)
    outages: Sequence[Crowded] = ()

    @property
    def packets(self) -> int:
        """Of all links and directions together."""
        return sum(counted.packets for counted in self.links.values())


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the host that is to be told. `cause`: its subject in a word."""

    cause: str
    text: str
    invalid: bool


def assess(measured: Measured) -> dict[str, Any]:
    """The dictionary of record.Run.fidelity; `invalid` is "" or says why the run must not be averaged, `causes` names
    the subjects of that."""
    findings = [finding for check in _CHECKS for finding in check(measured)]
    invalid = [f for f in findings if f.invalid]
    return {
        **_figures(measured),
        "warnings": [f.text for f in findings],
        "invalid": "; ".join(f.text for f in invalid),
        "causes": list(dict.fromkeys(f.cause for f in invalid)),
    }


def _figures(measured: Measured) -> dict[str, Any]:
    watched = measured.watched
    sent = measured.rates.get(measured.source) if measured.source else None
    slowest = min((rate.ratio for rate in measured.rates.values()), default=None)
    steady = measured.steadiness.values()
    drops: dict[str, int] = {}
    for forwarded in watched.forwarders.values():
        for reason, count in forwarded.drops.items():
            drops[reason] = drops.get(reason, 0) + count
    return {
        "cpu_idle": watched.load.cores(),
        "busy_share": round(watched.load.busy_share, 4),
        "crowded_outage_ms": round(1e3 * max((outage.crowded_s for outage in measured.outages), default=0.0), 1),
        "turns": {name: asdict(delay) for name, delay in watched.turns.items()},
        "softnet_drops": watched.load.softnet_drops,
        "socket_drops": {host: lost for host, (_, lost) in watched.udp.items() if lost},
        "forwarder_drops": drops,
        "forwarder_drops_unexplained": sum(f.of_the_host for f in watched.forwarders.values()),
        "crowded_drops": sum(watched.crowded.values()),
        "qdisc_drops": sum(counted.drops for counted in measured.links.values()),
        "qdisc_drops_unexplained": sum(_unexplained(measured).values()),
        "probe_sender": dict(measured.sender),
        "probe_jitter_ms_p99": max((s.jitter_ms for s in steady), default=None),
        "probes_lost_before_faults": sum(s.lost for s in steady) if steady else None,
        "clock_error_ms": measured.collector.get("clock_error_ms"),
        "requested_rate": sent.asked if sent else None,
        "achieved_rate": round(sent.achieved) if sent else None,
        "slowest_link_share": round(slowest, 4) if slowest is not None else None,
        "link_rates": {
            f"{link} from {node}": {"asked": round(rate.asked), "achieved": round(rate.achieved)}
            for (link, node), rate in measured.rates.items()
        },
    }


def _cores(measured: Measured) -> Iterator[Finding]:
    share = measured.watched.load.busy_share
    if share:
        text = f"every core was busy (less than {IDLE_FLOOR:.0%} idle) for {share:.0%} of the transfer"
        yield Finding("cpu", text, share > BUSY_SHARE)


def _convergence(measured: Measured) -> Iterator[Finding]:
    """What no core was idle for, all routers computed for one after the other: their own cores would have been faster.
    Shorter outages are too few of the kernel's ticks to tell."""
    long = [outage for outage in measured.outages if outage.length_s > CROWDED_LEAST_S]
    worst = max(long, key=lambda outage: outage.crowded_s, default=None)
    if worst is not None and worst.crowded_s > CROWDED_LEAST_S / 2:
        cause = f" after {worst.cause}" if worst.cause else ""
        text = (
            f"no core was idle for {worst.crowded_s * 1e3:.0f} of the {worst.length_s * 1e3:.0f} ms that {worst.site} "
            f"was without packets{cause}: the routers would have been faster on cores of their own"
        )
        yield Finding("convergence", text, any(outage.share > CROWDED_SHARE for outage in long))


def _turns(measured: Measured) -> Iterator[Finding]:
    for name, delay in measured.watched.turns.items():
        if name == "mcfwd" and delay.worst_ms > TURN_LIMIT_MS:
            text = f"{name} of {delay.worst_node} waited {delay.worst_ms:.1f} ms for each turn on a core, in the mean"
            yield Finding("run-queue", f"{text} (the limit is {TURN_LIMIT_MS:g} ms)", True)


def _sender(measured: Measured) -> Iterator[Finding]:
    late = float(measured.sender.get("late_p99_ms", 0.0))
    if late > LATE_WARNING_MS:
        limit = f"; the limit is {LATE_LIMIT_MS:g} ms" if late > LATE_LIMIT_MS else ""
        text = f"the probe sender was {late:.1f} ms late (99th percentile{limit})"
        yield Finding("probe-sender", text, late > LATE_LIMIT_MS)


def _jitter(measured: Measured) -> Iterator[Finding]:
    limit = JITTER_LIMIT_MS + measured.asked_jitter_ms
    worst = {host: f"{s.jitter_ms:.1f} ms" for host, s in measured.steadiness.items() if s.jitter_ms > limit}
    if worst:
        text = f"probes were late before any fault (99th percentile above the least, the limit is {limit:g} ms: "
        yield Finding("probe-jitter", f"{text}{_some(worst)})", True)


def _probes(measured: Measured) -> Iterator[Finding]:
    lost = {h: f"{s.lost} of {s.sent}" for h, s in measured.steadiness.items() if s.lost_share > LOSS_LIMIT}
    if lost and not measured.lossy:
        yield Finding("probes-lost", f"probes were lost before any fault ({_some(lost)})", True)


def _backlog(measured: Measured) -> Iterator[Finding]:
    if drops := measured.watched.load.softnet_drops:
        text = f"the host's own packet backlog overflowed: {drops} packets dropped"
        yield Finding("softnet", text, drops > LOSS_LIMIT * measured.packets)


def _sockets(measured: Measured) -> Iterator[Finding]:
    udp = measured.watched.udp
    dropped = {host: str(lost) for host, (_, lost) in udp.items() if lost}
    if dropped:
        bad = any(lost > LOSS_LIMIT * (got + lost) for got, lost in udp.values() if lost)
        yield Finding("sockets", f"datagrams dropped at full socket buffers ({_some(dropped)})", bad)


def _forwarders(measured: Measured) -> Iterator[Finding]:
    dropped = {r: str(f.of_the_host) for r, f in measured.watched.forwarders.items() if f.of_the_host}
    if dropped:
        bad = any(f.of_the_host > LOSS_LIMIT * f.received for f in measured.watched.forwarders.values())
        yield Finding("forwarders", f"packets dropped at the forwarders' full sockets ({_some(dropped)})", bad)


def _queues(measured: Measured) -> Iterator[Finding]:
    """Before a fault nothing explains a full queue. After one it may be a detour's, which is a result."""
    dropped = _unexplained(measured)
    if dropped:
        lost = {f"{link} from {node}": str(count) for (link, node), count in dropped.items()}
        many = any(n > LOSS_LIMIT * (measured.links[d].packets + n) for d, n in dropped.items())
        text = f"packets dropped at links no fault touched ({_some(lost)})"
        yield Finding("queues", text, many and not measured.faults)


def _crowded(measured: Measured) -> Iterator[Finding]:
    """Not what a link's shape loses: what the impairment engine had no room for, or came too late to take."""
    dropped = {d: n for d, n in measured.watched.crowded.items() if n > 0}
    if dropped:
        lost = {f"{link} from {node}": str(count) for (link, node), count in dropped.items()}
        sent = {d: measured.links[d].packets if d in measured.links else 0 for d in dropped}
        bad = any(n > LOSS_LIMIT * (sent[d] + n) for d, n in dropped.items())
        yield Finding("impairments", f"the impairment engine had no room for packets ({_some(lost)})", bad)


def _rates(measured: Measured) -> Iterator[Finding]:
    sent = measured.rates.get(measured.source) if measured.source else None
    if sent is not None and sent.ratio < RATE_WARNING:
        text = f"the sender reached {sent.ratio:.0%} of the rate asked for, {format_rate(sent.asked)}"
        yield Finding("rate", text, sent.ratio < RATE_LIMIT)
    elif not measured.lossy:
        slow = {
            f"{link} from {node}": f"{rate.ratio:.0%}"
            for (link, node), rate in measured.rates.items()
            if rate.ratio < RATE_WARNING
        }
        if slow:
            bad = any(rate.ratio < RATE_LIMIT for rate in measured.rates.values())
            yield Finding("link-rate", f"links carried less than was sent over them ({_some(slow)})", bad)


def _clock(measured: Measured) -> Iterator[Finding]:
    if steps := measured.collector.get("clock_steps"):
        yield Finding("clock", f"the realtime clock was stepped {steps} times: some probe times are off", False)


# What says most about the host comes first: it is the reason that is read.
_CHECKS: tuple[Callable[[Measured], Iterator[Finding]], ...] = (
    _cores, _convergence, _turns, _backlog, _forwarders, _sockets, _queues, _crowded, _rates, _sender, _jitter, _probes,
    _clock,
)  # fmt: skip


def _unexplained(measured: Measured) -> dict[Direction, int]:
    excused = {*measured.faulted, *measured.lossy}
    return {d: c.drops for d, c in measured.links.items() if c.drops and d[0] not in excused}


def _some(said: Mapping[str, str]) -> str:
    """The first few of them: `a: 1, b: 2 and 5 more`."""
    shown = [f"{name}: {what}" for name, what in list(said.items())[:_SHOWN]]
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return ", ".join(shown) + more
