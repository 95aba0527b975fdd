"""`testbed calibrate SCENARIO`: the highest rate at which this machine carries it faithfully."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from testbed.commands.common import Commands, json_flag
from testbed.commands.scenarios import end_in_order, find_scenario, scenario_arguments
from testbed.errors import Interrupted
from testbed.record import Run
from testbed.spec.load import Overrides
from testbed.terminal import LiveObserver, say_json, stderr, stdout
from testbed.units import format_rate

if TYPE_CHECKING:  # the other commands need not wait for what this one imports below
    from testbed.run.calibrate.calibration import Carried
    from testbed.run.calibrate.trial import Trial
    from testbed.spec.scenario import SchemeChoice


def add(commands: Commands) -> None:
    parser = commands.add_parser("calibrate", help="find the highest rate at which this machine carries a scenario")
    scenario_arguments(parser)
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from testbed.plan.build import make_plan
    from testbed.run.calibrate.calibration import file_of, machine
    from testbed.run.calibrate.carry_out import QUIET, busy_with_others, calibrate
    from testbed.run.calibrate.trial import rate_of

    overrides = Overrides(
        schemes=tuple(options.scheme), topology=options.topology, impairments=options.impairments
    )
    scenario = find_scenario(options.scenario, overrides)
    impaired = not options.without_impairments
    trials: dict[str, list[Trial]] = {}

    def tried(choice: SchemeChoice, trial: Trial) -> None:
        trials.setdefault(str(choice), []).append(trial)
        verdict = "carried" if trial.carried else f"not carried ({trial.reason})"
        style = "green" if trial.carried else "yellow"
        stderr.print(f"{choice} at {format_rate(trial.rate)}: {verdict}", style=style, soft_wrap=True)

    end_in_order()
    start = time.monotonic()
    others = busy_with_others()
    if others > QUIET:
        text = f"other work takes {others:.0%} of this machine: what is found holds for what that leaves"
        stderr.print(f"testbed: warning: {text}", style="yellow", soft_wrap=True)
    with _Trials() as observer:
        try:
            found = calibrate(scenario, observer, tried, impaired=impaired)
        except (Interrupted, KeyboardInterrupt) as error:
            said = str(error) if isinstance(error, Interrupted) else "interrupted"
            raise Interrupted(f"{said}; what was found of whole schemes until then is saved") from None
    plan, path = make_plan(scenario.topology), file_of(scenario, impaired=impaired)
    asked = {str(choice): rate_of(scenario, plan, choice) for choice in scenario.schemes}
    rates = [carried.rate for carried in found.values()]
    least = None if None in rates else min(rate for rate in rates if rate is not None)
    if options.json:
        say_json(
            {
                "scenario": scenario.name,
                "machine": machine(),
                "rate": least,
                "schemes": {n: _scheme(carried, asked[n], trials[n]) for n, carried in found.items()},
                "busy_with_others": round(others, 3),
                "file": str(path),
                "s": round(time.monotonic() - start, 1),
            }
        )
    else:
        stdout.print(_table(found, asked))
        stdout.print(f"{_conclusion(least, asked)}\nsaved: {path}", soft_wrap=True)
    return 1 if least is None else 0


class _Trials(LiveObserver):
    """Progress, without a verdict on each run: that of the trial is said instead."""

    def finished(self, run: Run) -> None:
        pass


def _scheme(carried: Carried, asked: int, trials: list[Trial]) -> dict[str, Any]:
    return {"rate": carried.rate, "asked": asked, "limit": carried.limit, "tried": [asdict(t) for t in trials]}


def _table(found: Mapping[str, Carried], asked: Mapping[str, int]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Scheme", "Carried up to", "Asked", "What gives out above"):
        table.add_column(title, overflow="fold")
    for scheme, carried in found.items():
        rate = format_rate(carried.rate) if carried.rate else "nothing"
        limit = carried.limit or "nothing on this machine: the links are no faster"
        table.add_row(scheme, rate, format_rate(asked[scheme]), limit)
    return table


def _conclusion(least: int | None, asked: Mapping[str, int]) -> str:
    if least is None:
        return "This machine does not carry the scenario faithfully under every scheme at any rate."
    if max(asked.values()) > least:
        advice = "the scenario asks for more: expect invalid runs, or set transport.rate to that"
    else:
        advice = "the scenario asks for no more"
    return f"Under every scheme this machine carries it faithfully up to {format_rate(least)}, within 10 %; {advice}."
