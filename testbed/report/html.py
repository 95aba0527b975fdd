"""The report as one HTML file: no script, nothing fetched, the same bytes from the same bundles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from testbed.bundle import REPORT, Bundle, read_bundles, write_atomically
from testbed.errors import Problem, RequestError
from testbed.report import (
    distribution,
    plots,
    tables,
    tables_costs,
    tables_detail,
    tables_fidelity,
    tables_setup,
    tables_stages,
    words,
)
from testbed.report.figures import Study, counts, side_by_side, studies
from testbed.report.fmt import plural
from testbed.report.scale import Scaling, scaling
from testbed.report.table import Table
from testbed.report.timeline import timelines
from testbed.units import format_rate, format_size

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "report"
COMPARISON = "comparison.html"
_LANES = ("What each router and site saw, on one clock. Routers that changed nothing are left out; bars are outages as "
          "the sites saw them.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page; `note` says what to look for."""

    title: str
    svg: Markup
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it; sections without content are not printed."""

    anchor: str
    title: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]
    folded: tuple[Table, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.pictures or self.tables or self.folded)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One bundle's own part of the page."""

    study: Study
    asked: str
    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    sections: tuple[Section, ...]
    scaling: Scaling
    threats: tuple[str, ...]


def make_html(bundles: Sequence[Bundle]) -> str:
    """The report on one bundle, or on several side by side. Raises RequestError if a scenario is not understood."""
    if not bundles:
        raise RequestError([Problem("no bundle to report on", hint="name at least one directory under results/")])
    read = studies(bundles)
    series = side_by_side(read)
    several = len(read) > 1
    overview = [tables.comparison(series, [s.label for s in read])] if series else []
    if several:
        overview += [tables_setup.setups(series), tables_detail.differences(read)]
    compared = plots.comparison(series, read, "compared") if series else ""
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=" and ".join(dict.fromkeys(s.scenario.name for s in read)),
        several=several,
        verdicts=[(study.label, words.verdict(study)) for study in read],
        overview=Section("compared", "Schemes compared", _pictures(("", compared, "", "runs.json: sites, links")),
                         tuple(t for t in overview if t.rows)),
        chapters=[_chapter(study, index, several=several) for index, study in enumerate(read)],
        environment=tables_detail.environment(read),
        method=words.METHOD,
    )  # fmt: skip


def write_report(bundle_dirs: Iterable[Path | str], out: Path | str | None = None) -> Path:
    """Reads the bundles and writes the report; returns where.

    Without `out`: `report.html` in the bundle, or for several `comparison.html` beside the first of them.
    Raises RequestError with everything wrong with any bundle, or if the report cannot be written.
    """
    bundles = read_bundles(bundle_dirs)
    text = make_html(bundles)
    if out is not None:
        path = Path(out)
    else:
        path = bundles[0].path / REPORT if len(bundles) == 1 else bundles[0].path.parent / COMPARISON
    try:
        write_atomically(path, text)
    except OSError as error:
        hint = "give a file in a directory that exists and may be written"
        raise RequestError([Problem(f"cannot write the report: {error.strerror}", str(path), hint)]) from None
    return path


