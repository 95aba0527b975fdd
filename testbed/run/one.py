"""One run: one scenario, one scheme, one repetition, from empty namespaces to a Run record."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.bundle import BundleWriter
from testbed.errors import DaemonError, Interrupted, LabError, NotConverged, TransferError
from testbed.lab.lab import Lab
from testbed.lab.messages import Reading, messages_between, read_igp
from testbed.lab.shape_check import not_as_asked
from testbed.plan.paths import ideal_tree
from testbed.plan.timers import hides_carrier, profile
from testbed.plan.types import Plan
from testbed.record import Event, FlowResult, LinkResult, Outcome, Run, SiteResult, fault_words
from testbed.run import counters
from testbed.run.background import Crowd, make_crowd
from testbed.run.captures import Captures
from testbed.run.evidence import keep_configs, keep_logs, keep_timeline, keep_trees
from testbed.run.faults import ACTIONS
from testbed.run.faults.resolve import Scene, impairable
from testbed.run.fidelity.judge import assess
from testbed.run.job import Job, destinations, ideal_bytes, make_delivery
from testbed.run.measure import Instruments, Stream
from testbed.run.observer import Observer
from testbed.run.outages import Cause
from testbed.run.repair import Repairs, Way, way_to_host, way_to_locator, way_to_site, way_to_source
from testbed.run.signals import uninterrupted
from testbed.run.stages import WINDOW_S, find_stages
from testbed.run.syncs import SyncRun
from testbed.run.timeline import Timeline
from testbed.run.transports import transport_for
from testbed.schemes import Scheme, make_scheme, router_configs
from testbed.spec.check_faults import length
from testbed.spec.names import find_link
from testbed.spec.scenario import SchemeChoice
from testbed.transfer.session import Session

_POLL = 0.1


def carry_out(job: Job, choice: SchemeChoice, repetition: int, bundle: BundleWriter, observer: Observer) -> Run:
    """Build the lab, deliver, measure, tear down. A run that fails is a Run that says so; only what the user
    stops is raised (Interrupted), after its Run was added. The run is added to the bundle."""
    one = _One(job, choice, repetition, bundle, observer)
    interrupted: BaseException | None = None
    try:
        run = one.carry_out()
    except (Interrupted, KeyboardInterrupt) as error:
        interrupted = error
        run = one.result("interrupted", "stopped by the user")
    except (LabError, DaemonError, NotConverged, TransferError, OSError) as error:
        run = one.result("failed", str(error))
    finally:
        with uninterrupted():
            one.tear_down()
    bundle.add_run(run)
    observer.finished(run)
    if interrupted is not None:
        raise Interrupted("the run was stopped; what was measured until then is in the bundle") from interrupted
    return run


class _One:
    """The parts of a run while it lasts. Every part may be missing when it ends early."""

    def __init__(self, job: Job, choice: SchemeChoice, repetition: int, bundle: BundleWriter, observer: Observer):
        self.job, self.choice, self.repetition = job, choice, repetition
        self.transport = transport_for(job.scenario, choice)
        self.bundle, self.observer = bundle, observer
        self.name = f"{choice}-{repetition}"
        self.folder = bundle.run_dir(self.name)
        self.scheme = make_scheme(choice)
        self.lab: Lab | None = None
        self.instruments: Instruments | None = None
        self.captures: Captures | None = None
        self.timeline: Timeline | None = None
        self.syncs: list[SyncRun] = []
        self.crowd = Crowd()
        self.zero = 0.0
        self.bringup: dict[str, float] = {}
        self.spoken: list[Reading] = []  # when the IGP stood, when every site had a probe
        self.state: dict[str, dict[str, int]] = {}
        self.control: dict[str, dict[str, int]] = {}
        self.control_setup: dict[str, dict[str, int]] = {}
        self.grown: dict[counters.Direction, counters.Counters] = {}
        self.stopped = False
        self.requested: float | None = None

    def carry_out(self) -> Run:
        scheme = self.scheme
        lab = self._bring_up(scheme)
        self._phase("preparing the transfer")
        self._prepare(lab, scheme)
        self._start_instruments(lab, scheme)
        self._deliver(lab)
        self._phase("reading state and counters")
        self._read_back(lab, scheme)
        self._stop_measuring()
        return self.result("passed")

    def tear_down(self) -> None:
        """End everything that runs and leave nothing behind."""
        self._phase("tearing down")
        try:
            self._stop_measuring()
            if self.lab is not None:
                keep_logs(self.lab, self.folder)
        finally:
            if self.lab is not None:
                self.lab.stop()

    # -- the way up ------------------------------------------------------------------------------------------------

    def _bring_up(self, scheme: Scheme) -> Lab:
        job = self.job
        timers = profile(job.scenario.timers, job.scenario.detection)
        configs = router_configs(job.plan, scheme, timers, job.frr_version)
        lab = self.lab = Lab(
            job.plan,
            configs,
            impaired=job.impaired,
            impairable=impairable(job.plan, job.scenario.timeline),
            impairments=job.scenario.impairments,
            seed=f"{job.scenario.seed}/{self.repetition}",  # every scheme meets the same losses
            carrier=not hides_carrier(job.scenario.detection),
            check=True,
            progress=self._phase,
        )
        lab.registry.state.scheme = str(self.choice)
        keep_configs(lab, self.folder)
        lab.start()
        lab.wait_for_igp()
        self.spoken = [_spoken(lab, scheme)]
        self._phase(f"waiting for {scheme.name}")
        start = time.monotonic()
        scheme.start(lab)
        scheme.wait_ready(lab)
        self.bringup = {**lab.timings, "scheme_s": time.monotonic() - start}
        return lab

    def _prepare(self, lab: Lab, scheme: Scheme) -> None:
        for number, cargo in enumerate(self.job.cargo, start=1):
            flow = scheme.flow(number)
            hosts = destinations(self.job.plan, cargo.sync)
            on_demand = cargo.sync.setup == "on-demand"
            stream = Stream(cargo.sync.name, flow, self.job.plan.repository, hosts, on_demand)
            delivery = make_delivery(self.job, cargo, hosts, flow, self.transport)
            self.requested = delivery.rate
            session = Session(
                delivery,
                self.transport,
                lambda node, argv, *, log: self._spawn(lab, node, argv, log),
                work=self.folder / "delivery",
                # Beside the records what is to be kept; else in memory, which is given back as it is verified.
                bulk=self.folder / "delivered" if self.job.keep else lab.registry.bulk("/dev/shm"),
                keep=self.job.keep,
                notify=self._heard,
            )
            sync = SyncRun(cargo, stream, session)
            self.syncs.append(sync)
            sync.prepare(lab, scheme)
        self.crowd = make_crowd(self.job.scenario.background, scheme, self.job.plan, len(self.syncs) + 1)
        for stream in self.crowd.streams:
            scheme.prepare(lab, stream.flow, stream.source, stream.hosts)

    def _spawn(self, lab: Lab, node: str, argv: Any, log: Path) -> Any:
        with log.open("ab") as out:
            return lab[node].popen(argv, stdout=out, stderr=out)

    def _start_instruments(self, lab: Lab, scheme: Scheme) -> None:
        probe = self.job.scenario.probe
        streams = [sync.stream for sync in self.syncs]
        probed, joined = (*streams, *self.crowd.watched), self.crowd.silent
        instruments = Instruments(lab, probed, probe, self.folder, self._emit, self.name, joined)
        self.instruments = instruments
        topology = self.job.plan.topology
        captured = [found[0] for ref in self.job.scenario.capture if (found := find_link(topology, ref)) is not None]
        self.captures = Captures(lab, captured, self.folder)
        self.captures.start()
        instruments.start()
        self._phase("waiting for the first probe at every site")
        self.bringup["first_probe_s"] = instruments.wait_for_probes()
        instruments.settle()
        self.spoken.append(_spoken(lab, scheme))
        self.control_setup = messages_between(*self.spoken)
        scene, faults = Scene(lab, scheme, streams), self.job.scenario.timeline
        self.timeline = Timeline(scene, faults, lambda t, kind, detail: instruments.record(t, kind, "", detail))

    # -- the transfer ----------------------------------------------------------------------------------------------

    def _deliver(self, lab: Lab) -> None:
        assert self.instruments is not None
        assert self.timeline is not None
        self.instruments.zero(self._copy_rate())
        self._phase("delivering")
        waiting = sorted(self.syncs, key=lambda sync: sync.cargo.sync.start)
        patience = self.job.scenario.transport.patience
        self.zero = time.monotonic()
        self.timeline.start(self.zero)
        started: list[SyncRun] = []
        limit = self._time_limit()
        while True:
            while waiting and time.monotonic() >= self.zero + waiting[0].cargo.sync.start:
                started.append(waiting.pop(0))
                started[-1].start(lab, self.scheme, self.instruments, patience)
            over = [sync.look(self.instruments) for sync in started]
            if not waiting and self.timeline.done and all(over):
                break
            if self.timeline.error is not None:
                raise LabError(f"the timeline failed: {self.timeline.error}") from self.timeline.error
            if dead := lab.dead_daemons():
                raise DaemonError(f"daemons ended by themselves: {', '.join(dead)}; see log/ in the run's folder")
            elapsed = time.monotonic() - self.zero
            if elapsed > limit:
                raise TransferError(f"the transfer was still not over after {limit:.0f} s")
            verified: dict[str, int] = {}
            for sync in started:
                verified.update(sync.session.progress())
            expected = max(c.manifest.total for c in self.job.cargo)
            self.observer.progress(self.name, verified, expected, elapsed)
            time.sleep(_POLL)
        # What was restored last brings adjacencies, and with them another tree; what then is lost may come back late.
        timers = profile(self.job.scenario.timers, self.job.scenario.detection)
        delivered = all(site.delivered for sync in self.syncs for site in sync.session.results())
        self.instruments.settle(self.timeline.last + timers.cold_start, patience if delivered else 0.0)

    def _time_limit(self) -> float:
        """Far beyond anything a transfer that still moves needs: a tenth of the rate, and every patience on top."""
        scenario = self.job.scenario
        total = sum(s.cargo.manifest.total * s.session.delivery.copies for s in self.syncs)
        end = max((f.at + (length(f, ACTIONS) or 0) for f in scenario.timeline), default=0.0)
        start = max(s.start for s in scenario.syncs)
        return start + end + 3 * scenario.transport.patience + 80 * total / (self.requested or 1e8)

    def _read_back(self, lab: Lab, scheme: Scheme) -> None:
        assert self.instruments is not None
        self.grown = self.instruments.counted()
        kernel = counters.multicast_state(lab.plan, lab.pid_of)
        daemons = scheme.state(lab)
        self.state = {name: {**kernel.get(name, {}), **daemons.get(name, {})} for name in kernel}
        self.control = messages_between(self.spoken[1], _spoken(lab, scheme))
        keep_trees(lab, self.folder)

    def _stop_measuring(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        if self.timeline is not None:
            self.timeline.stop()
            keep_timeline(self.timeline.resolved, self.folder)
        if self.lab is not None and self.instruments is not None and not self.grown:
            self.grown = self.instruments.counted()
        if self.lab is not None and self.instruments is not None:
            for event in self.scheme.events(self.lab):
                self.instruments.record(event.t, event.kind, event.router, event.detail)
            self.instruments.stop()
        if self.captures is not None:
            self.captures.stop()
        for sync in self.syncs:
            sync.session.stop()

    # -- the result ------------------------------------------------------------------------------------------------

    def result(self, outcome: Outcome, reason: str = "") -> Run:
        """The record of the run, from whatever there is."""
        self._stop_measuring()
        sites = self._sites() if self.zero else ()
        judged: dict[str, Any] = {}
        if self.instruments is not None and self.zero:
            copy = ideal_bytes(self.job, self.job.cargo[0], self.transport)
            times = [s.delivery_s for s in sites if s.delivery_s is not None]
            end = self.zero + max(times) if len(self.syncs) == 1 and len(times) == len(sites) else None
            touched = self.timeline.touched if self.timeline is not None else ()
            judged = assess(self.instruments.measured(self.grown, touched, copy, self.zero, end, sites))
            skipped = self.timeline.skipped if self.timeline is not None else []
            judged["warnings"] += [f"a fault hit nothing: {each}" for each in skipped]
            checked = self.lab.checked if self.lab is not None else {}
            judged["shapes"] = {f"{link} from {node}": check.record() for (link, node), check in checked.items()}
            judged["warnings"] += not_as_asked(checked)
            if self.lab is not None and self.lab.engine is not None and not self.lab.engine.why_dead():
                judged["impairment_engine"] = self.lab.engine.record()
        if outcome == "passed":
            if short := [s for s in sites if not s.delivered]:
                outcome, reason = "failed", "; ".join(f"{s.name}: {s.reason}" for s in short)
            elif judged.get("invalid"):
                outcome, reason = "invalid", str(judged["invalid"])
        events = self.instruments.events if self.instruments is not None else []
        hosts = [host for sync in self.syncs for host in sync.stream.hosts]
        timers = profile(self.job.scenario.timers, self.job.scenario.detection)
        repairs = Repairs(self.job.plan, {host: _way(self.scheme, self.job.plan, host) for host in hosts}, events)
        return Run(
            scheme=str(self.choice),
            repetition=self.repetition,
            seed=self.job.scenario.seed + self.repetition - 1,
            outcome=outcome,
            reason=reason,
            zero=self.zero,
            sites=sites,
            links=self._links(),
            state=self.state,
            control=self.control,
            control_setup=self.control_setup,
            stages=find_stages(
                events,
                hosts,
                repairs.repaired,
                repairs.concerned,
                self.scheme.stages,
                window_s=WINDOW_S + timers.unnoticed,
                probes_s=self.job.scenario.probe.interval,
            ),
            setups=tuple(row for sync in self.syncs if (row := sync.setup()) is not None),
            flows=self._flows(),
            fidelity=judged,
            bringup={key: round(value, 4) for key, value in self.bringup.items()},
        )

    def _copy_rate(self) -> float | None:
        """What one copy is to be sent at, in layer-2 bit/s; known where there is one sync, set up beforehand."""
        if len(self.syncs) != 1 or self.syncs[0].stream.on_demand:
            return None
        delivery = self.syncs[0].session.delivery
        return delivery.rate / delivery.copies

    def _causes(self) -> list[Cause]:
        assert self.instruments is not None
        return [
            (e.t, fault_words(e.detail) + (" restored" if e.kind == "fault-restored" else ""))
            for e in self.instruments.events
            if e.kind in ("fault", "fault-restored")
        ]

    def _sites(self) -> tuple[SiteResult, ...]:
        assert self.instruments is not None
        faults = self._causes()
        results = []
        for sync in self.syncs:
            stream = sync.stream
            for site in sync.session.results():
                found = self.instruments.outages(stream, site.name, self.zero, faults)
                if found is not None:
                    first_probe = None if found.first_probe_s is None else self.zero + found.first_probe_s
                    site = replace(
                        site,
                        outages=found.outages,
                        probes_received=found.received,
                        probes_lost=found.lost,
                        duplicates=found.duplicates,
                        setup_ms=sync.setup_ms(first_probe),
                    )
                for outage in site.outages:  # only the finished records can tell these
                    detail = {"sync": stream.sync, "length_ms": outage.length_ms, "lost": outage.lost}
                    start = self.zero + outage.start_s
                    self.instruments.record(start, "outage-start", site.name, detail)
                    if outage.end_s is not None:
                        end = {**detail, "travel_ms": outage.travel_ms}
                        self.instruments.record(self.zero + outage.end_s, "outage-end", site.name, end)
                results.append(site)
        return tuple(results)

    def _flows(self) -> tuple[FlowResult, ...]:
        if self.instruments is None or not self.zero:
            return ()
        return self.crowd.results(self.instruments, self.zero, self._causes())

    def _heard(self, t: float, kind: str, host: str, detail: dict[str, Any]) -> None:
        if self.instruments is not None:
            self.instruments.record(t, kind, host, detail)

    def _links(self) -> tuple[LinkResult, ...]:
        if not self.grown:
            return ()
        ideal: dict[counters.Direction, int] = {}
        for sync in self.syncs:
            size = ideal_bytes(self.job, sync.cargo, self.transport)
            for branch in ideal_tree(self.job.plan, sync.stream.source, sync.stream.hosts):
                key = (branch.link, branch.src)
                ideal[key] = ideal.get(key, 0) + size
        return counters.link_results(self.job.plan, self.grown, ideal)

    def _phase(self, text: str) -> None:
        self.observer.phase(self.name, text)
        self._emit(Event(time.monotonic(), self.name, "phase", "", {"name": text}))

    def _emit(self, event: Event) -> None:
        self.bundle.event(event)
        self.observer.event(event)


def _spoken(lab: Lab, scheme: Scheme) -> Reading:
    """The control messages so far: the scheme's own, then those that every scheme has."""
    return {**scheme.control(lab), **read_igp(lab)}


def _way(scheme: Scheme, plan: Plan, host: str) -> Way:
    """Multicast routing by the kernel is PIM's, which follows the routes to the source; whatever else forwards a group
    goes by the routes to the sites' routers or to their locators, and unicast by those to the hosts."""
    if scheme.features is not None:
        return way_to_source(plan, host)
    if not scheme.multicast:
        return way_to_host(plan, host)
    return way_to_locator(plan, host) if scheme.underlay.srv6 else way_to_site(plan, host)
