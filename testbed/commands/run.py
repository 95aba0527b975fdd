"""`testbed run SCENARIO`: carry a scenario out, and report."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import get_args

from testbed.bundle import read_bundle
from testbed.commands.common import Commands, json_flag
from testbed.commands.scenarios import end_in_order, find_scenario, scenario_arguments
from testbed.errors import Interrupted
from testbed.spec.load import Overrides
from testbed.spec.scenario import Detection
from testbed.terminal import LiveObserver, say_json, stderr, stdout


def add(commands: Commands) -> None:
    parser = commands.add_parser("run", help="carry a scenario out and report")
    scenario_arguments(parser)
    parser.add_argument("--size", help="instead of the models' sizes, for example 2GiB")
    parser.add_argument("--repeat", metavar="N", help="repetitions of every scheme")
    parser.add_argument("--seed", metavar="N", help="instead of the scenario's seed")
    parser.add_argument("--timeline", metavar="FILE", help="instead of the scenario's faults: a bundle's timeline.yaml")
    parser.add_argument(
        "--detection",
        metavar="|".join(get_args(Detection)),
        help="by what routers learn that a link has failed, instead of the scenario's",
    )
    parser.add_argument(
        "--capture",
        action="append",
        default=[],
        metavar="LINK",
        help="write its packets down, in the bundle; may be given several times",
    )
    parser.add_argument("--out", type=Path, help="the bundle's directory; default results/<scenario>-<time>")
    parser.add_argument("--keep", action="store_true", help="keep the delivered files, in the bundle")
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    # Here and not above: the other commands need not wait for the libraries of this one.
    from testbed.report.html import write_report
    from testbed.report.summary import summary_json
    from testbed.report.terminal import summary_table
    from testbed.run.calibrate.carry_out import beyond
    from testbed.run.runner import run_scenario

    scenario = find_scenario(
        options.scenario,
        Overrides(
            schemes=tuple(options.scheme),
            size=options.size,
            repetitions=options.repeat,
            seed=options.seed,
            topology=options.topology,
            timeline=options.timeline,
            detection=options.detection,
            impairments=options.impairments,
            capture=tuple(options.capture),
        ),
    )
    impaired = not options.without_impairments
    out = options.out or Path("results") / f"{scenario.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    warnings = beyond(scenario, impaired=impaired)
    for warning in warnings:
        stderr.print(f"testbed: warning: {warning}", style="yellow", soft_wrap=True)
    end_in_order()
    interrupted: Interrupted | None = None
    with LiveObserver() as observer:
        try:
            run_scenario(scenario, out, observer, impaired=impaired, keep=options.keep)
        except (Interrupted, KeyboardInterrupt) as error:
            interrupted = error if isinstance(error, Interrupted) else Interrupted("interrupted")
    report = write_report([out])
    bundle = read_bundle(out)
    if options.json:
        say_json({**summary_json(bundle), "warnings": warnings, "bundle": str(out), "report": str(report)})
    else:
        stdout.print(summary_table(bundle.runs, scenario, bundle.manifest))
        stdout.print(f"bundle: {out}\nreport: {report}", soft_wrap=True)
    if interrupted is not None:
        stderr.print(f"testbed: {interrupted}", style="red", soft_wrap=True)
        return interrupted.exit_status
    return 0 if bundle.runs and all(r.outcome == "passed" for r in bundle.runs) else 1
