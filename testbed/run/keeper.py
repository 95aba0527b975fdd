"""The keeper of a hands-on lab: `python -m testbed.run.keeper TOPOLOGY`. Started by `testbed up`, ended by SIGTERM.

Says on standard output, a line each, `progress TEXT` and at last `up LAB`; errors go to standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType
from typing import NoReturn, get_args

from testbed.errors import Interrupted, TestbedError
from testbed.lab.capabilities import probe_machine
from testbed.lab.lab import Lab
from testbed.lab.requirements import require
from testbed.plan.build import make_plan
from testbed.plan.timers import profile
from testbed.run.fault_commands import FaultCommands
from testbed.run.needs import lab_needs
from testbed.schemes import make_scheme, router_configs
from testbed.spec.load import load_topology
from testbed.spec.scenario import SchemeChoice
from testbed.spec.types import Impairments

# How long a keeper may take to end, in seconds.
KEEPER_DEADLINE = 30.0

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="testbed.run.keeper", description=__doc__)
    parser.add_argument("topology")
    parser.add_argument("--scheme", default="pim-ssm")
    parser.add_argument("--timers", default="fast")
    parser.add_argument("--lab")
    parser.add_argument("--impairments", default="auto", choices=get_args(Impairments))
    parser.add_argument("--without-impairments", action="store_true")
    parser.add_argument("--impairable", action="store_true")
    options = parser.parse_args(arguments)
    # Handlers, not a signal mask: a mask would be inherited by every daemon of the lab.
    for number in _ENDING:
        signal.signal(number, _end)
    try:
        keep(options)
    except Interrupted:
        return 0
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status


def keep(options: argparse.Namespace) -> NoReturn:
    """Bring the lab up, hold it until a signal comes, take it down."""
    plan = make_plan(load_topology(options.topology))
    scheme = make_scheme(SchemeChoice(name=options.scheme))
    timers, cap, impaired = profile(options.timers), probe_machine(), not options.without_impairments
    require(cap, lab_needs(plan, [scheme], timers, cap, options.impairments if impaired else None))
    configs = router_configs(plan, scheme, timers, cap.frr_release)
    lab = Lab(
        plan,
        configs,
        impaired=impaired,
        impairable=[name for name, link in plan.links.items() if options.impairable and not link.is_lan],
        impairments=options.impairments,
        name=options.lab,
        progress=lambda text: print(f"progress {text}", flush=True),
    )
    with lab:
        lab.registry.state.scheme = scheme.name
        lab.start()
        lab.wait_for_igp()
        scheme.start(lab)
        scheme.wait_ready(lab)
        lab.registry.state.phase = "up"
        lab.registry.save()
        commands = FaultCommands(lab, scheme)
        commands.start()
        print(f"up {lab.id}", flush=True)
        # Whoever started us has heard what they wanted and is going away.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        while True:
            signal.pause()


def _end(number: int, frame: FrameType | None) -> None:
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)  # taking the lab down is not to be interrupted
    raise Interrupted(f"ended by signal {number}")


if __name__ == "__main__":
    sys.exit(main())
