"""Real forwarders in namespaces of a test's own: routers and hosts, what leaves each router, what the hosts receive.

Interface to-X of node Y leads to interface to-Y of node X. The forwarder is the one with sanitizers: what they find
ends it, and that is noticed at the latest when it is stopped.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from small_lab import DEADLINE_S, Spaces, spaces, wait_for

from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.state import State
from testbed.forwarder.tables import Tables
from testbed.lab import namespace
from testbed.packet import Ethernet, Ethertype, IPv4, IPv6, Udp, multicast_mac

FORWARDER = Path(__file__).resolve().parents[2] / "testbed" / "forwarder"
PORT = 5001  # UDP, of every host's socket
BUFFER = 1 << 26  # what is lost, is not lost by our own sockets
IP_ETHERTYPE = {4: Ethertype.IPV4, 6: Ethertype.IPV6}
NOT_FORWARDED = range(130, 144)  # ICMPv6: multicast listeners, neighbours and routers of a link

# Of Linux, and not in Python's socket.
ETH_P_ALL, SOL_PACKET, PACKET_RX_RING, PACKET_VERSION = 0x0003, 263, 5, 10
SO_RCVBUFFORCE, IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 33, 49, 29

# RFC 9524 appendix A, figure 1; hosts at the root and at the leaves.
RFC_9524 = ("R1-R2", "R2-R3", "R2-R4", "R2-R5", "R3-R6", "R4-R7", "R5-R7", "R6-R7")
RFC_9524_HOSTS = ("R1-hR1", "R2-hR2", "R6-hR6", "R7-hR7")

Address = IPv4Address | IPv6Address
Frames = list[tuple[str, str, bytes]]  # node, interface, frame


@functools.cache
def binary() -> Path:
    """mcfwd with sanitizers, made if a source is newer."""
    source = str(FORWARDER / "src")
    subprocess.run(["flock", source, "make", "-s", "-C", source, "../bin/mcfwd-checked"], check=True)
    return FORWARDER / "bin" / "mcfwd-checked"


# -- the forwarder -----------------------------------------------------------------------------------------------------


class Mcfwd:
    """One process. Leaving the context ends it with SIGTERM; it must have been well."""

    def __init__(self, pid: int, path: Path, *arguments: str) -> None:
        """`pid` holds the namespace; the control socket will be at `path`, its log beside it."""
        self.socket, self.log = path, path.with_suffix(".log")
        enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", "-t", str(pid), "-n", "--"]
        with self.log.open("ab") as log:
            command = [*enter, str(binary()), "--control", str(path), *arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.client = Forwarder(path, timeout=DEADLINE_S)

    def __enter__(self) -> Mcfwd:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.wait(0)

    def wait(self, status: int) -> None:
        """It ends, in this way."""
        found = self.process.wait(DEADLINE_S)
        assert found == status, f"mcfwd ended with {found}:\n{self.log.read_text(errors='replace')}"

    def kill(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        assert self.process.poll() is None, f"mcfwd ended:\n{self.log.read_text(errors='replace')}"
        try:
            self.client.show("ports")
        except ForwarderError:
            return False
        return True

    def load(self, *rows: str) -> None:
        """New tables, in force once every port is up and every next hop is known."""
        self.client.replace(Tables.parse("\n".join(rows)))
        self.ready()

    def ready(self) -> State:
        def ready() -> State | None:
            state = self.client.state()
            up = all(port.up for port in state.ports.values())
            return state if up and all(each.mac for each in state.nexthops.values()) else None

        return wait_for(ready, "a port or a neighbour")

    def drops(self) -> dict[str, int]:
        return self.client.state().drops


# -- the network -------------------------------------------------------------------------------------------------------


class Network:
    """Nodes in namespaces, links between them, and forwarders in some."""

    def __init__(self, made: Spaces, names: Sequence[str], folder: Path) -> None:
        self.spaces, self.names, self.folder = made, names, folder
        self.forwarders: dict[str, Mcfwd] = {}

    def run(self, node: str, *commands: str) -> str:
        return self.spaces.run(node, *commands)

    def mac(self, node: str, towards: str) -> str:
        """Of interface to-`towards` of `node`."""
        return f"02:00:00:00:{self.names.index(node):02x}:{self.names.index(towards):02x}"

    def number(self, node: str) -> int:
        """Of the next hop to it, in everybody's tables."""
        return self.names.index(node) + 1

    def links(self, router: str, *neighbours: str) -> list[str]:
        """Rows for a router: a port in the transport and a next hop for each neighbour."""
        return [
            row
            for other in neighbours
            for row in (
                f"port to-{other} transport",
                f"nexthop {self.number(other)} port to-{other} mac {self.mac(other, router)}",
            )
        ]

    def frame(self, node: str, to: str, ethertype: int, payload: bytes) -> bytes:
        """As a node sends it to its neighbour."""
        return Ethernet(self.mac(to, node), self.mac(node, to), ethertype).encode(payload)

    def delivery(self, router: str, group: Address, packet: bytes) -> bytes:
        """The frame in which a router sends a packet to the group on its host's link."""
        header = Ethernet(multicast_mac(group), self.mac(router, f"h{router}"), IP_ETHERTYPE[group.version])
        return header.encode(packet)

    def inside(self, node: str, work: Any) -> Any:
        return namespace.inside(self.spaces.pid(node), work)

    def wire(self, links: Iterable[tuple[str, str]]) -> None:
        """Veth pairs, both ends up."""
        links = list(links)
        for node in self.names:
            mine = [b for a, b in links if a == node]
            lines = [
                f"link add to-{b} address {self.mac(node, b)} type veth"
                f" peer name to-{node} address {self.mac(b, node)} netns {self.spaces.pid(b)}"
                for b in mine
            ]
            self._batch(node, lines)
        for node in self.names:
            self._batch(node, [f"link set to-{b if a == node else a} up" for a, b in links if node in (a, b)])

    def _batch(self, node: str, lines: list[str]) -> None:
        if lines:
            self.run(node, "ip -batch - <<'END'", *lines, "END")

    def start(self, *nodes: str, arguments: Sequence[str] = ()) -> None:
        """A forwarder in each of these nodes."""
        for node in nodes:
            self.forwarders[node] = Mcfwd(self.spaces.pid(node), self.folder / f"{node}.sock", *arguments)
        for node in nodes:
            wait_for(self.forwarders[node].answers, f"mcfwd of {node}")

    def load(self, tables: Mapping[str, Iterable[str]]) -> None:
        """Rows for each of these routers."""
        for node, rows in tables.items():
            self.forwarders[node].client.replace(Tables.parse("\n".join(rows)))
        for node in tables:
            self.forwarders[node].ready()

    def stop(self) -> None:
        """End the forwarders; raises if one was not well."""
        with contextlib.ExitStack() as stack:
            for each in self.forwarders.values():
                stack.push(each.__exit__)
                if each.process.poll() is None:
                    each.process.terminate()

    def crowded_out(self) -> int:
        """Packets that were sent, and whose way ended at the core's full backlog (netdev_max_backlog): all links of all
        labs share that, so they may be lost to a neighbour's traffic."""
        lost = 0
        for node in self.names:
            for link in json.loads(self.run(node, "ip -j -s link")):
                lost += link["stats64"]["tx"]["dropped"] if link.get("link_type") == "ether" else 0
        return lost


