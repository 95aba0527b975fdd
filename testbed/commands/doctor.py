"""`testbed doctor`: what this machine can and cannot do, and the remedy."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from rich.table import Table

from testbed.commands.common import Commands, json_flag
from testbed.lab.capabilities import probe_machine
from testbed.lab.requirements import doctor_report
from testbed.terminal import say_json, stdout

_STYLES = {"ok": "green", "warn": "yellow", "missing": "red"}


def add(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="what this machine can and cannot do, and the remedy")
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    checks = doctor_report(probe_machine())
    if options.json:
        say_json([asdict(check) for check in checks])
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("check", "", "found", "remedy"):
            table.add_column(title, overflow="fold")
        for check in checks:
            table.add_row(check.name, f"[{_STYLES[check.status]}]{check.status}[/]", check.found, check.remedy)
        stdout.print(table)
    return 3 if any(check.status == "missing" for check in checks) else 0
