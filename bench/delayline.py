"""How exactly delayline delays, and what that costs: ten links at once, kept at 500 Mb/s of frames of 9000 bytes.

    .venv/bin/python bench/delayline.py [--quick] [--json] [--seconds N] [--links N] [--rate RATE] [--mtu N] [--delay D]

Of every 64th frame the kernel's own time stamps are taken where it arrives at the delay line and where it arrives at
the far node: what lies between, less the delay that was asked for, is how late it is, in microseconds. `cores` is what
the process used (that includes part of what the kernel does for the node it sends to), `busy` the time that all cores
together were not idle: senders, shapers and receivers included. The first line has no delay line between the nodes.
Needs root.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from testbed.lab import namespace
from testbed.lab.impairments.delayline import Delayline
from testbed.lab.lab import Lab
from testbed.packet import udp_packet
from testbed.plan.build import make_plan
from testbed.plan.frr import RouterConfig
from testbed.run.counters import read_interfaces
from testbed.run.fidelity.kernel import parse_stat
from testbed.spec.topology import Topology
from testbed.units import format_duration, parse_duration, parse_rate

TRAFFIC = Path(__file__).parent / "traffic" / "blast.c"
DELAYS = ["1ms", "10ms", "40ms"]
ETHERNET, UDP_HEADERS = 14, 28
SAMPLED = 64  # a power of two
BURST = 4
WARM_UP_S = 1.0
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_ATTACH_FILTER, PACKET_IGNORE_OUTGOING = 33, 35, 26, 23
SOL_PACKET = 263


def make_lab(links: int, rate: int, mtu: int, delay: float) -> Lab:
    """Two routers that run nothing, and so many links; delay 0: without a delay line."""
    link = {"a": "a", "b": "b", "rate": rate, "mtu": mtu, "delay": delay}
    topology = {
        "name": "delays",
        "nodes": {"a": {"kind": "repository"}, "b": {"kind": "site"}},
        "links": [{**link, "name": f"link{n}"} for n in range(links)],
    }
    plan = make_plan(Topology.model_validate(topology))
    return Lab(plan, {router.name: RouterConfig({}, ()) for router in plan.routers}, impairments="delayline")


def header(size: int) -> bytes:
    """Of a datagram to a group that nobody has joined."""
    packet = udp_packet(IPv4Address("10.255.0.1"), IPv4Address("232.1.1.1"), 5000, 5001, bytes(size - ETHERNET - 28))
    return bytes.fromhex("01005e010101") + bytes(6) + b"\x08\x00" + bytes(packet[:26]) + bytes(2)


def sampler(interface: str) -> socket.socket:
    """A packet socket on which the kernel keeps every SAMPLED-th frame's beginning and time of arrival."""
    number = ETHERNET + UDP_HEADERS + (0 if struct.pack("=H", 1)[0] else 7)
    code = [
        (0x28, 0, 0, ETHERNET + 20 + 2),  # the UDP destination port
        (0x15, 0, 3, 5001),
        (0x30, 0, 0, number),  # the sequence number's lowest byte
        (0x45, 1, 0, SAMPLED - 1),
        (0x06, 0, 0, 128),
        (0x06, 0, 0, 0),
    ]
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(code), ctypes.addressof(buffer)))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 2**28)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, 3))
    sock.setblocking(False)
    return sock


def arrivals(sock: socket.socket) -> dict[int, float]:
    """When each sampled frame arrived, by its number, in s of CLOCK_REALTIME."""
    found = {}
    while True:
        try:
            data, ancillary, _, _ = sock.recvmsg(128, 64)
        except BlockingIOError:
            return found
        seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
        (number,) = struct.unpack_from("=Q", data, ETHERNET + UDP_HEADERS)
        found[number] = seconds + nanoseconds * 1e-9


def busy() -> float:
    """What all cores together did so far, in ticks that were not idle."""
    ticks = parse_stat(Path("/proc/stat").read_text())
    return float(sum(total - idle for idle, total in ticks.values()))


