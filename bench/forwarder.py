"""The forwarder against the kernel's own multicast forwarding: throughput, processor time, and how fast tables change.

    .venv/bin/python bench/forwarder.py [--quick] [--json] [--runs N] [--frames 1400,8900]

Both sides in one run, on the same namespaces and links, with the same frames: a chain of three routers, r1 to r3, with
a branch at the second; hosts behind r2 and r3 count what arrives. The kernel's side has static multicast routes, once
as it comes and once with receive packet steering on every interface. Throughput is the highest rate of which both hosts
miss less than 0.1 %, found by bisection; processor time is that of the whole machine at one common rate, traffic's own
included. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.program import program
from testbed.forwarder.tables import Tables
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.packet import udp_packet
from testbed.plan.build import make_plan
from testbed.plan.frr import RouterConfig
from testbed.spec.topology import Topology

TRAFFIC = Path(__file__).parent / "traffic" / "blast.c"
GROUP = IPv4Address("232.1.1.1")
ROUTERS = ("r1", "r2", "r3")
TOPOLOGY = {
    "name": "chain",
    "nodes": {"r1": {"kind": "repository"}, "r2": {"kind": "site"}, "r3": {"kind": "site"}},
    "links": [{"a": "r1", "b": "r2", "mtu": 9000}, {"a": "r2", "b": "r3", "mtu": 9000}],
}
LOSS = 0.001
CORES = len(os.sched_getaffinity(0))
STREAM = 20_000  # frames a second while a next hop changes
SETUPS = ("kernel", "kernel with RPS", "BIER", "SR-MPLS", "SRv6")


@dataclass(frozen=True)
class Chain:
    """The network, and the traffic program built for it."""

    lab: Lab
    blast: str

    def interface(self, node: str, towards: str) -> str:
        return next(i.name for i in self.lab.plan.nodes[node].interfaces if i.peer_node == towards)

    def mac(self, node: str, interface: str) -> str:
        link = self.lab[node].netlink(lambda ip: ip.link("get", ifname=interface)[0])
        return str(link.get_attr("IFLA_ADDRESS"))

    @property
    def source(self) -> Node:
        return self.lab[self.lab.plan.repository]

    def receiver(self, site: str) -> Node:
        return self.lab[self.lab.plan.destinations(site, "storage")[0].name]

    def lan(self, router: str) -> str:
        """A router's interface to its own host."""
        return next(i.name for i in self.lab.plan.nodes[router].interfaces if i.is_lan)

    def header(self, size: int) -> bytes:
        """What every frame begins with; a sequence number follows. The UDP checksum is left out (RFC 768 allows it)."""
        source = self.lab.plan.nodes[self.lab.plan.repository].interfaces[0].address.ip
        packet = bytearray(udp_packet(source, GROUP, 5000, 5001, bytes(size - 14 - 28), ttl=16))
        packet[26:28] = b"\0\0"
        return bytes.fromhex("01005e") + GROUP.packed[1:] + bytes(6) + b"\x08\x00" + bytes(packet[:28])


# -- the two sides ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kernel(chain: Chain, steering: bool) -> Iterator[None]:
    """Static multicast routes in every router (ip(7), MRT_ADD_VIF and MRT_ADD_MFC)."""
    sockets = [chain.lab[name].call(lambda: _routes(chain, name)) for name in ROUTERS]  # noqa: B023
    _steer(chain, "3" if steering else "0")
    try:
        yield
    finally:
        _steer(chain, "0")
        for sock in sockets:
            sock.close()


def _routes(chain: Chain, name: str) -> socket.socket:
    mrt_init, mrt_add_vif, mrt_add_mfc, by_index = 200, 202, 204, 8
    node = chain.lab.plan.nodes[name]
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    sock.setsockopt(socket.IPPROTO_IP, mrt_init, 1)
    for vif, interface in enumerate(node.interfaces):
        index = socket.if_nametoindex(interface.name)
        sock.setsockopt(socket.IPPROTO_IP, mrt_add_vif, struct.pack("=HBBIi4x", vif, by_index, 1, 0, index))
    upstream = {"r1": chain.lan("r1"), "r2": chain.interface("r2", "r1"), "r3": chain.interface("r3", "r2")}[name]
    backwards = {"r2": upstream, "r3": upstream}.get(name, "")
    incoming = [i.name for i in node.interfaces].index(upstream)
    ttls = bytes(1 if i.name not in (upstream, backwards) else 255 for i in node.interfaces)
    source = chain.lab.plan.nodes[chain.lab.plan.repository].interfaces[0].address.ip
    mfc = source.packed + GROUP.packed + struct.pack("=H", incoming) + ttls.ljust(32, b"\xff")
    sock.setsockopt(socket.IPPROTO_IP, mrt_add_mfc, mfc.ljust(60, b"\0"))
    return sock


