"""delayline: one process in C for the whole lab that stands between the ends of each of its links.

It lives in a network namespace of its own, where each link has a pair of interfaces, one wired to either end: what
comes in at one leaves at the other, later, twice or never. The rate is kept before that, by the TBF at the sending end.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from testbed import plan
from testbed.conversation import Conversation
from testbed.errors import DelaylineError, MachineError
from testbed.lab.impairments.base import Direction, Impaired
from testbed.lab.node import Node
from testbed.lab.registry import Registry
from testbed.lab.waiting import until
from testbed.plan.shape import burst_chances
from testbed.units import format_size

BIN = Path(__file__).resolve().parents[2] / "delayline" / "bin"
START_DEADLINE = 10.0
CARRIER_DEADLINE = 10.0
# What a direction holds at most (testbed/delayline/src/line.h), less what buffers are longer than frames of 9000 bytes.
ROOM = 256 * 2**20 * 9 // 10
_ROOT = 2**32 - 1


def program(name: str = "delayline") -> Path:
    """A program of the delay line's: delayline, delayline-checked (with sanitizers) or sim. Raises MachineError."""
    path = BIN / name
    if not path.exists():
        raise MachineError(f"the delay line is not built: there is no {path}", "make forwarder")
    return path


class Talk(Conversation):
    """A conversation with a delay line. Every method raises DelaylineError."""

    who = "the delay line"
    error = DelaylineError


class Delayline:
    """See base.Engine. `seed`: of chances that have no seed of their own."""

    name = "delayline"
    rate_parent = _ROOT
    binary = "delayline"

    def __init__(
        self, links: Mapping[str, plan.Link], nodes: Mapping[str, Node], registry: Registry, seed: str
    ) -> None:
        self.links = links
        self._nodes, self._registry, self._seed = nodes, registry, seed
        self._number = {name: number for number, name in enumerate(links)}
        self._process: subprocess.Popen[bytes] | None = None
        self._talk = Talk(registry.folder / "delayline.sock")
        self.log = registry.folder / "delayline.log"

    @property
    def pid(self) -> int:
        """The process, which also holds the namespace of the interfaces between the nodes."""
        assert self._process is not None, "the delay line is not started"
        return self._process.pid

    @property
    def socket(self) -> Path:
        """Where it is spoken to."""
        return self._talk.path

    def refuse(self, shape: plan.Shape) -> list[str]:
        reasons = []
        on_the_way = round((shape.rate or 0) * (shape.delay + shape.jitter) / 8)
        if on_the_way > ROOM:
            sizes = f"{format_size(on_the_way)} are on the way, and there is room for {format_size(ROOM)}"
            reasons.append(f"a rate and a delay as large as these: {sizes}")
        return reasons

    def start(self) -> None:
        argv = [str(program(self.binary)), "--control", str(self._talk.path), "--log", str(self.log)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._registry.environment,
                start_new_session=True,
            )
        until(self._why_not_started, START_DEADLINE, "the delay line", pause=0.002)

    def connect(self, link: plan.Link, a: Node, b: Node) -> None:
        common = {"mtu": link.mtu, "gso_max_segs": 1}  # see lab.links.connect
        for node, end, ours in zip((a, b), (link.a, link.b), self.ports(link.name), strict=True):
            peer = {"ifname": ours, "net_ns_pid": self.pid} | common

            def work(ip: IPRoute, name: str = end.name, peer: dict[str, object] = peer) -> None:
                ip.link("add", ifname=name, kind="veth", peer=peer, **common)

            node.netlink(work)
        seeds = (str(self._seed_of(link, end.node)) for end in (link.a, link.b))
        self._talk.exchange(" ".join(("link", self._wire(link.name), *self.ports(link.name), *seeds)))

    def shape(self, node: Node, interface: plan.Interface, shape: plan.Shape) -> None:
        link = self.links[interface.link]
        side = "a" if interface == link.a else "b"
        self._talk.exchange(f"shape {self._wire(link.name)} {side} {_fields(shape)}")

    def wait_ready(self) -> None:
        """A link's ends have their carrier a moment after both were brought up."""
        until(self._without_carrier, CARRIER_DEADLINE, "the carrier of delayed links", pause=0.002)

    def wait_empty(self, link: str) -> None:
        """It hears of a cut from the kernel, which takes its time on a busy machine."""

        def heeded() -> str:
            ports = self.state()["links"][self._wire(link)]
            return link if any(port["carrier"] for port in ports) else ""

        until(heeded, CARRIER_DEADLINE, "the cut of a delayed link", pause=0.001)

    def read(self) -> dict[Direction, Impaired]:
        lines = self.state()["links"]
        found = {}
        for link in self.links.values():
            for end, line in zip((link.a, link.b), lines[self._wire(link.name)], strict=True):
                dropped = line["oversized"] + line["overflowed"]
                found[link.name, end.node] = Impaired(line["lost"], line["duplicated"], line["reordered"], dropped)
        return found

    def state(self) -> dict[str, Any]:
        """What it says of itself: `crowded`, the frames that its socket had no room for, and both directions of each of
        its `links`, named w0, w1, ... in their order here."""
        state: dict[str, Any] = json.loads(self._talk.exchange("state"))
        return state

    def why_dead(self) -> str:
        if self._process is None or (status := self._process.poll()) is None:
            return ""
        return f"the delay line ended with status {status}"

    def stop(self) -> None:
        self._talk.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _wire(self, link: str) -> str:
        return f"w{self._number[link]}"

    def ports(self, link: str) -> tuple[str, str]:
        """The interfaces of a link between its nodes: the one wired to its end a, and to b."""
        return f"{self._wire(link)}a", f"{self._wire(link)}b"

    def _seed_of(self, link: plan.Link, sender: str) -> int:
        seed = self._seed if link.shape.seed is None else link.shape.seed
        digest = hashlib.blake2b(f"{seed}/{link.name}/{sender}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")

    def _why_not_started(self) -> str:
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            raise DelaylineError(f"the delay line ended with status {status}", self.log.read_text().splitlines()[-5:])
        try:
            self._talk.exchange("state")
        except DelaylineError as error:
            return str(error)
        return ""

    def _without_carrier(self) -> str:
        if dead := self.why_dead():
            raise DelaylineError(dead, self.log.read_text().splitlines()[-5:])
        lacking: list[str] = []
        for node in self._nodes.values():
            if names := {interface.name for interface in node.spec.interfaces if interface.link in self.links}:
                lacking += node.netlink(partial(_without_carrier, names=names))
        return ", ".join(lacking)


def _without_carrier(ip: IPRoute, names: set[str]) -> list[str]:
    found = [(link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_CARRIER")) for link in ip.get_links()]
    return [name for name, carrier in found if name in names and not carrier]


def _fields(shape: plan.Shape) -> str:
    """A shape in the control language: times in ns, chances as they are."""
    fields: dict[str, float] = {"delay": round(shape.delay * 1e9), "jitter": round(shape.jitter * 1e9)}
    if shape.loss_burst and shape.loss:
        fields["to-bad"], fields["to-good"] = burst_chances(shape.loss, shape.loss_burst)
    else:
        fields["loss"] = shape.loss
    fields |= {"duplicate": shape.duplicate, "reorder": shape.reorder}
    return " ".join(f"{name}={value!r}" for name, value in fields.items() if value)
