"""Hosts on one bridge, for tests of what goes on between hosts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

DEADLINE = 60 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))


@dataclass
class Net:
    """Hosts on a bridge, each in a network namespace of its own; the bridge in another."""

    bridge: int
    hosts: dict[str, int]

    def spawn(self, node: str, argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            enter = ("nsenter", "-t", str(self.hosts[node]), "-n", "--")
            return subprocess.Popen((*enter, *argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def link(self, node: str, state: str) -> None:
        ip(self.bridge, f"link set {node} {state}")

    def sent(self, node: str) -> int:
        """Packets that a host sent so far."""
        lines = Path(f"/proc/{self.hosts[node]}/net/dev").read_text().splitlines()
        (row,) = (line.split() for line in lines if line.strip().startswith("eth0:"))
        return int(row[10])

    def address(self, node: str) -> IPv4Address:
        return IPv4Address("10.64.0.1") + list(self.hosts).index(node)


def ip(pid: int, *commands: str) -> None:
    argv = ("nsenter", "-t", str(pid), "-n", "ip", "-batch", "-")
    subprocess.run(argv, input="\n".join(commands), text=True, check=True, capture_output=True)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"not in {DEADLINE:g} s: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def network(names: Sequence[str], mtu: int = 9000) -> Iterator[Net]:
    ours = os.readlink("/proc/self/ns/net")
    holders = [subprocess.Popen(("unshare", "-n", "sleep", "infinity")) for _ in range(len(names) + 1)]
    try:
        for holder in holders:
            until(lambda pid=holder.pid: os.readlink(f"/proc/{pid}/ns/net") != ours, "a namespace")
        bridge, *rest = (holder.pid for holder in holders)
        net = Net(bridge, dict(zip(names, rest, strict=True)))
        ip(bridge, "link add br0 type bridge mcast_snooping 0", f"link set br0 mtu {mtu} up")
        for name, pid in net.hosts.items():
            ip(bridge, f"link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {pid}",
               f"link set {name} master br0 up")  # fmt: skip
            ip(pid, "link set lo up", f"addr add {net.address(name)}/24 dev eth0", "link set eth0 up",
               "route add default dev eth0")  # fmt: skip
        yield net
    finally:
        for holder in holders:
            holder.kill()
        for holder in holders:
            holder.wait()
