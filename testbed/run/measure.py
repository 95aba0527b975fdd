"""Everything that watches a run: kernel monitor, probe senders, probe collector, load sampler, counters."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testbed.lab.lab import Lab
from testbed.lab.waiting import until
from testbed.plan.paths import unicast_path
from testbed.record import Event, SiteResult
from testbed.run import counters
from testbed.run.fidelity.crowding import Crowded, Span, within
from testbed.run.fidelity.judge import Measured
from testbed.run.fidelity.rates import LinkRate, asked_rates, link_rates
from testbed.run.fidelity.steadiness import Steadiness, steadiness
from testbed.run.fidelity.watch import Watch, Watched
from testbed.run.frr_log import FrrLog
from testbed.run.outages import Cause, StreamResult, find_outages
from testbed.run.probe import PORT, read_records, record_name
from testbed.run.program_client import Program
from testbed.schemes import Flow
from testbed.spec.scenario import Probe

JOIN_DEADLINE = 60.0
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Stream:
    """The probes of one sync: its flow, who sends, who receives (host names). `on_demand`: nothing joins and nothing is
    sent until `Instruments.begin`. `interval`: seconds between two, None: the scenario's. `background`: of no sync (see
    run/background.py); nobody needs to hear at once of its outages."""

    sync: str
    flow: Flow
    source: str
    hosts: tuple[str, ...]
    on_demand: bool = False
    interval: float | None = None
    background: bool = False


def _port(stream: Stream) -> int:
    """A port for each sync: without groups, two syncs to one host have nothing else to tell their probes apart."""
    return PORT + stream.flow.number - 1


class Instruments:
    """Started before a run's first packet, stopped after its last; then they answer."""

    def __init__(self, lab: Lab, streams: Sequence[Stream], probe: Probe, folder: Path, emit: Callable[[Event], None],
                 run: str, joined: Sequence[Stream] = ()) -> None:
        """`joined`: flows whose destinations are to join, and that carry nothing."""
        self._lab, self._streams, self._probe, self._folder = lab, streams, probe, folder / "probes"
        self._joined = joined
        self._emit, self._run = emit, run
        self._logs = lab.folder("programs")
        self._lock = threading.Lock()
        self._frr = FrrLog(lab, run)
        self._monitor: Program | None = None
        self._collector: Program | None = None
        self._senders: dict[str, Program] = {}
        self._watch: Watch | None = None
        self._asked: dict[counters.Direction, float] = {}
        self._before: counters.Snapshot | None = None
        self.collector_summary: dict[str, Any] = {}
        self.sender_summaries: dict[str, dict[str, Any]] = {}
        self.events: list[Event] = []

    def record(self, t: float, kind: str, node: str = "", detail: dict[str, Any] | None = None) -> None:
        """Keep an event and hand it on to the bundle. Called from several threads."""
        event = Event(t, self._run, kind, node, detail or {})
        with self._lock:
            self.events.append(event)
        self._emit(event)

    def start(self) -> None:
        """Start the monitor and the probes. Raises LabError."""
        nodes = [{"name": n.name, "pid": n.pid} for n in self._lab.routers]
        self._monitor = self._outside("testbed.run.monitor", {"nodes": nodes}, self._heard)
        self._frr.watch()
        self._lab.on_restart.append(self._frr.watch_again)
        if self._probe.interval > 0:
            self._collector = self._outside("testbed.run.collector", self._collector_config(), self._heard)
            self._collector.wait_ready()
            for stream in self._streams:
                self._senders[stream.sync] = self._sender(stream)
        self._monitor.wait_ready()
        for sender in self._senders.values():
            sender.wait_ready()

    def wait_for_probes(self) -> float:
        """Return once every destination of what is set up beforehand received a probe: the trees stand. Seconds.
        Raises NotConverged."""
        streams = [s for s in self._streams if not s.on_demand]
        return until(lambda: self._unheard(streams), JOIN_DEADLINE, "the first probe at every destination")

    def begin(self, stream: Stream) -> None:
        """Have an on-demand stream's probes sent and its destinations join, from now on."""
        if self._collector is not None:
            self._senders[stream.sync].tell("begin")
            self._collector.tell(f"join {stream.flow.number}")

    def heard_everywhere(self, stream: Stream, limit: float) -> bool:
        """Wait until each of its destinations received a probe, for so many seconds at most."""
        deadline = time.monotonic() + limit
        while self._unheard([stream]):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def end(self, stream: Stream) -> None:
        """An on-demand stream has been watched for long enough: it need not load the network any longer."""
        if self._collector is not None:  # first: who stops is not silent
            self._collector.tell(f"leave {stream.flow.number}")
        if (sender := self._senders.pop(stream.sync, None)) is not None:
            self.sender_summaries[stream.sync] = sender.stop()

    def _unheard(self, streams: Sequence[Stream]) -> str:
        """The destinations that have not had a probe yet; "" where there are no probes."""
        wanted = {(s.sync, h) for s in streams for h in s.hosts} if self._collector else set()
        with self._lock:
            heard = {(e.detail["sync"], e.node) for e in self.events if e.kind == "first-probe"}
        return ", ".join(sorted(host for _, host in wanted - heard))

    def zero(self, copy: float | None) -> None:
        """The transfer starts now: what is counted, is counted from here. `copy`: the rate of one copy, in bit/s, where
        there is one sync (the first of the streams); else nothing is known of what the links are to carry."""
        if copy is not None:
            stream = self._streams[0]
            self._asked = asked_rates(self._lab.plan, stream.source, stream.hosts, stream.flow, copy)
        self._watch = Watch(self._lab, [host for stream in self._streams for host in stream.hosts], self._asked)
        self._before = counters.read_counters(self._lab.plan, self._lab.pid_of)

    def counted(self) -> dict[counters.Direction, counters.Counters]:
        """What every direction of every link carried since `zero`. Ends the watch over the host."""
        if self._before is None:
            return {}
        counted = counters.difference(self._before, counters.read_counters(self._lab.plan, self._lab.pid_of))
        if self._watch is not None:
            self._watch.end()
        return counted

    def measured(self, links: Mapping[counters.Direction, counters.Counters], faulted: Sequence[str], copy: int,
                 zero: float, end: float | None, sites: Iterable[SiteResult] = ()) -> Measured:
        """What the fidelity of the run is judged by. `copy`: the octets of one copy on a link. The transfer lasted
        from `zero` to `end` (CLOCK_MONOTONIC; None: not known). `sites`: whose outages are judged as well."""
        watched = self._watch.end() if self._watch else Watched()
        if end is not None:
            watched = replace(watched, load=watched.load.until(end))
        shapes = {name: link.shape for name, link in self._lab.plan.links.items()} if self._lab.impaired else {}
        fault = min((e.t for e in self.events if e.kind == "fault"), default=None)
        source, rates = self._rates(watched, copy, fault)
        return Measured(
            watched=watched,
            links=links,
            lossy={name for name, shape in shapes.items() if shape.loss},
            faulted=faulted,
            faults=fault is not None,
            rates=rates,
            source=source,
            steadiness=self._steadiness(zero, fault if fault is not None else end),
            asked_jitter_ms=1e3 * max(self._asked_jitter(), default=0.0),
            sender=max(self.sender_summaries.values(), key=lambda s: s.get("late_p99_ms", 0.0), default={}),
            collector=self.collector_summary,
            outages=tuple(_crowded(watched.full, zero, sites)),
        )

    def stop(self) -> None:
        """End the programs, senders first; the collector writes its records as it ends. May be called twice."""
        for sync, sender in self._senders.items():
            self.sender_summaries[sync] = sender.stop()
        if self._senders:
            time.sleep(self._flight())  # what is on its way is not lost
        if self._collector is not None:
            self.collector_summary = self._collector.stop()
        if self._monitor is not None:
            self._monitor.stop()
            for event in self._frr.events():
                self.record(event.t, event.kind, event.node, event.detail)
        self._senders, self._collector, self._monitor = {}, None, None

    def outages(self, stream: Stream, host: str, zero: float, faults: Sequence[Cause]) -> StreamResult | None:
        """The outages of one destination, from its records; None where no probes were sent."""
        path = self._folder / record_name(stream.sync, host)
        if not path.exists():
            return None
        sent = self.sender_summaries.get(stream.sync, {})
        return find_outages(
            read_records(path),
            interval_s=self._interval(stream),
            zero_s=zero,
            sent=sent.get("sent"),
            last_sent_ns=sent.get("last_sent_ns"),
            faults=faults,
        )

    def _rates(
        self, watched: Watched, copy: int, fault: float | None
    ) -> tuple[counters.Direction | None, dict[counters.Direction, LinkRate]]:
        """The source's direction, and the rates of all that the data ran over before any fault."""
        if not self._asked:
            return None, {}
        stream = self._streams[0]
        (interface,) = self._lab.plan.nodes[stream.source].interfaces
        source = (interface.link, interface.node)
        if stream.flow.group is None:
            return source, link_rates(watched.rates, self._asked, source, copy * len(stream.hosts), fault)
        # Who sends to a group hears of no fault, and goes on; the links behind one have nothing to carry.
        before = link_rates(watched.rates, self._asked, source, copy, fault)
        return source, before | link_rates(watched.rates, {source: self._asked[source]}, source, copy, None)

    def _steadiness(self, begin: float, end: float | None) -> dict[str, Steadiness]:
        """By destination, and its sync where there are several. Not of what is set up meanwhile: trees that are being
        built move and lose packets."""
        found = {}
        for stream in (s for s in self._streams if not s.on_demand):
            for host in stream.hosts:
                path = self._folder / record_name(stream.sync, host)
                steady = steadiness(read_records(path), begin, end) if path.exists() else None
                if steady is not None:
                    found[host if len(self._streams) == 1 else f"{host} ({stream.sync})"] = steady
        return found

    def _flight(self) -> float:
        """Seconds that the last probe may be on its way to a destination: by the plan's path, and as much again for a
        detour."""
        plan = self._lab.plan
        shapes = {name: link.shape for name, link in plan.links.items()}
        ways = [
            sum(shapes[interface.link].delay + shapes[interface.link].jitter for interface in way)
            for stream in self._streams
            for host in stream.hosts
            if (way := unicast_path(plan, stream.source, host))
        ]
        return 2 * max(ways, default=0.0) if self._lab.impaired else 0.0

    def _asked_jitter(self) -> Iterator[float]:
        """Seconds between the earliest and the latest that the links' shapes let a probe come, by destination."""
        plan = self._lab.plan
        spread = {
            name: 2 * link.shape.jitter + (link.shape.delay if link.shape.reorder else 0.0)
            for name, link in plan.links.items()
        }
        if self._lab.impaired and any(spread.values()):
            for stream in self._streams:
                for host in stream.hosts:
                    yield sum(spread[interface.link] for interface in unicast_path(plan, stream.source, host))

    def settle(self, until: float = 0.0, patience: float = 0.0) -> None:
        """Let the probes run on, for a moment and to `until` (CLOCK_MONOTONIC): an outage that starts late must have
        the time to show. One that lasts must have the time to end: `patience` seconds more."""
        if self._probe.interval > 0:
            time.sleep(max(self._probe.settle, until - time.monotonic()))
            deadline = time.monotonic() + patience
            while self._silent() and time.monotonic() < deadline:
                time.sleep(_POLL)

    def _silent(self) -> bool:
        """Whether a destination hears nothing right now of a stream that it should hear of."""
        state: dict[tuple[str, str], str] = {}
        with self._lock:
            for event in self.events:
                if event.kind in ("silent", "heard-again"):
                    state[event.detail["sync"], event.node] = event.kind
        return any(kind == "silent" and sync in self._senders for (sync, _), kind in state.items())

    def _heard(self, t: float, kind: str, node: str, detail: dict[str, Any]) -> None:
        # The collector's own idea of outages is for display; the records say it better afterwards.
        live = {"outage-start": "silent", "outage-end": "heard-again"}
        self.record(t, live.get(kind, kind), node, detail)

    def _outside(self, module: str, config: dict[str, Any], handler: Any) -> Program:
        path = self._logs / f"{module.rpartition('.')[2]}.json"
        path.write_text(json.dumps(config))
        return Program(self._spawn, module, ["--config", str(path)], handler, path.with_suffix(".log"))

    def _spawn(self, argv: Sequence[str], stdin: int, stdout: int, stderr: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self._lab.registry.environment,
            start_new_session=True,
        )

    def _sender(self, stream: Stream) -> Program:
        to = dict.fromkeys(self._listens_at(stream, host) for host in stream.hosts)
        arguments = ["--to", *to, "--source", self._address(stream.source), "--sync", str(stream.flow.number)]
        arguments += ["--port", str(_port(stream))]
        arguments += ["--interval", str(self._interval(stream)), "--size", str(self._probe.size)]

        arguments += ["--told"] if stream.on_demand else []

        def start(argv: Sequence[str], stdin: int, stdout: int, stderr: Any) -> subprocess.Popen[bytes]:
            return self._lab[stream.source].popen(argv, stdin=stdin, stdout=stdout, stderr=stderr)

        log = self._logs / f"probe_sender-{stream.sync}.log"
        return Program(start, "testbed.run.probe_sender", arguments, self._heard, log)

    def _collector_config(self) -> dict[str, Any]:
        streams = []
        for stream in self._streams:
            source = self._address(stream.source)
            for host in stream.hosts:
                streams.append(
                    {
                        "sync": stream.flow.number,
                        "name": stream.sync,
                        "host": host,
                        "pid": self._lab.pid_of(host),
                        "interface": "eth0",
                        "address": self._listens_at(stream, host),
                        "port": _port(stream),
                        "source": source if stream.flow.ssm else None,
                        "told": stream.on_demand,
                        "interval": self._interval(stream),
                        "background": stream.background,
                    }
                )
        return {"directory": str(self._folder), "streams": streams, "joins": self._joins()}

    def _joins(self) -> list[dict[str, Any]]:
        """What each host joins besides, in the order of the flows."""
        hosts = dict.fromkeys(host for stream in self._joined for host in stream.hosts)
        return [
            {
                "pid": self._lab.pid_of(host),
                "interface": "eth0",
                "channels": [
                    (stream.flow.group, self._address(stream.source) if stream.flow.ssm else None)
                    for stream in self._joined
                    if host in stream.hosts
                ],
            }
            for host in hosts
        ]

    def _interval(self, stream: Stream) -> float:
        return self._probe.interval if stream.interval is None else stream.interval

    def _listens_at(self, stream: Stream, host: str) -> str:
        """Where a destination's probes go: to its group, or to itself."""
        return stream.flow.group or self._address(host)

    def _address(self, host: str) -> str:
        return str(self._lab[host].spec.interfaces[0].address.ip)


def _crowded(full: Sequence[Span], zero: float, sites: Iterable[SiteResult]) -> Iterator[Crowded]:
    """Of each outage that is over, how much of it found no core idle."""
    for site in sites:
        for outage in site.outages:
            if outage.end_s is not None:
                start, end = zero + outage.start_s, zero + outage.end_s
                yield Crowded(site.name, outage.cause, end - start, within(full, start, end))