def _steer(chain: Chain, mask: str) -> None:
    for node in chain.lab.nodes.values():
        node.run(["sh", "-c", f"for q in /sys/class/net/*/queues/rx-*/rps_cpus; do echo {mask} > $q; done"])


@contextlib.contextmanager
def forwarders(chain: Chain, tables: Callable[[Chain, str], str]) -> Iterator[dict[str, Forwarder]]:
    """mcfwd in every router, with the tables that the function makes of it."""
    processes, clients = [], {}
    try:
        for name in ROUTERS:
            node = chain.lab[name]
            path = node.folder / "run" / "mcfwd.sock"
            process = node.popen([str(program()), "--control", "/run/mcfwd.sock", "--log", "/var/log/mcfwd.log"])
            processes.append(process)
            clients[name] = Forwarder(path)
            while not _answers(clients[name]):
                if process.poll() is not None:
                    raise SystemExit((node.folder / "log" / "mcfwd.log").read_text())
                time.sleep(0.01)
            clients[name].replace(Tables.parse(tables(chain, name)))
        for name, client in clients.items():
            while not all(port.up for port in client.state().ports.values()):
                time.sleep(0.01)
            del name
        yield clients
    finally:
        for client in clients.values():
            client.close()
        for process in processes:
            process.terminate()
            process.wait()


def _answers(client: Forwarder) -> bool:
    """Whether it listens yet."""
    try:
        client.show("ports")
    except ForwarderError:
        return False
    return True


def _ports(chain: Chain, name: str) -> list[str]:
    lines = [f"port {i.name} transport" for i in chain.lab.plan.nodes[name].interfaces if not i.is_lan]
    lines.append(f"port {chain.lan(name)}" + (" context 1" if name == "r1" else ""))
    onward = {"r1": "r2", "r2": "r3"}.get(name)
    if onward:
        mac = chain.mac(onward, chain.interface(onward, name))
        lines.append(f"nexthop 1 port {chain.interface(name, onward)} mac {mac}")
    if name != "r1":
        lines.append(f"flow 2 * {GROUP} port {chain.lan(name)}")
    return lines


def bier(chain: Chain, name: str) -> str:
    """BFR-ids r1 = 1, r2 = 2, r3 = 3; 256 bits; Ethertype 0xAB37."""
    own = ROUTERS.index(name) + 1
    lines = [*_ports(chain, name), f"bift ethernet 1 sd 0 si 0 bsl 256 bfr-id {own} context 2"]
    lines.append(f"path ethernet 1 0 0 fbm {1 << (own - 1):x} local")
    if name != "r3":
        lines.append(f"path ethernet 1 0 1 fbm {'6' if name == 'r1' else '4'} nexthop 1")
    if name == "r1":
        lines.append(f"flow 1 * {GROUP} bier ethernet 1 6")
    return "\n".join(lines)


def sr_mpls(chain: Chain, name: str) -> str:
    """One Replication segment a router, labels 101 to 103: head, bud, leaf."""
    lines = _ports(chain, name)
    role = {"r1": "head", "r2": "bud context 2", "r3": "leaf context 2"}[name]
    lines.append(f"segment 1 {role}")
    if name != "r1":
        lines.append(f"label 10{name[1]} replicate 1")
    if name != "r3":
        lines.append(f"branch 1 0 labels {'102' if name == 'r1' else '103'} nexthop 1")
    if name == "r1":
        lines.append(f"flow 1 * {GROUP} segment 1")
    return "\n".join(lines)


def srv6(chain: Chain, name: str) -> str:
    """The same over SRv6, with a single segment and no SRH."""
    lines = [*_ports(chain, name), f"node source 2001:db8::{name[1]}"]
    role = {"r1": "head", "r2": "bud context 2", "r3": "leaf context 2"}[name]
    lines.append(f"segment 1 {role}")
    if name != "r1":
        lines.append(f"sid 2001:db8:cccc:{name[1]}:f{name[1]}:: replicate 1")
    if name != "r3":
        onward = "2" if name == "r1" else "3"
        lines.append(f"branch 1 0 sid 2001:db8:cccc:{onward}:f{onward}:: nexthop 1")
    if name == "r1":
        lines.append(f"flow 1 * {GROUP} segment 1")
    return "\n".join(lines)


