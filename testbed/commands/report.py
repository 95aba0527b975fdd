"""`testbed report BUNDLE...`: the HTML report of one bundle, or of several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.bundle import read_bundles
from testbed.commands.common import Commands, json_flag
from testbed.terminal import say_json, stdout


def add(commands: Commands) -> None:
    parser = commands.add_parser("report", help="make the report of one bundle, or of several side by side")
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--out", type=Path, help="the HTML file; default report.html in the bundle, or comparison.html")
    json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from testbed.report.html import write_report  # brings matplotlib, which other commands need not wait for
    from testbed.report.summary import summary_json

    bundles = read_bundles(options.bundles)
    path = write_report(options.bundles, options.out)
    if options.json:
        say_json({"report": str(path), "bundles": [summary_json(bundle) for bundle in bundles]})
    else:
        stdout.print(str(path), soft_wrap=True)
    return 0