def used(pid: int | None) -> float:
    """What a process did so far, in ticks."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return float(int(fields[11]) + int(fields[12]))


@contextmanager
def traffic(lab: Lab, blast: str, rate: int, mtu: int, seconds: float) -> Iterator[None]:
    """Frames on every link from a to b at its rate, until the end of the block."""
    size = mtu + ETHERNET
    arguments = [header(size).hex(), str(size), str(rate // (8 * size)), str(seconds), str(BURST)]
    links = [link for link in lab.plan.links.values() if not link.is_lan]
    senders = [lab[link.a.node].popen([blast, "send", link.a.name, *arguments]) for link in links]
    try:
        yield
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()


def passed(lab: Lab) -> int:
    """Bytes that all links have carried from a to b so far."""
    found = read_interfaces(lab.pid_of("a"))
    return sum(found[link.a.name].bytes for link in lab.plan.links.values() if not link.is_lan)


def measure(blast: str, links: int, rate: int, mtu: int, delay: float, seconds: float) -> dict[str, Any]:
    with make_lab(links, rate, mtu, delay) as lab, ExitStack() as stack:
        lab.start()
        engine = lab.engine
        assert engine is None or isinstance(engine, Delayline)
        pid = engine.pid if engine is not None else None
        pairs: list[tuple[socket.socket, socket.socket]] = []
        for link in engine.links.values() if engine is not None else ():
            assert engine is not None
            assert pid is not None
            first, last = engine.ports(link.name)[0], link.b.name
            at_line = stack.enter_context(namespace.inside(pid, partial(sampler, first)))
            at_node = stack.enter_context(lab[link.b.node].call(partial(sampler, last)))
            pairs.append((at_line, at_node))
        with traffic(lab, blast, rate, mtu, seconds + WARM_UP_S + 60):
            time.sleep(WARM_UP_S)
            before = time.monotonic(), passed(lab), busy(), used(pid)
            time.sleep(seconds)
            after = time.monotonic(), passed(lab), busy(), used(pid)
        took, size, machine, process = (b - a for a, b in zip(before, after, strict=True))
        ticks = took * os.sysconf("SC_CLK_TCK")
        late: list[float] = []
        for at_line, at_node in pairs:
            sent, came = arrivals(at_line), arrivals(at_node)
            late += sorted((came[n] - sent[n] - delay) * 1e6 for n in came if n in sent)
        late.sort()
        found: dict[str, Any] = {
            "share": size * 8 / took / (links * rate),
            "busy": machine / ticks,
            "cores": process / ticks,
            "drops": sum(d.dropped for d in engine.read().values()) + engine.state()["crowded"] if engine else 0,
            "samples": len(late),
        }
        if late:
            percentiles = {"p1": 0.01, "median": 0.5, "p99": 0.99, "p99.9": 0.999}
            found["late_us"] = {name: late[int(len(late) * share)] for name, share in percentiles.items()}
            found["late_us"]["max"] = late[-1]
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two delays, for three seconds each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--links", type=int, default=10)
    parser.add_argument("--rate", default="500Mbit")
    parser.add_argument("--mtu", type=int, default=9000)
    parser.add_argument("--delay", action="append", default=[], help="instead of the usual ones; may be repeated")
    options = parser.parse_args()
    seconds = 3.0 if options.quick else options.seconds
    rate, delays = parse_rate(options.rate), [parse_duration(d) for d in options.delay or DELAYS]
    with tempfile.TemporaryDirectory() as folder:
        blast = f"{folder}/blast"
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", blast, str(TRAFFIC)], check=True)
        figures = [
            {"delay": delay, **measure(blast, options.links, rate, options.mtu, delay, seconds)}
            for delay in [0.0, *(delays[:2] if options.quick else delays)]
        ]
    if options.json:
        asked = {"links": options.links, "rate": rate, "mtu": options.mtu, "seconds": seconds}
        print(json.dumps({"bench": "delayline", **asked, "figures": figures}))
        return
    print(f"{options.links} links at {options.rate}, MTU {options.mtu}, for {seconds:g} s; how late frames are, in us")
    names = ("p1", "median", "p99", "p99.9", "max")
    print(f"{'delay':>8}{'rate':>7}{'busy':>6}{'cores':>7}{'drops':>7}{'samples':>9}", *(f"{n:>7}" for n in names))
    for f in figures:
        late = "".join(f"{f['late_us'][name]:>8.0f}" for name in names) if "late_us" in f else ""
        head = f"{format_duration(f['delay']):>8}{f['share']:>7.0%}{f['busy']:>6.2f}{f['cores']:>7.2f}{f['drops']:>7}"
        print(f"{head}{f['samples']:>9}{late}")


if __name__ == "__main__":
    main()
