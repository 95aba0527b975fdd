"""`testbed topology show|validate|import`."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.commands.common import Commands, json_flag
from testbed.errors import Problem, RequestError
from testbed.spec.dump import dump_topology
from testbed.spec.foreign import import_topology
from testbed.spec.load import load_scenario, load_topology
from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology
from testbed.terminal import say_json, stdout

_REF = "a file, a ready-made name, topohub:GROUP/NAME[?sites=8&...] or FILE.graphml"


def add(commands: Commands) -> None:
    parser = commands.add_parser("topology", help="draw, check or import topologies")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="draw a topology (SVG)")
    show.add_argument("topology", help=_REF)
    show.add_argument("--out", type=Path, help="the file to write; default <name>.svg here; - for standard output")
    show.set_defaults(run=_show)
    validate = verbs.add_parser("validate", help="list every error of topology or scenario files, with its place")
    validate.add_argument("files", nargs="+", metavar="FILE", help=_REF + "; or a scenario")
    validate.set_defaults(run=_validate)
    fetch = verbs.add_parser("import", help="write a backbone as a topology file (YAML)")
    fetch.add_argument("topology", help="topohub:GROUP/NAME[?sites=8&attach=degree&...] or FILE.graphml")
    fetch.add_argument("--out", type=Path, help="the file to write; default standard output")
    fetch.set_defaults(run=_import)
    for verb in (show, validate, fetch):
        json_flag(verb)


def _show(options: argparse.Namespace) -> int:
    from testbed.spec.draw import draw_topology

    topology = load_topology(options.topology)
    drawing = draw_topology(topology)
    if str(options.out) == "-":
        print(drawing)
        return 0
    path = options.out or Path(f"{topology.name}.svg")
    _write(path, drawing)
    if options.json:
        say_json({"svg": str(path), "nodes": len(topology.nodes), "links": len(topology.links)})
    else:
        stdout.print(str(path), soft_wrap=True)
    return 0


def _validate(options: argparse.Namespace) -> int:
    problems: list[Problem] = []
    good: dict[str, str] = {}
    for ref in options.files:
        try:
            found = _load(ref)
        except RequestError as error:
            problems += error.problems
        else:
            good[ref] = f"{type(found).__name__.lower()} {found.name}"
    if problems:
        raise RequestError(problems)
    if options.json:
        say_json({"valid": good})
    else:
        for ref, what in good.items():
            stdout.print(f"{ref}: valid {what}", soft_wrap=True)
    return 0


def _load(ref: str) -> Topology | Scenario:
    path = Path(ref)
    if path.is_file() and any(line.startswith("schemes") for line in path.read_text(errors="replace").splitlines()):
        return load_scenario(ref)
    return load_topology(ref)


def _import(options: argparse.Namespace) -> int:
    topology = import_topology(options.topology)
    text = dump_topology(topology)
    if options.out is None:
        print(text, end="")
        return 0
    _write(options.out, text)
    if options.json:
        say_json({"file": str(options.out), "nodes": len(topology.nodes), "links": len(topology.links)})
    else:
        stdout.print(str(options.out), soft_wrap=True)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from None