@contextlib.contextmanager
def network(*links: str) -> Iterator[Network]:
    """Links are written "A-B". Addresses are for the test to give."""
    pairs = [(a, b) for a, b in (link.split("-") for link in links)]
    names = sorted({name for pair in pairs for name in pair})
    quiet = [  # no duplicate address detection to wait for; sources from anywhere
        f"echo {value} > /proc/sys/net/{key}"
        for scope in ("all", "default")
        for key, value in ((f"ipv6/conf/{scope}/accept_dad", 0), (f"ipv4/conf/{scope}/rp_filter", 0))
    ]
    with tempfile.TemporaryDirectory(prefix="mcfwd-") as folder, spaces(*names) as made:
        lab = Network(made, names, Path(folder))
        for name in names:
            lab.run(name, *quiet, "ip link set lo up")
        lab.wire(pairs)
        try:
            yield lab
        finally:
            lab.stop()


# -- frames ------------------------------------------------------------------------------------------------------------


class Tap:
    """Every frame that leaves one of the nodes, by whatever interface, but for what links say to themselves."""

    def __init__(self, lab: Network, *nodes: str) -> None:
        self._rings = {node: lab.inside(node, _Ring) for node in nodes}

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        for ring in self._rings.values():
            ring.close()

    def take(self) -> Frames:
        """What has left since the last time: node by node, and of each in the order it left."""
        return [
            (node, interface, frame)
            for node, ring in self._rings.items()
            for interface, kind, frame in ring.take()
            if kind == socket.PACKET_OUTGOING and _is_forwarded(frame)
        ]


