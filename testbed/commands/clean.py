"""`testbed clean`: end what a killed lab left behind."""

from __future__ import annotations

import argparse
import os
import signal
from contextlib import suppress

from testbed.commands.common import Commands, json_flag, require_root
from testbed.lab import registry
from testbed.terminal import say_json, stdout


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "clean",
        help="remove what killed labs left behind",
        description="Ends the processes of labs whose harness is gone, and with them their namespaces, interfaces "
        "and mounts, and removes their files. Running labs and everything that is not a lab's are left alone.",
    )
    parser.add_argument("--all", action="store_true", help="running labs too")
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    require_root()
    cleaned, spared = [], []
    for lab, state in sorted(registry.labs().items()):
        if registry.is_running(lab, state):
            if not options.all:
                spared.append(lab)
                continue
            if state is not None:
                with suppress(ProcessLookupError):
                    os.kill(state.owner.pid, signal.SIGKILL)
        ended = registry.end_processes(lab)
        registry.remove_folders(lab)
        cleaned.append({"lab": lab, "processes": ended})
    if options.json:
        say_json({"cleaned": cleaned, "running": spared})
        return 0
    for entry in cleaned:
        stdout.print(f"lab {entry['lab']}: ended {entry['processes']} processes, removed its files")
    if spared:
        stdout.print(f"still running, left alone: {', '.join(spared)} (testbed down, or clean --all)")
    if not cleaned:
        stdout.print("nothing to clean")
    return 0
