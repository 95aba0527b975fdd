"""`testbed status`, `exec` and `shell`: looking into running labs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from testbed.commands.common import Commands, find_lab, find_node, json_flag, require_root
from testbed.errors import RequestError
from testbed.lab import namespace, registry
from testbed.terminal import say_json, stdout


def add(commands: Commands) -> None:
    status = commands.add_parser("status", help="the labs on this machine")
    json_flag(status)
    status.set_defaults(run=_status)
    execute = commands.add_parser("exec", help="run a command in a node")
    execute.add_argument("--lab", help="which, where several run")
    execute.add_argument("node")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD ...")
    execute.set_defaults(run=_exec)
    shell = commands.add_parser("shell", help="a shell in a node")
    shell.add_argument("--lab", help="which, where several run")
    shell.add_argument("node")
    shell.set_defaults(run=_shell)


def _status(options: argparse.Namespace) -> int:
    require_root()
    rows: list[dict[str, Any]] = []
    for lab, state in sorted(registry.labs().items()):
        running = registry.is_running(lab, state)
        rows.append(
            {
                "lab": lab,
                "running": running,
                "topology": state.topology if state else "?",
                "scheme": state.scheme if state else "",
                "phase": (state.phase if state else "?") if running else "orphaned",
                "nodes": dict(state.nodes) if state else {},
            }
        )
    if options.json:
        say_json(rows)
        return 0
    if not rows:
        stdout.print("no labs")
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("lab", "topology", "scheme", "phase", "nodes"):
        table.add_column(title)
    for row in rows:
        table.add_row(row["lab"], row["topology"], row["scheme"], row["phase"], str(len(row["nodes"])))
    stdout.print(table)
    if any(not row["running"] for row in rows):
        stdout.print("an orphaned lab's harness is gone; remove what it left with: testbed clean")
    return 0


def _exec(options: argparse.Namespace) -> int:
    if not options.argv:
        raise RequestError("say what to run: testbed exec NODE CMD ...")
    return _become(options, options.argv)


def _shell(options: argparse.Namespace) -> int:
    return _become(options, [os.environ.get("SHELL") or "/bin/bash"])


def _become(options: argparse.Namespace, argv: Sequence[str]) -> int:
    """Turn this very process into the command, in the node's namespaces; its exit status is then ours."""
    require_root()
    state = find_lab(options.lab)
    pid = find_node(state, options.node)
    # The node's thread owns the UTS namespace, its processes inherited it: the shell that holds the node has all three.
    namespace.join(pid, namespace.CLONE_NEWNET | namespace.CLONE_NEWNS | namespace.CLONE_NEWUTS)
    os.environ["PS1"] = f"{options.node}# "
    os.environ[registry.TAG] = f"{state.lab}:{state.owner.tag}"
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        raise RequestError(f"cannot run {argv[0]!r} in {options.node}: {error.strerror}") from None
