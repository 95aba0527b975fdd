"""What schemes share that have a forwarder and an agent of ours in every router: both started, asked, read back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address

from testbed.control.commands import Answer, ask
from testbed.errors import DaemonError
from testbed.forwarder.program import ForwarderDaemon
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.lab.waiting import until
from testbed.schemes.base import SchemeEvent

DEADLINE = 60.0


def start_all(
    lab: Lab, nodes: Sequence[Node], agent: str, port: int, start: Callable[[Node], subprocess.Popen[bytes]]
) -> None:
    """A forwarder, then an agent, in each of these routers, all at once. `agent`: what the lab calls it; `port`: where
    it listens for commands.

    Raises LabError, MachineError.
    """
    daemons = [ForwarderDaemon(node) for node in nodes]
    processes = [daemon.start() for daemon in daemons]
    for node, daemon, process in zip(nodes, daemons, processes, strict=True):
        _wait_ready(daemon, process)
        lab.keep(node.name, "mcfwd", partial(_start_forwarder, daemon), process)
        lab.keep(node.name, agent, partial(_restart, start, node, port), start(node))


def _restart(start: Callable[[Node], subprocess.Popen[bytes]], node: Node, port: int) -> subprocess.Popen[bytes]:
    """Start an agent, and return when it takes commands."""
    process = start(node)
    loopback = node.spec.loopback
    assert loopback is not None
    address = str(loopback.ip), port

    def missing() -> str:
        if (status := process.poll()) is not None:
            raise DaemonError(f"the agent of {node.name} ended with status {status}")
        try:
            node.call(lambda: socket.create_connection(address, timeout=1.0)).close()
        except OSError as error:
            return f"the agent of {node.name} does not listen: {error}"
        return ""

    until(missing, DEADLINE, "an agent's start", pause=0.01)
    return process


def _start_forwarder(daemon: ForwarderDaemon) -> subprocess.Popen[bytes]:
    process = daemon.start()
    _wait_ready(daemon, process)
    return process


def _wait_ready(daemon: ForwarderDaemon, process: subprocess.Popen[bytes]) -> None:
    until(lambda: daemon.why_not_ready(process), DEADLINE, "mcfwd", pause=0.005)


def start_agent(node: Node, name: str) -> subprocess.Popen[bytes]:
    """Start the agent `name`, whose module is named so, with the configuration that is in the router's /run already."""
    with (node.folder / "log" / f"{name}.log").open("ab") as log:
        module = f"testbed.control.{name.replace('-', '_')}"
        return node.popen([sys.executable, "-m", module, f"/run/{name}.json"], stdout=log, stderr=log)


def wait_for_all(nodes: Sequence[Node], missing: Callable[[Node], str], what: str) -> None:
    """Return once nothing is missing at any of these routers. `missing` may raise OSError: its agent does not answer.

    Raises NotConverged.
    """
    waiting = list(nodes)

    def why_not() -> str:
        while waiting:
            try:
                why = missing(waiting[-1])
            except OSError as error:
                why = f"the agent of {waiting[-1].name} does not answer: {error}"
            if why:
                return f"{why} ({len(waiting)} routers)"
            waiting.pop()
        return ""

    until(why_not, DEADLINE, what)


def command(asker: Node, agent: Node, port: int, words: Answer) -> Answer:
    """A command to a router's agent, from a node of the network. Raises OSError; ValueError if it is refused."""
    loopback = agent.spec.loopback
    assert loopback is not None
    address: IPv4Address = loopback.ip
    return asker.call(lambda: ask((str(address), port), words))


def tell(asker: Node, agent: Node, port: int, words: Answer) -> None:
    """`command`, and again while it does not get there or back: where a loaded host took a neighbour for dead, the way
    is open again in a moment. What it says must not depend on how often it is said. Raises NotConverged; ValueError if
    it is refused."""

    def unheard() -> str:
        try:
            command(asker, agent, port, words)
        except OSError as error:
            return f"the agent of {agent.name} cannot be told: {error}"
        return ""

    until(unheard, DEADLINE, f"a command from {asker.name} to the agent of {agent.name}", pause=0.1)


def events(nodes: Iterable[Node], agent: str) -> Iterable[SchemeEvent]:
    """What the agents of these routers have reported."""
    for node in nodes:
        path = node.folder / "log" / f"{agent}.jsonl"
        said = path.read_text() if path.exists() else ""
        for line in said.splitlines()[: said.count("\n")]:  # the last may still be written
            event = json.loads(line)
            yield SchemeEvent(event["t"], event["kind"], node.name, event["detail"])
