"""`testbed fault`: faults by hand, in a lab that `testbed up` made."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from testbed.commands.common import Commands, find_lab, json_flag, require_root
from testbed.errors import LabError, Problem, RequestError
from testbed.lab import registry
from testbed.spec.faults import LINK_ROLES, NODE_ROLES, Fault
from testbed.spec.load import read_fault
from testbed.terminal import say_json, stdout
from testbed.units import format_duration

_TARGETS = (
    "TARGET is LINK or NODE, by name; several with commas between them: r1-r2,r3-r4; DAEMON@NODE, for example pimd@r1 "
    "or agent@r1; controller; a role, of which one is drawn: "
    + ", ".join((*LINK_ROLES, *NODE_ROLES))
    + " (as DAEMON@ROLE, too); busiest-link; or where the tree runs now: most-sites-link, most-sites-router."
)


def add(commands: Commands) -> None:
    fault = commands.add_parser("fault", help="faults by hand in a running lab")
    what = fault.add_subparsers(dest="fault_command", metavar="COMMAND", required=True)
    listing = what.add_parser("list", help="the faults in effect")
    words = {"description": "docs/faults.md has the actions.", "epilog": _TARGETS}
    inject = what.add_parser("inject", help="make something go wrong", **words)
    inject.add_argument("action", help="cut, crash, kill, ... (an unknown one is answered with all there are)")
    inject.add_argument("target", help="see below")
    inject.add_argument("parameters", nargs="*", metavar="PARAMETER=VALUE", help="the action's own")
    inject.add_argument("--for", dest="duration", metavar="TIME", help="undo it after that, for example 3s")
    undo = what.add_parser("undo", help="end a fault")
    undo.add_argument("id", type=int, help="its number, as `testbed fault list` has it")
    for parser, run in ((listing, _list), (inject, _inject), (undo, _undo)):
        parser.add_argument("--lab", help="which, where several run")
        json_flag(parser)
        parser.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    faults = _ask(options.lab, {"op": "list"})["faults"]
    if options.json:
        say_json(faults)
    elif not faults:
        stdout.print("no faults in effect")
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("id", "fault", "for", "still", "parameters"):
            table.add_column(title)
        for each in faults:
            left = "until it is undone" if each["duration"] is None else _time(each["duration"] - each["age_s"])
            table.add_row(str(each["id"]), each["text"], _time(each["age_s"]), left, _own(each))
        stdout.print(table)
    return 0


def _inject(options: argparse.Namespace) -> int:
    data: dict[str, Any] = {"at": 0, "action": options.action}
    problems = []
    for text in options.parameters:
        key, equals, value = text.partition("=")
        if not equals:
            problems.append(Problem(f"{text!r} is not PARAMETER=VALUE", hint="for example loss=2%"))
        data[key] = value
    if options.duration is not None:
        data["duration"] = options.duration
    if problems:
        raise RequestError(problems)
    lab = _lab(options.lab)
    data["target"] = _target(options.target, tuple(lab.nodes))
    fault: Fault = read_fault(data)
    command = {"op": "inject", "fault": fault.model_dump(mode="json", exclude_none=True)}
    injected = _ask(options.lab, command)["injected"]
    if options.json:
        say_json(injected)
    for each in [] if options.json else injected:
        found = f" ({each['found_by']})" if each.get("found_by") else ""
        stdout.print(f"fault {each['id']}: {each.get('text', 'over already')}{found}")
    return 0


def _undo(options: argparse.Namespace) -> int:
    undone = _ask(options.lab, {"op": "undo", "id": options.id})["undone"]
    if options.json:
        say_json(undone)
    else:
        stdout.print(f"fault {undone['id']} is undone: {undone['text']}")
    return 0


def _target(text: str, nodes: tuple[str, ...]) -> dict[str, Any]:
    """What is meant. What is neither a node nor a role is taken for a link; whether there is such a one, the lab
    knows."""
    daemon, at, where = text.partition("@")
    if at:
        return {"daemon": {"name": daemon, "role" if where in NODE_ROLES else "node": where}}
    if text == "controller":
        return {"daemon": {"name": "controller"}}
    if text == "busiest-link":
        return {"busiest_link": True}
    if text in ("most-sites-link", "most-sites-router"):
        return {"most_sites": text.removeprefix("most-sites-")}
    if text in LINK_ROLES or text in NODE_ROLES:
        return {"role": text}
    names = text.split(",")
    kind = "node" if all(name in nodes for name in names) else "link"
    return {kind: names[0]} if len(names) == 1 else {f"{kind}s": names}


def _lab(name: str | None) -> registry.LabState:
    """A running lab that takes faults by hand. Raises RequestError."""
    require_root()
    state = find_lab(name)
    if state.phase != "up":
        what = f"lab {state.lab} belongs to a run of {state.topology} (process {state.owner.pid})"
        hint = "its faults are the scenario's; by hand they go into a lab of testbed up"
        raise RequestError([Problem(what, hint=hint)])
    return state


def _ask(name: str | None, command: dict[str, Any]) -> dict[str, Any]:
    from testbed.run.fault_commands import ask

    lab = _lab(name).lab
    try:
        return ask(lab, command)
    except OSError as error:
        raise LabError(f"the keeper of lab {lab} does not answer: {error}") from None


def _own(fault: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in fault["parameters"].items())


def _time(seconds: float) -> str:
    return format_duration(max(0.0, round(seconds, 1)))
