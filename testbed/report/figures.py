"""The figures of a report, worked out from the records of its bundles.

Only runs that measured something enter a figure: those that passed, and those that failed because a site did not get
the model. Invalid, interrupted and unsupported runs are listed and never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from testbed.bundle import SCENARIO, Bundle, run_id
from testbed.errors import Problem, RequestError
from testbed.record import Event, Run, SiteResult, fault_words
from testbed.report.loose import number
from testbed.report.stats import Summary, summarise
from testbed.spec.scenario import Scenario


def counts(run: Run) -> bool:
    """Whether the run's numbers may enter a statistic."""
    return run.outcome in ("passed", "failed")


def probed(site: SiteResult) -> bool:
    """Whether a probe stream was meant for the site: without one, no outage means nothing."""
    return bool(site.probes_received or site.probes_lost or site.outages)


def beyond_igp(stage: Mapping[str, Any]) -> float | None:
    """The ms of a site's outage after a fault that lie after the IGP had repaired the site's path: what the scheme
    took on top. 0: packets were back before the repair was seen. None: not known, or the fault was a restoration,
    which breaks no path. Bundles without `igp_ms` were written before it was measured.
    """
    start, probe, igp = (number(stage.get(key)) for key in ("outage_start_ms", "first_probe_ms", "igp_ms"))
    if probe is None or igp is None or str(stage.get("fault", "")).startswith("restored"):
        return None
    return max(0.0, probe - max(igp, start or 0.0))


_OF_ALL_SCHEMES = ("ospf", "ospfv3", "bfd")


def own_messages(run: Run) -> int:
    """Control messages of the scheme's own while the model was sent, hellos left out: those go round anyway."""
    own = (counts for protocol, counts in run.control.items() if protocol not in _OF_ALL_SCHEMES)
    return sum(counts.get("messages", 0) - counts.get("hello", 0) for counts in own)


def goodput(site: SiteResult) -> float | None:
    """Verified bits over delivery time, in bit/s; None where the model was not delivered."""
    if not site.delivered or not site.delivery_s:
        return None
    return site.verified_bytes * 8 / site.delivery_s


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run in a few numbers. `slowest` is the destination that had the model last; None unless all got it."""

    run: Run

    @property
    def delivered(self) -> int:
        return sum(s.delivered for s in self.run.sites)

    @property
    def slowest(self) -> SiteResult | None:
        if not self.run.sites or any(s.delivery_s is None or not s.delivered for s in self.run.sites):
            return None
        return max(self.run.sites, key=lambda s: s.delivery_s or 0.0)

    @property
    def slowest_s(self) -> float | None:
        return self.slowest.delivery_s if self.slowest else None

    @property
    def slowest_goodput(self) -> float | None:
        """The lowest goodput of any destination, in bit/s; None unless all got the model."""
        return min((goodput(s) or 0.0 for s in self.run.sites), default=None) if self.slowest else None

    @property
    def link_bytes(self) -> int | None:
        """Bytes on all links, both directions, while the model was sent."""
        return sum(x.bytes for x in self.run.links) if self.run.links else None

    @property
    def ideal_bytes(self) -> int | None:
        return sum(x.ideal_bytes for x in self.run.links) if self.run.links else None

    @property
    def against_ideal(self) -> float | None:
        return self.link_bytes / self.ideal_bytes if self.link_bytes is not None and self.ideal_bytes else None

    @property
    def interrupted_sites(self) -> int | None:
        """Destinations with an outage; None without probes, as are the other figures taken from probes."""
        return sum(bool(s.outages) for s in self.run.sites) if self._probed else None

    @property
    def longest_outage_ms(self) -> float | None:
        """The longest outage at any destination; 0 where probes ran and none was seen; None without probes."""
        lengths = (o.length_ms for s in self.run.sites for o in s.outages)
        return max(lengths, default=0.0) if self._probed else None

    @property
    def beyond_igp_ms(self) -> float | None:
        """`beyond_igp` of the worst site; None if it is known of no site."""
        return max((ms for stage in self.run.stages if (ms := beyond_igp(stage)) is not None), default=None)

    @property
    def slowest_setup_ms(self) -> float | None:
        """Of what was set up on demand: when the last site of all had its first packet after its sync's start."""
        return max((s.setup_ms for s in self.run.sites if s.setup_ms is not None), default=None)

    @property
    def lost(self) -> int | None:
        return sum(s.probes_lost for s in self.run.sites) if self._probed else None

    @property
    def duplicates(self) -> int | None:
        return sum(s.duplicates for s in self.run.sites) if self._probed else None

    @property
    def _probed(self) -> bool:
        return any(probed(s) for s in self.run.sites)