class _Ring:
    """A packet socket of the namespace that copies each frame as it passes (packet_mmap, TPACKET_V2).

    What a plain one queues is the frame itself, and seg6local in the next node writes its changes into that.
    """

    SIZE, FRAMES, BLOCK = 2048, 2048, 1 << 16  # octets of a frame and its description; frames; octets of a block
    HEADER, ADDRESS = struct.Struct("=IIIHH"), struct.Struct("=2xHiHB")  # tpacket2_hdr and, 32 octets on, sockaddr_ll

    def __init__(self) -> None:
        self._names = dict(socket.if_nameindex())
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, 1)
        size = self.SIZE * self.FRAMES
        request = struct.pack("=IIII", self.BLOCK, size // self.BLOCK, self.SIZE, self.FRAMES)
        self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        self._memory = mmap.mmap(self._socket.fileno(), size)
        self._at = 0

    def take(self) -> Iterator[tuple[str, int, bytes]]:
        """Interface, kind and content of each frame since the last time."""
        while True:
            start = self._at * self.SIZE
            status, length, held, begin, _ = self.HEADER.unpack_from(self._memory, start)
            if not status & 1:  # TP_STATUS_USER: it is ours
                return
            assert length == held, "a longer frame than this ring holds"
            assert not status & 4, "more frames than this ring holds"  # TP_STATUS_LOSING
            _, index, _, kind = self.ADDRESS.unpack_from(self._memory, start + 32)
            frame = self._memory[start + begin : start + begin + length]
            self._memory[start : start + 4] = bytes(4)
            self._at = (self._at + 1) % self.FRAMES
            yield self._names.get(index, "made later"), kind, frame

    def close(self) -> None:
        self._memory.close()
        self._socket.close()


def _is_forwarded(frame: bytes) -> bool:
    """Not ARP, IGMP or IPv6's way to know a link."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == Ethertype.IPV6:
        return not (frame[20] == 0 or (frame[20] == 58 and frame[54] in NOT_FORWARDED))
    if ethertype == Ethertype.IPV4:
        return frame[23] != socket.IPPROTO_IGMP
    return ethertype in (Ethertype.MPLS, Ethertype.BIER)


def forwarded(packet: bytes, hops: int) -> bytes:
    """A UDP packet as it is that many IP hops further on, with its checksum complete."""
    header: IPv4 | IPv6
    if packet[0] >> 4 == 4:
        ipv4, rest = IPv4.decode(packet)
        header = replace(ipv4, ttl=ipv4.ttl - hops)
    else:
        ipv6, rest = IPv6.decode(packet)
        header = replace(ipv6, hop_limit=ipv6.hop_limit - hops)
    udp, data = Udp.decode(rest, header.src, header.dst, verify=False)
    return header.encode(udp.encode(data, header.src, header.dst))


def inject(lab: Network, node: str, interface: str, *frames: bytes) -> None:
    """Send frames as they are; what hears them is the other end of the link."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((interface, 0))
            for frame in frames:
                sock.send(frame)

    lab.inside(node, send)


# -- hosts -------------------------------------------------------------------------------------------------------------


class Heard(NamedTuple):
    source: Address
    data: bytes


class Host:
    """A UDP socket on one interface of a node: it sends to groups, and hears those that it has joined.

    Checksums are left to the device, which a veth is not: what it sends has none until somebody completes it. What it
    hears was checked by the kernel.
    """

    def __init__(self, lab: Network, node: str, interface: str, family: int, groups: Iterable[Address] = ()) -> None:
        self.node, self._family = node, family
        self._socket: socket.socket = lab.inside(node, lambda: self._open(interface, groups))

    def _open(self, interface: str, groups: Iterable[Address]) -> socket.socket:
        v4 = self._family == 4
        index = socket.if_nametoindex(interface)
        sock = socket.socket(socket.AF_INET if v4 else socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if v4:
            level, add, only_joined = socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, IP_MULTICAST_ALL
            sock.setsockopt(level, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), index))
            sock.setsockopt(level, socket.IP_MULTICAST_TTL, 64)
            sock.setsockopt(level, socket.IP_MULTICAST_LOOP, 0)
            requests = [struct.pack("=4s4si", group.packed, bytes(4), index) for group in groups]
        else:
            level, add, only_joined = socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, IPV6_MULTICAST_ALL
            sock.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, 64)
            sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 0)
            requests = [struct.pack("=16si", group.packed, index) for group in groups]
        sock.setsockopt(level, only_joined, 0)
        sock.bind(("", PORT))
        for request in requests:
            sock.setsockopt(level, add, request)
        sock.setblocking(False)
        return sock

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, group: Address, data: bytes) -> None:
        wait_for(lambda: self._sent(group, data), "room in the socket's buffer")

    def _sent(self, group: Address, data: bytes) -> bool:
        try:
            self._socket.sendto(data, (str(group), PORT))
        except BlockingIOError:
            return False
        return True

    def hear(self) -> list[Heard]:
        """What has come since the last time."""
        found = []
        while True:
            try:
                data, (source, *_) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return found
            found.append(Heard(ip_address(source), data))


