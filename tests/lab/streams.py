"""A numbered multicast stream through a lab, and what each host has of it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from threading import Event, Thread

from small_lab import wait_for

from testbed.lab.lab import Lab

PORT = 5555
MCAST_JOIN_SOURCE_GROUP, SO_RCVBUFFORCE = 46, 33
BUFFER = 1 << 26  # what is lost, is not lost by a receiver that has to wait for the processor


class Receiver:
    """A host that joined a flow: the sequence numbers that came, each as often as it came."""

    def __init__(self, lab: Lab, host: str, group: str, source: str) -> None:
        def join() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            sock.bind((group, PORT))
            index = socket.if_nametoindex(lab.plan.nodes[host].interfaces[0].name)
            address = [struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(a)) for a in (group, source)]
            sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, struct.pack("=I4x", index) + b"".join(address))
            return sock

        self.got: list[int] = []
        self._sock = lab[host].call(join)
        self._sock.settimeout(0.2)
        self._over = Event()
        self._thread = Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                self.got.append(int.from_bytes(self._sock.recv(100), "big"))
            except TimeoutError:
                continue

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()


class Stream:
    """A flow from the repository to hosts, one packet every 2 ms until it is closed."""

    def __init__(self, lab: Lab, group: str, hosts: list[str]) -> None:
        source = str(lab.plan.nodes[lab.plan.repository].interfaces[0].address.ip)
        self.receivers = {host: Receiver(lab, host, group, source) for host in hosts}
        self.sent = 0
        self._lab, self._crowded_before = lab, crowded_out(lab)
        self._over = Event()
        self._sock = lab[lab.plan.repository].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        self._sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        self._group = group
        self._thread = Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._over.wait(0.002):
            self._sock.sendto(self.sent.to_bytes(8, "big"), (self._group, PORT))
            self.sent += 1

    def flows(self) -> None:
        """Wait until every host got a packet that is sent from now on."""
        mark = self.sent
        for host, receiver in self.receivers.items():
            wait_for(lambda r=receiver: any(n >= mark for n in list(r.got)), f"a packet at {host}")

    def nothing_missing_since(self, mark: int) -> None:
        """Every host has every packet of the time since `mark`, but for what other labs crowded out."""
        self.flows()
        wanted = set(range(mark, self.sent))

        def missing(receiver: Receiver) -> set[int]:
            lost = wanted - set(receiver.got)
            spared = crowded_out(self._lab) - self._crowded_before if lost else 0
            return lost if len(lost) > spared else set()

        for host, receiver in self.receivers.items():
            try:
                wait_for(lambda r=receiver: not missing(r), f"all packets at {host}")
            except AssertionError as late:
                raise AssertionError(f"{late}: {sorted(missing(receiver))} of {mark} to {self.sent}") from None

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()
        for receiver in self.receivers.values():
            receiver.close()

    def duplicates(self) -> list[int]:
        """Those that came more than once to one host."""
        return [n for r in self.receivers.values() for n in set(r.got) if r.got.count(n) > 1]


def crowded_out(lab: Lab) -> int:
    """Packets whose way ended at the core's full backlog (netdev_max_backlog). All links of all labs share that, so
    they may be lost to a neighbour's traffic; a veth counts them as dropped."""

    def dropped() -> int:
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        return sum(int(line.split(":")[1].split()[11]) for line in lines)

    return sum(node.call(dropped) for node in lab.nodes.values())


def command_line(pid: int) -> list[str]:
    """Of a process, to start it again."""
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().rstrip("\0").split("\0")