@contextlib.contextmanager
def side(chain: Chain, setup: str) -> Iterator[dict[str, Forwarder]]:
    """One of SETUPS, in force."""
    if setup.startswith("kernel"):
        with kernel(chain, steering="RPS" in setup):
            yield {}
    else:
        with forwarders(chain, {"BIER": bier, "SR-MPLS": sr_mpls, "SRv6": srv6}[setup]) as clients:
            yield clients


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """What came of one burst: frames a second sent, the share missing at the worse host, the machine's busy cores."""

    rate: float
    missing: float
    duplicates: int
    busy: float
    received: list[dict[str, Any]]


def _busy_seconds() -> float:
    """What is not idle: without its tick the kernel measures that exactly, and samples all else (proc_stat(5))."""
    fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return time.monotonic() * CORES - (fields[3] + fields[4]) / 100


def burst(chain: Chain, size: int, rate: float, seconds: float) -> Burst:
    """Send for some seconds, then count."""
    header = chain.header(size)
    counters = []
    for site in ("r2", "r3"):
        node = chain.receiver(site)
        interface = node.spec.interfaces[0].name
        counters.append(node.popen([chain.blast, "count", str(len(header)), interface], stdout=subprocess.PIPE))
    for counter in counters:
        assert counter.stdout is not None
        counter.stdout.readline()
    before = _busy_seconds()
    interface = chain.source.spec.interfaces[0].name
    arguments = [interface, header.hex(), str(size), str(rate), str(seconds)]
    sent = json.loads(chain.source.run([chain.blast, "send", *arguments], timeout=seconds + 30).stdout)
    busy = (_busy_seconds() - before) / sent["seconds"]
    received = []
    for counter in counters:
        _drained(counter)
        counter.send_signal(signal.SIGTERM)
        assert counter.stdout is not None
        received.append(json.loads(counter.stdout.read()))
        counter.wait()
    missing = max(1 - answer["packets"] / max(1, sent["sent"]) for answer in received)
    duplicates = sum(answer["duplicates"] for answer in received)
    return Burst(sent["sent"] / sent["seconds"], missing, duplicates, busy, received)


def _drained(counter: subprocess.Popen[bytes]) -> None:
    """Wait until it has been idle for a moment: whatever stood in a queue has come."""
    last = -1.0
    while (now := _cpu_of(counter.pid)) != last:
        last = now
        time.sleep(0.15)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return float(fields[11]) + float(fields[12])


def throughput(chain: Chain, size: int, seconds: float, steps: int) -> float:
    """The highest rate (frames a second) with less than 0.1 % missing."""
    low, high = 0.0, 400_000.0
    for _ in range(steps):
        middle = (low + high) / 2 if low else high / 2
        answer = burst(chain, size, middle, seconds)
        if answer.missing < LOSS and answer.rate > 0.97 * middle:
            low = middle
        else:
            high = middle
    return low


def switch_times(chain: Chain, runs: int) -> dict[str, float]:
    """Tables at r1: milliseconds to replace 4,096 BFRs', and to change one next hop."""
    with forwarders(chain, bier) as clients:
        client = clients["r1"]
        base = [line for line in bier(chain, "r1").splitlines() if not line.startswith(("bift", "path", "flow"))]
        big = list(base)
        for si in range(16):  # 4,096 BFRs in 16 sets, spread over 8 neighbours
            big.append(f"bift ethernet {100 + si} sd 0 si {si} bsl 256 bfr-id 1")
            for path in range(8):
                mask = sum(1 << bit for bit in range(path, 256, 8))
                big.append(f"path ethernet {100 + si} 0 {path} fbm {mask:x} nexthop 1")
        big_tables = Tables.parse("\n".join(big))
        replaced, changed = [], []
        for _ in range(runs):
            start = time.perf_counter()
            client.replace(big_tables)
            replaced.append(time.perf_counter() - start)
        nexthop = next(line for line in big if line.startswith("nexthop 1 "))
        for _ in range(20 * runs):
            start = time.perf_counter()
            client.update([nexthop])
            changed.append(time.perf_counter() - start)
    return {
        "replace_4096_ms": statistics.median(replaced) * 1e3,
        "replace_4096_worst_ms": max(replaced) * 1e3,
        "nexthop_ms": statistics.median(changed) * 1e3,
        "nexthop_worst_ms": max(changed) * 1e3,
    }


