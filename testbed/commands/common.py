"""What several commands share."""

from __future__ import annotations

import argparse
import difflib
import os
from typing import Any, get_args

from testbed.errors import MachineError, RequestError
from testbed.lab import registry
from testbed.spec.types import Impairments

Commands = Any  # argparse's own type for this is private


def json_flag(parser: argparse.ArgumentParser) -> None:
    """--json, the same everywhere."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, for programs")


def impairments_flags(parser: argparse.ArgumentParser) -> None:
    """Who makes delays and losses, or that nobody does."""
    parser.add_argument(
        "--impairments",
        choices=get_args(Impairments),
        help="who delays and loses packets; auto: the kernel's netem where it can, else our delayline",
    )
    parser.add_argument(
        "--without-impairments",
        action="store_true",
        help="leave delays and losses out, and keep the rates; every result then says so",
    )


def require_root() -> None:
    """Raises MachineError for anybody else: namespaces need it."""
    if os.geteuid() != 0:
        raise MachineError("this needs root: network namespaces are made", "run it as root: sudo testbed ...")


def find_lab(name: str | None) -> registry.LabState:
    """The running lab of that id, or the only one. Raises RequestError."""
    running = {
        lab: state
        for lab, state in registry.labs().items()
        if state is not None and state.nodes and registry.is_running(lab, state)
    }
    if name is not None:
        if name in running and (state := running[name]) is not None:
            return state
        raise RequestError(f"no lab {name!r} is running; running: {', '.join(running) or 'none'}")
    if not running:
        raise RequestError("no lab is running; start one with: testbed up TOPOLOGY")
    if len(running) > 1:
        raise RequestError(f"several labs are running, say which with --lab: {', '.join(running)}")
    (state,) = running.values()
    return state


def find_node(state: registry.LabState, node: str) -> int:
    """The pid that holds a node's namespaces. Raises RequestError."""
    if node not in state.nodes:
        raise RequestError(f"lab {state.lab} has no node {node!r}; it has: {', '.join(state.nodes)}")
    return state.nodes[node]


def find_end(state: registry.LabState, link: str, node: str | None) -> tuple[str, str]:
    """The node and the interface at one end of a link, named either way round; at `node`'s end, else at the first.
    Raises RequestError."""
    reversed_names = {"-".join(reversed(tuple(ends))): ends for ends in state.links.values()}
    ends = state.links.get(link) or reversed_names.get(link)
    if ends is None:
        meant = difflib.get_close_matches(link, state.links, 3) or list(state.links)
        raise RequestError(f"lab {state.lab} has no link {link!r}; it has: {', '.join(meant)}")
    if node is not None and node not in ends:
        raise RequestError(f"link {link} does not end at {node!r}; it ends at: {', '.join(ends)}")
    found = node if node is not None else next(iter(ends))
    return found, ends[found]
