"""The forwarder's core as a process of its own: `sim`, built with sanitizers, and networks of its routers in memory.

A router is spoken to in the control language and fed with frames; it answers with the copies that it would send. What
the sanitizers find ends the process: the next exchange with it, or `Sim.close`, raises with their report.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.packet import Ethernet

FORWARDER = Path(__file__).resolve().parents[2] / "testbed" / "forwarder"
HOST = "02:00:00:00:ff:01"  # whoever sends from outside
OUTSIDE = "02:00:00:00:ff:02"  # the MAC address of every port to the outside

Rows = Iterable[str]
Sent = list[tuple[str, bytes]]  # port and frame


@functools.cache
def binary() -> Path:
    """The program as `make` left it if that is up to date, else built for this process."""
    make = ["make", "-s", "-j2", "-C", str(FORWARDER / "src")]
    os.environ.pop("MAKEFLAGS", None)  # of a make that runs the tests
    if subprocess.run([*make, "-q", "../bin/sim"], stderr=subprocess.DEVNULL).returncode == 0:
        return FORWARDER / "bin" / "sim"
    folder = tempfile.mkdtemp(prefix="forwarder-sim-")
    atexit.register(shutil.rmtree, folder)
    subprocess.run([*make, f"BIN={folder}", f"{folder}/sim"], check=True)
    return Path(folder) / "sim"


class Sim:
    """One process; up to 256 routers live in it."""

    def __init__(self) -> None:
        program = binary()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self._at = ""

    def tell(self, text: str) -> None:
        """Write lines, without waiting for what they are answered with."""
        assert self._process.stdin
        try:
            self._process.stdin.write(text.encode("latin-1"))
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None

    def answer(self) -> tuple[bool, list[str]]:
        """Up to the next "ok" or "failed": which of them, and the lines before it."""
        assert self._process.stdout
        lines = []
        while (line := self._process.stdout.readline()) not in (b"ok\n", b"failed\n"):
            if not line:
                raise self._dead()
            lines.append(line.decode("latin-1").rstrip("\n"))
        return line == b"ok\n", lines

    def at(self, name: str) -> None:
        """Speak to this router from now on."""
        if name != self._at:
            self.tell(f"node {name}\n")
            assert self.answer() == (True, [])
            self._at = name

    def ask(self, line: str) -> tuple[bool, list[str]]:
        self.tell(line + "\n")
        return self.answer()

    def close(self) -> None:
        """End the process; raises if it was not well, a leak included."""
        assert self._process.stdin
        assert self._process.stdout
        if self._process.poll() is None:
            self._process.stdin.close()
        status = self._process.wait(60)
        self._process.stdout.close()
        try:
            if status:
                raise self._dead()
        finally:
            self._errors.close()

    def _dead(self) -> AssertionError:
        status = self._process.wait(60)
        self._errors.seek(0)
        return AssertionError(f"sim ended with {status}:\n{self._errors.read().decode(errors='replace')}")


@contextmanager
def running() -> Iterator[Sim]:
    sim = Sim()
    try:
        yield sim
    finally:
        sim.close()


@dataclass
class Outcome:
    """What a frame came to: the copies, in the order they were sent, and the drops it was counted under."""

    sent: Sent
    drops: Counter[str] = field(default_factory=Counter)

    @property
    def ports(self) -> list[str]:
        return [port for port, _ in self.sent]

    def on(self, port: str) -> bytes:
        """The one frame that went out here."""
        (frame,) = [frame for each, frame in self.sent if each == port]
        return frame


class Router:
    """One router of a sim."""

    def __init__(self, sim: Sim, name: str) -> None:
        self.sim, self.name = sim, name
        self._dropped: Counter[str] = Counter()

    def change(self, how: str, rows: Rows) -> list[str]:
        """`how` is replace or update. The mistakes; none: it was done."""
        self.sim.at(self.name)
        self.sim.tell("".join(f"{row}\n" for row in (how, *rows, "commit")))
        good, lines = self.sim.answer()
        assert good == (not lines)
        return lines

    def load(self, *rows: str, mtu: int = 9000) -> Router:
        """New tables, without a mistake in them, and every port up. MAC addresses: those of `ports` and `links`."""
        assert self.change("replace", rows) == []
        for row in rows:
            words = row.split()
            if words[0] == "port":
                self.interface(words[1], port_mac(self.name, words[1]), mtu)
        self._dropped = self._counted()
        return self

    def interface(self, port: str, mac: str, mtu: int = 9000, state: str = "up") -> None:
        self.sim.at(self.name)
        assert self.sim.ask(f"interface {port} {mac} {mtu} {state}") == (True, [])

    def neighbour(self, nexthop: int, mac: str) -> None:
        """`mac` may be "none"."""
        self.sim.at(self.name)
        assert self.sim.ask(f"neighbour {nexthop} {mac}") == (True, [])

    def tables(self) -> list[str]:
        self.sim.at(self.name)
        good, lines = self.sim.ask("tables")
        assert good
        return lines

    def state(self) -> Any:
        self.sim.at(self.name)
        good, lines = self.sim.ask("state")
        assert good
        return json.loads("".join(lines))

    def show(self, view: str) -> list[str]:
        self.sim.at(self.name)
        good, lines = self.sim.ask(f"show {view}")
        assert good
        return lines

    def receive(self, port: str, frame: bytes, *, partial: bool = False) -> Sent:
        """Give it a frame. `partial`: its transport checksum is missing."""
        self.sim.at(self.name)
        good, lines = self.sim.ask(f"frame {port} {frame.hex()}{' partial' * partial}")
        assert good, f"{self.name} has no port {port}"
        return [(words[1], bytes.fromhex(words[2])) for words in map(str.split, lines)]

    def judge(self, port: str, frame: bytes, *, partial: bool = False) -> Outcome:
        """As `receive`, with what was dropped on account of this frame."""
        sent = self.receive(port, frame, partial=partial)
        before, self._dropped = self._dropped, self._counted()
        return Outcome(sent, self._dropped - before)

    def _counted(self) -> Counter[str]:
        return Counter(self.state()["drops"])


# -- ports and neighbours ----------------------------------------------------------------------------------------------


def _number(text: str) -> int:
    """A stable number below 256 for a router's or port's name: its digits, else its letters."""
    digits = "".join(filter(str.isdigit, text))
    return int(digits) % 256 if digits else sum(map(ord, text)) % 256


def port_mac(router: str, port: str) -> str:
    if not port.startswith(("p", "to-")):
        return OUTSIDE
    return f"02:00:00:00:{_number(router):02x}:{_number(port.removeprefix('to-')):02x}"


def peer_mac(number: int) -> str:
    """Of the neighbour that next hop `number` stands for, on port p`number` of a router that stands alone."""
    return f"02:00:00:01:00:{number:02x}"


def ports(count: int) -> list[str]:
    """Rows for p1, p2, ... in the transport, with a neighbour on each: next hops 1, 2, ..."""
    return [
        row for k in range(1, count + 1) for row in (f"port p{k} transport", f"nexthop {k} port p{k} mac {peer_mac(k)}")
    ]


def links(router: str, neighbours: Iterable[str]) -> list[str]:
    """Rows for a router of a network: port to-X and a next hop for each neighbour X, numbered after its name."""
    return [
        row
        for other in neighbours
        for row in (
            f"port to-{other} transport",
            f"nexthop {nexthop(other)} port to-{other} mac {port_mac(other, 'to-' + router)}",
        )
    ]


def nexthop(router: str) -> int:
    return _number(router)


def frame(dst: str, ethertype: int, payload: bytes, src: str = HOST) -> bytes:
    return Ethernet(dst, src, ethertype).encode(payload)


def payload(data: bytes, ethertype: int) -> bytes:
    """What a frame of this type carries."""
    header, rest = Ethernet.decode(data)
    assert header.ethertype == ethertype, f"{header.ethertype:#06x}"
    return rest


# -- networks ----------------------------------------------------------------------------------------------------------

Receive = Callable[[str, bytes], Sent]


@dataclass
class Hop:
    """One frame on its way. `to` is empty where it leaves the network, by `port` of router `router`."""

    router: str
    port: str
    to: str
    frame: bytes


def carry(nodes: Mapping[str, Receive], router: str, port: str, data: bytes, most: int = 10_000) -> list[Hop]:
    """Hand a frame to a router and carry every copy on until none is left; all of the hops, in order.

    Port to-X of Y leads to port to-Y of X; every other port leads outside.
    """
    waiting, hops = deque([(router, port, data)]), list[Hop]()
    while waiting:
        at, by, each = waiting.popleft()
        for out, copy in nodes[at](by, each):
            to = out.removeprefix("to-") if out.startswith("to-") else ""
            hops.append(Hop(at, out, to, copy))
            assert len(hops) <= most, "no end of copies"
            if to:
                waiting.append((to, f"to-{at}", copy))
    return hops


def delivered(hops: Iterable[Hop]) -> Counter[str]:
    """How often each router sent a copy outside."""
    return Counter(hop.router for hop in hops if not hop.to)
