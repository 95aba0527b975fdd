"""`testbed run SCENARIO`: carry a scenario out, and report."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from testbed.bundle import read_bundle
from testbed.commands.common import Commands, json_flag
from testbed.errors import Interrupted, Problem, RequestError
from testbed.spec.scenario import SchemeChoice
from testbed.terminal import LiveObserver, say_json, stderr, stdout


def add(commands: Commands) -> None:
    parser = commands.add_parser("run", help="carry a scenario out and report")
    parser.add_argument("scenario", help="a file, or a ready-made name such as quickstart")
    parser.add_argument(
        "--scheme",
        action="append",
        default=[],
        metavar="NAME[:OPTION=VALUE,...]",
        help="instead of the scenario's schemes; may be given several times",
    )
    parser.add_argument("--topology", help="instead of the scenario's: a file, a ready-made name, topohub:GROUP/NAME")
    parser.add_argument("--size", help="instead of the models' sizes, for example 2GiB")
    parser.add_argument("--repeat", metavar="N", help="repetitions of every scheme")
    parser.add_argument("--seed", metavar="N", help="instead of the scenario's seed")
    parser.add_argument("--timeline", metavar="FILE", help="instead of the scenario's faults: a bundle's timeline.yaml")
    parser.add_argument("--out", type=Path, help="the bundle's directory; default results/<scenario>-<time>")
    parser.add_argument("--keep", action="store_true", help="keep the delivered files, in the bundle")
    parser.add_argument(
        "--without-impairments",
        action="store_true",
        help="leave delays and losses out where the kernel has no netem; every result then says so",
    )
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    # Here and not above: the other commands need not wait for the libraries of this one.
    from testbed.report.html import write_report
    from testbed.report.summary import summary_json
    from testbed.report.terminal import summary_table
    from testbed.run.faults import ACTIONS
    from testbed.run.runner import run_scenario
    from testbed.run.transports import carried
    from testbed.schemes import SCHEMES
    from testbed.spec.check_scenario import Known
    from testbed.spec.load import Overrides, load_scenario
    from testbed.transfer.registry import TRANSPORTS

    scenario = load_scenario(
        options.scenario,
        overrides=Overrides(
            schemes=tuple(options.scheme),
            size=options.size,
            repetitions=options.repeat,
            seed=options.seed,
            topology=options.topology,
            timeline=options.timeline,
        ),
        known=Known(SCHEMES.keys(), TRANSPORTS.keys(), ACTIONS, carried()),
    )
    _check_options(scenario.schemes)
    out = options.out or Path("results") / f"{scenario.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    interrupted: Interrupted | None = None
    with LiveObserver() as observer:
        try:
            run_scenario(scenario, out, observer, impaired=not options.without_impairments, keep=options.keep)
        except (Interrupted, KeyboardInterrupt) as error:
            interrupted = error if isinstance(error, Interrupted) else Interrupted("interrupted")
    report = write_report([out])
    bundle = read_bundle(out)
    if options.json:
        say_json({**summary_json(bundle), "bundle": str(out), "report": str(report)})
    else:
        stdout.print(summary_table(bundle.runs, scenario, bundle.manifest))
        stdout.print(f"bundle: {out}\nreport: {report}", soft_wrap=True)
    if interrupted is not None:
        stderr.print(f"testbed: {interrupted}", style="red", soft_wrap=True)
        return interrupted.exit_status
    return 0 if bundle.runs and all(r.outcome == "passed" for r in bundle.runs) else 1


def _check_options(choices: Sequence[SchemeChoice]) -> None:
    from testbed.schemes import make_scheme

    problems: list[Problem] = []
    for choice in choices:
        try:
            make_scheme(choice)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(f"stopped by {signal.Signals(number).name}")