def first_packets(chain: Chain, changes: int) -> dict[str, float]:
    """Microseconds from just before a change of a next hop is written to r1's control socket to the first frame on the
    new path, by the kernel's clock where it arrives at r2. The frames' own distance, 1 / STREAM, is part of it."""
    header = chain.header(1400).hex()
    with forwarders(chain, bier) as clients, contextlib.ExitStack() as stack:
        row = next(line for line in bier(chain, "r1").splitlines() if line.startswith("nexthop 1 "))
        interface, source = chain.interface("r2", "r1"), chain.source.spec.interfaces[0].name
        turns = _process(stack, chain.lab["r2"].popen([chain.blast, "turns", interface], stdout=subprocess.PIPE))
        assert turns.stdout is not None
        turns.stdout.readline()
        send = [chain.blast, "send", source, header, "1400", str(STREAM), "600", "1"]
        _process(stack, chain.source.popen(send, stdout=subprocess.DEVNULL))
        turns.stdout.readline()  # the first frame
        macs = [row.split()[-1], "02:00:00:00:00:02"]
        times = []
        for change in range(changes):
            time.sleep(random.uniform(0.001, 0.005))  # no multiple of the frames' distance
            new = macs[(change + 1) % 2]
            start = time.time_ns()
            clients["r1"].update([row.replace(macs[0], new)])
            arrival, mac = turns.stdout.readline().split()
            assert mac.decode() == new
            times.append((int(arrival) - start) / 1e3)
    return {
        "first_packet_us": statistics.median(times),
        "first_packet_p99_us": statistics.quantiles(times, n=100)[98],
        "first_packet_worst_us": max(times),
    }


def _process(stack: contextlib.ExitStack, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """It is ended with the stack."""
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def core_costs() -> list[dict[str, float]]:
    """The core alone: nanoseconds a packet for some numbers of set bits and of copies."""
    answers = []
    for bits, copies in ((4, 4), (64, 4), (256, 4), (256, 1), (256, 2), (256, 8), (256, 16)):
        done = subprocess.run([str(program("perf")), str(bits), str(copies), "1400"], capture_output=True, check=True)
        answers.append(json.loads(done.stdout))
    return answers


# -- the program -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 45 seconds: one run, fewer steps")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frames", default="1400,8900", help="frame sizes in bytes")
    parser.add_argument("--steps", type=int, default=9, help="of bisection")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each burst")
    parser.add_argument("--setups", default=",".join(SETUPS))
    options = parser.parse_args()
    runs, steps, seconds = (1, 4, 0.2) if options.quick else (options.runs, options.steps, options.seconds)
    sizes = [int(size) for size in options.frames.split(",")]
    plan = make_plan(Topology.model_validate(TOPOLOGY))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        blast = f"{folder}/blast"
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", blast, str(TRAFFIC)], check=True)
        with Lab(plan, {router.name: RouterConfig({}, ()) for router in plan.routers}) as lab:
            lab.start()
            chain = Chain(lab, blast)
            for size in sizes:
                common = {1400: 20_000, 8900: 10_000}.get(size, 10_000)
                for setup in options.setups.split(","):
                    with side(chain, setup):
                        rates = [throughput(chain, size, seconds, steps) for _ in range(runs)]
                        loads = [burst(chain, size, common, seconds) for _ in range(runs)]
                    rows.append(
                        {
                            "setup": setup,
                            "frame_bytes": size,
                            "frames_per_s": statistics.median(rates),
                            "frames_per_s_all": sorted(rates),
                            "gbit_per_s": statistics.median(rates) * size * 8 / 1e9,
                            "busy_cores_at": common,
                            "busy_cores": statistics.median(load.busy for load in loads),
                            "busy_cores_all": sorted(load.busy for load in loads),
                            "duplicates": sum(load.duplicates for load in loads),
                        }
                    )
                    if not options.json:
                        row = rows[-1]
                        print(
                            f"{setup:16} {size:5} B  {row['frames_per_s']:9.0f} frames/s ({min(rates):.0f} to"
                            f" {max(rates):.0f})  {row['gbit_per_s']:5.2f} Gb/s  {row['busy_cores']:.2f} cores busy at"
                            f" {common}/s ({min(row['busy_cores_all']):.2f} to {max(row['busy_cores_all']):.2f})",
                            flush=True,
                        )
            times = switch_times(chain, 3 if options.quick else 20)
            times |= first_packets(chain, 100 if options.quick else 1000)
    costs = core_costs()
    if options.json:
        print(json.dumps({"throughput": rows, "tables": times, "core": costs}))
        return
    print(", ".join(f"{key} {value:.3f}" for key, value in times.items()))
    for cost in costs:
        print(f"core: {cost['bits']:3} bits, {cost['copies']:2} copies: {cost['ns_per_packet']:6.1f} ns a packet")


if __name__ == "__main__":
    main()