def _chapter(study: Study, index: int, *, several: bool) -> Chapter:
    name = f"b{index + 1}"  # keeps the anchors and figures of one bundle apart from another's
    series = study.series
    sections = (
        Section(
            f"{name}-delivery",
            "Delivery",
            _pictures(
                ("Delivery curves", plots.delivery_curves(study, f"{name}-curves"),
                 "Above: the verified share of the model at each site. Below: how far a site is behind the one that is "
                 "ahead, which shows what an outage cost it and when that was repaired. Shaded: a fault in effect. "
                 "With repetitions, the run with the median slowest site.",
                 "runs.json: sites[].curve; events.jsonl: fault"),
            ),
            _tables(tables_setup.setups(series), tables.sites(series)),
        ),
        Section(
            f"{name}-outages",
            "Outages and convergence",
            _pictures(
                ("Length of every outage", plots.outage_strip(series, f"{name}-outages"),
                 "A dot is one outage at one site. Where six or more follow the same event, the band is their middle "
                 "half and the line their median.",
                 "runs.json: sites[].outages"),
                ("How outages are distributed", distribution.curves(series, f"{name}-distribution"),
                 "The share of all outages, over sites, runs and background flows, that were no longer than so much. A "
                 "step to the right at the top is a tail: few were hit, and those for long.",
                 "runs.json: sites[].outages, flows[].outages"),
                *(
                    (f"After: {label}", svg, _LANES,
                     "events.jsonl; runs.json: sites[].outages")
                    for label, svg in timelines(study, f"{name}-after")
                ),
            ),
            _tables(
                distribution.distribution(series), tables_costs.costs(series), tables_stages.stages_brief(series)
            ),
            _tables(tables_stages.stages(series), tables.outages(series)),
        ),
        Section(
            f"{name}-links",
            "Links",
            _pictures(
                ("Bytes on each link against the ideal tree", plots.link_bytes(series, f"{name}-links"),
                 f"Core links that carried more than a trace; at most the {plots.MOST_LINKS} busiest directions. "
                 "A bar without a mark is a detour; a mark without its bar is a link that the tree left.",
                 "runs.json: links"),
            ),
            (),
            _tables(tables.links(series)),
        ),
        Section(f"{name}-control", "Control traffic and state", (),
                _tables(tables_detail.state(series), tables_detail.control(series),
                        tables_detail.control_setup(series))),
        Section(f"{name}-fidelity", "Runs and fidelity", (),
                _tables(tables.runs(series), tables_fidelity.fidelity(series), tables_fidelity.warnings(series)),
                _tables(tables_detail.bringup(series))),
    )  # fmt: skip
    return Chapter(
        study,
        words.asked(study),
        _facts(study),
        _notices(study, several=several),
        tuple(s for s in sections if not s.empty),
        scaling(study.scenario),
        tuple(words.threats(study)),
    )


def _pictures(*drawn: tuple[str, str, str, str]) -> tuple[Picture, ...]:
    return tuple(Picture(title, Markup(svg), note, source) for title, svg, note, source in drawn if svg)


def _tables(*made: Table) -> tuple[Table, ...]:
    return tuple(t for t in made if t.rows)


def _facts(study: Study) -> tuple[tuple[str, str], ...]:
    """The scenario in a few tiles."""
    scenario, runs = study.scenario, study.bundle.runs
    counted = sum(map(counts, runs))
    rate = words.sending_rate(scenario)
    sites = sum(n.kind == "site" for n in scenario.topology.nodes.values())
    routers = sum(n.kind == "router" for n in scenario.topology.nodes.values())
    return (
        ("Model", format_size(words.model_bytes(scenario))),
        ("Sent at", format_rate(rate) if rate else "no limit"),
        ("Topology", f"{plural(sites, 'site')}, {plural(routers, 'core router')}"),
        ("Faults", str(len(scenario.timeline) or "none")),
        ("Timers", words.timers(scenario, study.bundle.manifest).brief),
        ("Runs", str(len(runs)) if counted == len(runs) else f"{len(runs)}, of which {counted} count"),
        ("Seed", str(scenario.seed)),
    )


def _notices(study: Study, *, several: bool) -> tuple[str, ...]:
    """What a reader must know before any number."""
    said = words.flags(study.bundle.manifest)
    if study.bundle.interrupted:
        said.append("This run was interrupted: what follows is what had been measured until then.")
    if study.bundle.truncated:
        said.append("The last line of events.jsonl was cut off and is left out.")
    return tuple(f"{study.label}: {s}" for s in said) if several else tuple(said)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["keep"] = _keep
    return made


def _keep(text: str) -> str:
    """The text with each number kept on one line with its unit."""
    return re.sub(r"(\d) (?=(?:m?s|%|[KMGT]i?B|[kMGT]?b/s)(?!\w))", "\\1\N{NO-BREAK SPACE}", text)