def hear(hosts: Mapping[str, Host], last: bytes, at: Iterable[str]) -> dict[str, list[bytes]]:
    """What each host has heard by the time that `last` has come to all of those."""
    heard: dict[str, list[bytes]] = {name: [] for name in hosts}

    def come() -> bool:
        for name, host in hosts.items():
            heard[name] += [data for _, data in host.hear()]
        return all(last in heard[name] for name in at)

    wait_for(come, f"{last!r} at {', '.join(sorted(at))}")
    return {name: data for name, data in heard.items() if data}


def walk(
    tap: Tap, hosts: Mapping[str, Host], ingress: str, to: Address, at: set[str], everybody: Address | None = None
) -> tuple[bytes, Frames]:
    """Send to a group from the host at `ingress`; it is heard `at` these and at no others. The IP packet as it left its
    host, and every frame that came of it.

    Behind it goes another, to `everybody`, a group that all other hosts hear, or to the same hosts. With that one, all
    copies of the first have come, wanted or not.
    """
    others = set(hosts) - {ingress} if everybody else at
    hosts[ingress].send(to, b"walk")
    hosts[ingress].send(everybody or to, b"last")
    heard = hear(hosts, b"last", others)
    assert heard == {name: [b"walk", b"last"] if name in at else [b"last"] for name in others}
    frames = [each for each in tap.take() if b"walk" in each[2]]
    (packet,) = [frame[14:] for node, _, frame in frames if node == hosts[ingress].node]
    return packet, [each for each in frames if each[0] != hosts[ingress].node]
