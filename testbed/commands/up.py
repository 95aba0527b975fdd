"""`testbed up TOPOLOGY` and `testbed down`: a lab that stays until it is ended."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from testbed.commands.common import Commands, find_lab, impairments_flags, json_flag, require_root
from testbed.errors import LabError, MachineError
from testbed.lab import registry
from testbed.run.keeper import KEEPER_DEADLINE
from testbed.schemes import SCHEMES
from testbed.spec.load import load_topology
from testbed.terminal import say_json, stderr, stdout


def add(commands: Commands) -> None:
    up = commands.add_parser("up", help="start a lab and leave it running")
    up.add_argument("topology", help="a file, a ready-made name, topohub:GROUP/NAME, FILE.graphml")
    up.add_argument("--scheme", default="pim-ssm", choices=sorted(SCHEMES))
    up.add_argument("--timers", default="fast", choices=("fast", "default", "rfc"))
    up.add_argument("--lab", help="the lab's id; default: a random one")
    impairments_flags(up)
    up.add_argument(
        "--impairable",
        action="store_true",
        help="an impairment engine on every link between routers, for `testbed fault inject degrade`",
    )
    json_flag(up)
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="end a running lab")
    down.add_argument("--lab", help="which, where several run")
    json_flag(down)
    down.set_defaults(run=_down)


def _up(options: argparse.Namespace) -> int:
    load_topology(options.topology)  # its errors are told here, where somebody reads
    start = time.monotonic()
    argv = [sys.executable, "-m", "testbed.run.keeper", options.topology]
    argv += ["--scheme", options.scheme, "--timers", options.timers]
    argv += ["--lab", options.lab] if options.lab else []
    argv += ["--impairments", options.impairments] if options.impairments else []
    argv += ["--impairable"] if options.impairable else []
    argv += ["--without-impairments"] if options.without_impairments else []
    keeper = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        lab = _wait_until_up(keeper)
    except BaseException:
        with suppress(ProcessLookupError):
            keeper.terminate()
        keeper.wait()
        raise
    took = time.monotonic() - start
    state = registry.labs()[lab]
    nodes = sorted(state.nodes) if state is not None else []
    if options.json:
        say_json({"lab": lab, "nodes": nodes, "up_s": round(took, 3)})
    else:
        stdout.print(f"lab {lab} is up: {len(nodes)} nodes after {took:.1f} s")
        stdout.print("try: testbed exec NODE vtysh -c 'show ip route' | testbed shell NODE | testbed down")
    return 0


def _wait_until_up(keeper: subprocess.Popen[str]) -> str:
    """The lab's id, once its keeper says that it is up. Progress goes to standard error.

    Raises MachineError, LabError."""
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    for line in keeper.stdout:
        word, _, text = line.rstrip("\n").partition(" ")
        if word == "up":
            return text
        stderr.print(text, style="dim")
    said = keeper.stderr.read().strip()[-3000:]
    if keeper.wait(KEEPER_DEADLINE) == MachineError.exit_status:
        raise MachineError(said)  # the keeper asks the machine for what this very lab needs
    raise LabError(f"the lab did not come up: {said}")


def _down(options: argparse.Namespace) -> int:
    require_root()
    state = find_lab(options.lab)
    start = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(state.owner.pid, signal.SIGTERM)
    while state.owner.alive and time.monotonic() - start < KEEPER_DEADLINE:
        time.sleep(0.01)
    if state.owner.alive:
        with suppress(ProcessLookupError):
            os.kill(state.owner.pid, signal.SIGKILL)
    registry.end_processes(state.lab)
    registry.remove_folders(state.lab)
    took = time.monotonic() - start
    if options.json:
        say_json({"lab": state.lab, "down_s": round(took, 3)})
    else:
        stdout.print(f"lab {state.lab} is down after {took:.1f} s")
    return 0