@dataclass(frozen=True, slots=True)
class Series:
    """One scheme of one bundle: what a column of a comparison stands for.

    `hue` numbers the scheme: it has one colour all over a report, in every bundle.
    """

    label: str
    bundle: int
    scheme: str
    runs: tuple[Run, ...]
    hue: int = 0

    @property
    def measured(self) -> tuple[RunFigures, ...]:
        return tuple(RunFigures(r) for r in self.runs if counts(r))

    @property
    def usable(self) -> tuple[RunFigures, ...]:
        """What to show: the runs that count; where none does, one that does not, which `title` then says."""
        return self.measured or (RunFigures(self.shown),)

    @property
    def title(self) -> str:
        return self.label if self.measured else f"{self.label} (not counted)"

    @property
    def shown(self) -> Run:
        """The run to draw: of those that count, the one with the median slowest site; else the first at all."""
        timed = sorted((f for f in self.measured if f.slowest_s is not None), key=lambda f: f.slowest_s or 0.0)
        if timed:
            return timed[(len(timed) - 1) // 2].run
        return self.measured[0].run if self.measured else self.runs[0]

    def of(self, figure: str) -> Summary | None:
        """The summary of a property of `RunFigures` over the runs that count."""
        return summarise(getattr(f, figure) for f in self.measured)


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """One destination under one scheme, over the runs that count. Goodput in bit/s."""

    label: str
    results: tuple[SiteResult, ...]

    @property
    def delivered(self) -> int:
        return sum(r.delivered for r in self.results)

    @property
    def delivery_s(self) -> Summary | None:
        return summarise(r.delivery_s for r in self.results if r.delivered)

    @property
    def goodput(self) -> Summary | None:
        return summarise(goodput(r) for r in self.results)

    @property
    def first_byte_s(self) -> Summary | None:
        return summarise(r.first_byte_s for r in self.results)

    @property
    def setup_ms(self) -> Summary | None:
        return summarise(r.setup_ms for r in self.results)

    @property
    def outages(self) -> Summary | None:
        return summarise(len(r.outages) for r in self._probed)

    @property
    def longest_ms(self) -> Summary | None:
        """A run without an outage enters as 0."""
        return summarise(max((o.length_ms for o in r.outages), default=0.0) for r in self._probed)

    @property
    def lost(self) -> Summary | None:
        return summarise(r.probes_lost for r in self._probed)

    @property
    def duplicates(self) -> Summary | None:
        return summarise(r.duplicates for r in self._probed)

    @property
    def _probed(self) -> list[SiteResult]:
        return [r for r in self.results if probed(r)]


@dataclass(frozen=True, slots=True)
class Study:
    """A bundle with its scenario understood."""

    bundle: Bundle
    scenario: Scenario
    label: str
    series: tuple[Series, ...]

    def events(self, run: Run) -> tuple[Event, ...]:
        return tuple(e for e in self.bundle.events if e.run == run_id(run))


def studies(bundles: Sequence[Bundle]) -> tuple[Study, ...]:
    """Bundles ready to be reported. Raises RequestError where a scenario is not one this testbed understands."""
    problems: list[Problem] = []
    made: list[Study] = []
    names = [b.name for b in bundles]
    hues = {scheme: hue for hue, scheme in enumerate(dict.fromkeys(r.scheme for b in bundles for r in b.runs))}
    for index, bundle in enumerate(bundles):
        try:
            scenario = Scenario.model_validate(bundle.scenario)
        except ValidationError as error:
            hint = "the report needs the scenario as the run wrote it; restore the file"
            for e in error.errors(include_url=False):
                where = f"{bundle.path / SCENARIO}: {'.'.join(map(str, e['loc']))}"
                problems.append(Problem(e["msg"], where, hint))
            continue
        # Two results/ folders may hold bundles of one name.
        label = bundle.name if names.count(bundle.name) == 1 else str(bundle.path)
        series = tuple(replace(s, bundle=index, hue=hues[s.scheme]) for s in series_of(bundle.runs))
        made.append(Study(bundle, scenario, label, series))
    if problems:
        raise RequestError(problems)
    return tuple(made)


def series_of(runs: Sequence[Run]) -> tuple[Series, ...]:
    """The runs by scheme, in the order in which the schemes first ran."""
    schemes = dict.fromkeys(r.scheme for r in runs)
    return tuple(Series(s, 0, s, tuple(r for r in runs if r.scheme == s), hue) for hue, s in enumerate(schemes))


def side_by_side(found: Sequence[Study]) -> tuple[Series, ...]:
    """Every series of every bundle; where there are several bundles, labelled with theirs."""
    if len(found) == 1:
        return found[0].series
    return tuple(replace(s, label=f"{study.label} · {s.scheme}") for study in found for s in study.series)


def site_figures(runs: Sequence[Run]) -> tuple[SiteFigures, ...]:
    """Every destination of the runs given, in their order; the caller leaves out those that do not count."""
    found: dict[tuple[str, str], list[SiteResult]] = {}
    for run in runs:
        for site in run.sites:
            found.setdefault((site.sync, site.name), []).append(site)
    labels = site_labels(runs)
    return tuple(SiteFigures(labels[key], tuple(results)) for key, results in found.items())


def site_labels(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """What to call a destination, by (sync, host): its site; the host where a site has several; the sync if many."""
    keys = {(s.sync, s.name): s.site for r in runs for s in r.sites}
    many_syncs = len({sync for sync, _ in keys}) > 1
    taken = [(sync, site) for (sync, _), site in keys.items()]
    labels = {}
    for (sync, name), site in keys.items():
        label = site if taken.count((sync, site)) == 1 else name
        labels[sync, name] = f"{sync}: {label}" if many_syncs else label
    return labels


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault as it happened, in seconds after the run's zero; `end_s` None: never restored."""

    label: str
    start_s: float
    end_s: float | None


def fault_windows(events: Sequence[Event], run: Run) -> tuple[FaultWindow, ...]:
    """The faults of a run, each with its restoration: the first one after it of the same fault."""
    restored = [e for e in events if e.kind == "fault-restored"]
    windows = []
    for fault in (e for e in events if e.kind == "fault"):
        end = next((r for r in restored if r.t >= fault.t and _same(fault, r)), None)
        if end:
            restored.remove(end)
        windows.append(FaultWindow(fault_label(fault), fault.t - run.zero, end.t - run.zero if end else None))
    return tuple(windows)


def _same(fault: Event, other: Event) -> bool:
    return fault.detail.get("id") == other.detail.get("id") and fault_label(fault) == fault_label(other)


def fault_label(event: Event) -> str:
    """`cut r1-r2`, from a fault event's detail."""
    return fault_words(event.detail)
