"""What the commands share that carry a scenario out."""

from __future__ import annotations

import argparse
import signal
from types import FrameType

from testbed.commands.common import impairments_flags
from testbed.errors import Interrupted, Problem, RequestError
from testbed.spec.load import Overrides, load_scenario
from testbed.spec.scenario import Scenario


def scenario_arguments(parser: argparse.ArgumentParser) -> None:
    """The scenario, and what may be said instead of its own."""
    parser.add_argument("scenario", help="a file, or a ready-made name such as quickstart")
    parser.add_argument(
        "--scheme",
        action="append",
        default=[],
        metavar="NAME[:OPTION=VALUE,...]",
        help="instead of the scenario's schemes; may be given several times",
    )
    parser.add_argument("--topology", help="instead of the scenario's: a file, a ready-made name, topohub:GROUP/NAME")
    impairments_flags(parser)


def find_scenario(ref: str, overrides: Overrides) -> Scenario:
    """The scenario with all that it names known to exist. Raises RequestError."""
    # Here and not above: the other commands need not wait for the libraries of these.
    from testbed.run.faults import ACTIONS
    from testbed.run.transports import carried
    from testbed.schemes import SCHEMES, make_scheme
    from testbed.spec.check_scenario import Known
    from testbed.transfer.registry import TRANSPORTS

    known = Known(SCHEMES.keys(), TRANSPORTS.keys(), ACTIONS, carried())
    scenario = load_scenario(ref, overrides=overrides, known=known)
    problems: list[Problem] = []
    for choice in scenario.schemes:
        try:
            make_scheme(choice)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return scenario


def end_in_order() -> None:
    """SIGTERM and SIGHUP end what runs as Ctrl-C does: nothing is left behind."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(f"stopped by {signal.Signals(number).name}")
