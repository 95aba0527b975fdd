"""The figures of a bundle as plain data, for `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from testbed.bundle import RUNNING, Bundle
from testbed.report import words
from testbed.report.figures import RunFigures, Series, counts, goodput, site_figures, studies
from testbed.report.stats import Summary
from testbed.serial import plain

_FIGURES = {
    "slowest_delivery_s": "slowest_s",
    "slowest_goodput_bps": "slowest_goodput",
    "longest_outage_ms": "longest_outage_ms",
    "beyond_igp_ms": "beyond_igp_ms",
    "slowest_setup_ms": "slowest_setup_ms",
    "interrupted_sites": "interrupted_sites",
    "probes_lost": "lost",
    "duplicates": "duplicates",
    "link_bytes": "link_bytes",
    "ideal_bytes": "ideal_bytes",
    "against_ideal": "against_ideal",
}


def summary_json(bundle: Bundle) -> dict[str, Any]:
    """Per scheme and site the statistics over the runs that count; per run its own figures.

    Units are in the names: `_s`, `_ms`, `_bps` (bit/s), `_bytes`. A statistic is an object with `n`, `median`,
    `minimum`, `maximum`, `q1`, `q3`, `ci` (null below six values), or null where there is nothing to count.
    """
    (study,) = studies([bundle])
    outcome = bundle.manifest.get("outcome")
    data: dict[str, Any] = {
        "bundle": str(bundle.path),
        "scenario": study.scenario.name,
        "outcome": "interrupted" if outcome == RUNNING else outcome,
        "flags": words.flags(bundle.manifest),
        "timers": bundle.manifest.get("timers"),
        "model_bytes": words.model_bytes(study.scenario),
        "sending_rate_bps": words.sending_rate(study.scenario),
        "schemes": {s.scheme: _scheme(s) for s in study.series},
        "runs": [_run(RunFigures(r)) for r in bundle.runs],
        "unfinished_runs": list(bundle.unfinished_runs),
        "verdict": words.verdict(study),
    }
    plained: dict[str, Any] = plain(data)
    return plained


def _scheme(series: Series) -> dict[str, Any]:
    usable = [f.run for f in series.measured]
    return {
        "runs": len(series.runs),
        "runs_counted": len(usable),
        **{name: _summary(series.of(figure)) for name, figure in _FIGURES.items()},
        "sites": {
            s.label: {
                "delivered": s.delivered,
                "of": len(s.results),
                "delivery_s": _summary(s.delivery_s),
                "goodput_bps": _summary(s.goodput),
                "first_byte_s": _summary(s.first_byte_s),
                "setup_ms": _summary(s.setup_ms),
                "outages": _summary(s.outages),
                "longest_outage_ms": _summary(s.longest_ms),
                "probes_lost": _summary(s.lost),
                "duplicates": _summary(s.duplicates),
            }
            for s in site_figures(usable)
        },
    }


def _run(figures: RunFigures) -> dict[str, Any]:
    run = figures.run
    return {
        "scheme": run.scheme,
        "repetition": run.repetition,
        "seed": run.seed,
        "outcome": run.outcome,
        "reason": run.reason,
        "counted": counts(run),
        **{name: getattr(figures, figure) for name, figure in _FIGURES.items()},
        "sites": [
            {
                "name": s.name,
                "site": s.site,
                "sync": s.sync,
                "delivered": s.delivered,
                "reason": s.reason,
                "delivery_s": s.delivery_s,
                "first_byte_s": s.first_byte_s,
                "setup_ms": s.setup_ms,
                "goodput_bps": goodput(s),
                "outages": [asdict(o) for o in s.outages],
                "probes_lost": s.probes_lost,
                "duplicates": s.duplicates,
            }
            for s in run.sites
        ],
        "fidelity": run.fidelity,
    }


def _summary(summary: Summary | None) -> dict[str, Any] | None:
    return asdict(summary) if summary else None
