"""One router with a real BIER agent and a real forwarder, in a network whose ospfd and whose neighbours are made up.

A namespace of its own; ports p1, p2, ... lead to neighbours that never answer, `lan` to a host that can speak TCP. The
domain says who is where, and from that alone what the forwarder should have (`Domain.bifts`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from fake_ospfd import ROUTER, FakeOspfd

from testbed.control.bfrs import advertisement
from testbed.control.bier_config import COMMANDS, OPAQUE_TYPE, BierConfig
from testbed.control.commands import ask
from testbed.forwarder.client import Forwarder
from testbed.forwarder.rows import Bift, End, NextHop
from testbed.forwarder.rows import Path as Row
from testbed.forwarder.tables import Tables
from testbed.lab import namespace
from testbed.lab.rtnetlink import NLMSGHDR, RTM_DELROUTE, RTM_NEWROUTE, RTMSG
from testbed.packet.ospf_api import PORT
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaType, RouterLink, RouterLsa, opaque_lsa_id

SOURCE, LAN = "10.128.0.2", "10.128.0.1"
_NLM_F_REQUEST, _NLM_F_REPLACE, _NLM_F_CREATE = 0x1, 0x100, 0x400
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH = 1, 4, 5, 9
_OSPF, _UNIVERSE, _UNICAST, _MAIN = 188, 0, 1, 254
_BATCH = 16384  # octets of requests in one sendmsg: zebra's, too, come many at a time

Masks = dict[tuple[int, int, str], int]  # SI, way, "p1", "p1, tunnel to 10.255.0.9", "local" or "drop" -> F-BM


def loopback(number: int) -> IPv4Address:
    return IPv4Address(f"10.255.{number >> 8}.{number & 0xFF}")


def neighbour(port: int) -> IPv4Address:
    return IPv4Address(f"10.0.{port}.2")


@dataclass
class Domain:
    """Routers 2, 3, ... by number, with their BFR-ids and the ports that lead there; this router is number 1.

    Router 1 + n is the neighbour on port n, if there is such a port; `silent` neighbours are no BFRs. What lies behind
    one no LSA says, so tunnels around it lead to the BFERs themselves.
    """

    ports: int
    bsl: int
    ways: int = 1
    ids: dict[int, int] = field(default_factory=dict)
    routes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)

    def bifts(self) -> Masks:
        """What should be in force: bit by bit, as RFC 8279 sections 6.3 and 6.4 have it."""
        masks: Masks = {}
        for router, bfr_id in self.ids.items():
            if not bfr_id or router in self.silent:
                continue
            for way in range(self.ways):
                ports = sorted(self.routes.get(router, ()))
                where = "drop"
                if router == 1:
                    where = "local"
                elif ports:
                    port = ports[way % len(ports)]
                    where = f"p{port}, tunnel to {loopback(router)}" if port + 1 in self.silent else f"p{port}"
                key = (bfr_id - 1) // self.bsl, way, where
                masks[key] = masks.get(key, 0) + (1 << (bfr_id - 1) % self.bsl)
        return masks


class AgentLab:
    """`domain` is what is told to whoever asks; `announce`, `route` and so on change it and say so."""

    def __init__(self, folder: Path, domain: Domain, forwarder: Path) -> None:
        self.domain, self.folder = domain, folder
        self._binary = forwarder
        self.router = namespace.Worker("router", lambda: namespace.unshare(namespace.CLONE_NEWNET))
        self.host = namespace.Worker("host", lambda: namespace.unshare(namespace.CLONE_NEWNET))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._links()
        self.ospfd = self.router.call(lambda: FakeOspfd(PORT))
        for router, bfr_id in domain.ids.items():
            for lsa in self._lsas(router, bfr_id):
                self.ospfd.lsdb[lsa.key] = lsa
        self._netlink = self.router.call(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        )
        self.indices = self.router.call(
            lambda: {port: socket.if_nametoindex(f"p{port}") for port in range(1, domain.ports + 1)}
        )
        self.install(domain.routes)
        self.forwarder = self.start_forwarder()
        self.agent = self.start_agent()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.ospfd.close()
        self._netlink.close()
        self.router.close()
        self.host.close()

    def start_forwarder(self) -> subprocess.Popen[bytes]:
        return self._start([str(self._binary), "--control", str(self.folder / "mcfwd.sock")], "mcfwd.log")

    def start_agent(self) -> subprocess.Popen[bytes]:
        config = self.folder / "agent.json"
        BierConfig(
            loopback=str(ROUTER),
            transport=tuple(f"p{port}" for port in self.indices),
            lans=("lan",),
            forwarder=str(self.folder / "mcfwd.sock"),
            events=str(self.folder / "events.jsonl"),
            bsl=self.domain.bsl,
            bfr_id=self.domain.ids.get(1, 0),
            max_si=(max(self.domain.ids.values()) - 1) // self.domain.bsl,
            ways=self.domain.ways,
        ).write(config)
        return self._start([sys.executable, "-m", "testbed.control.bier_agent", str(config)], "agent.log")

    # -- what is asked -----------------------------------------------------------------------------------------------

    def masks(self) -> Masks:
        """What the forwarder has, in the words of `Domain.bifts`."""
        with Forwarder(self.folder / "mcfwd.sock") as forwarder:
            tables = forwarder.tables()
        sets = {bift.id: bift.si for bift in tables.all(Bift)}
        found: Masks = {}
        for path in tables.all(Row):
            where = path.to.value if isinstance(path.to, End) else _port(tables, path.to)
            key = sets[path.bift], path.way, where
            assert not found.get(key, 0) & path.fbm.value  # unreachable for one reason only
            found[key] = found.get(key, 0) | path.fbm.value
        return found

    def events(self, kind: str, after: int = 0) -> list[dict[str, Any]]:
        """The agents' events of one kind, from the `after`-th on."""
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["kind"] == kind][after:]

    def state(self) -> dict[str, Any]:
        return self.router.call(lambda: ask((str(ROUTER), COMMANDS), {"op": "state"}, 30.0))

    def flow(self, group: str, bfers: Sequence[int]) -> dict[str, Any]:
        """A flow's BFERs, told by the source's host."""
        command = {"op": "flow", "source": SOURCE, "group": group, "bfers": list(bfers)}
        return self.host.call(lambda: ask((str(ROUTER), COMMANDS), command, 30.0))

    # -- what happens ------------------------------------------------------------------------------------------------

    def announce(self, router: int, bfr_id: int) -> None:
        """A router has another BFR-id; 0: none any more."""
        self.domain.ids[router] = bfr_id
        self.ospfd.install(_newer(self.ospfd, self._lsas(router, bfr_id)[-1]))

    def lose_links(self, router: int, links: int) -> None:
        """A router says that its links behind the first few are gone: what a cut floods, and no BIFT changes by."""
        self.ospfd.install(_newer(self.ospfd, _router_lsa(router, links)))

    def install(self, routes: Mapping[int, Sequence[int]]) -> None:
        """The kernel's routes to routers, as zebra replaces them: many at a time."""
        self.domain.routes.update({router: tuple(ports) for router, ports in routes.items()})
        batch = b""
        for router, ports in routes.items():
            batch += self._request(router, ports)
            if len(batch) > _BATCH:
                self._netlink.send(batch)
                batch = b""
        if batch:
            self._netlink.send(batch)

    def _request(self, router: int, ports: Sequence[int]) -> bytes:
        body = RTMSG.pack(socket.AF_INET, 32, 0, 0, _MAIN, _OSPF, _UNIVERSE, _UNICAST, 0)
        body += _attribute(_RTA_DST, loopback(router).packed)
        hops = [(self.indices[port], _attribute(_RTA_GATEWAY, neighbour(port).packed)) for port in ports]
        if len(hops) == 1:
            body += hops[0][1] + _attribute(_RTA_OIF, struct.pack("=i", hops[0][0]))
        elif hops:
            body += _attribute(_RTA_MULTIPATH, b"".join(struct.pack("=HBBi", 8 + len(g), 0, 0, i) + g for i, g in hops))
        kind = RTM_NEWROUTE if ports else RTM_DELROUTE
        flags = _NLM_F_REQUEST | (_NLM_F_REPLACE | _NLM_F_CREATE if ports else 0)
        return NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, flags, 1, 0) + body

    # -- inside ------------------------------------------------------------------------------------------------------

    def _links(self) -> None:
        ports = range(1, self.domain.ports + 1)
        commands = ["link set lo up", f"addr add {ROUTER}/32 dev lo", "link add lan type veth peer name host"]
        for port in ports:
            commands += [f"link add p{port} type veth peer name q{port}", f"addr add 10.0.{port}.1/24 dev p{port}"]
            commands += [f"link set p{port} up", f"link set q{port} up"]
            commands += [f"neigh add {neighbour(port)} lladdr 02:00:00:00:00:{port:02x} dev p{port} nud permanent"]
        commands += [f"addr add {LAN}/30 dev lan", "link set lan up"]
        thread = self.host.call(threading.get_native_id)
        self.router.call(lambda: _ip([*commands, f"link set host netns {thread}"]))
        self.host.call(
            lambda: _ip([f"addr add {SOURCE}/30 dev host", "link set host up", f"route add default via {LAN}"])
        )

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            start = functools.partial(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            process: subprocess.Popen[bytes] = self.router.call(start)
        self.processes.append(process)
        return process

    def _lsas(self, router: int, bfr_id: int) -> list[Lsa]:
        """What a router floods: its links, and if it is a BFR that. This router's own is the agent's to say."""
        said = [_router_lsa(router, 3, router - 1 if router - 1 in range(1, self.domain.ports + 1) else None)]
        if router != 1 and router not in self.domain.silent:
            body = advertisement(loopback(router), 0, bfr_id)
            said.append(Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(OPAQUE_TYPE, 0), loopback(router), body))
        return said


@contextlib.contextmanager
def agent_lab(folder: Path, domain: Domain, forwarder: Path) -> Iterator[AgentLab]:
    made = AgentLab(folder, domain, forwarder)
    try:
        yield made
    finally:
        made.close()


def restart(lab: AgentLab) -> None:
    """The agent is killed, and a new one comes."""
    lab.agent.send_signal(signal.SIGKILL)
    lab.agent.wait()
    lab.agent = lab.start_agent()


def _router_lsa(router: int, links: int, port: int | None = None) -> Lsa:
    """Three links to somewhere, of which some are left, and the one to this router."""
    own = [IPv4Address(f"10.{64 + place}.{router >> 8}.{router & 0xFF}") for place in range(links)]
    own += [neighbour(port)] if port else []
    body = RouterLsa(tuple(RouterLink(LinkType.POINT_TO_POINT, ROUTER, address, 10) for address in own)).encode()
    return Lsa(LsaType.ROUTER, loopback(router), loopback(router), body)


def _newer(ospfd: FakeOspfd, lsa: Lsa) -> Lsa:
    before = ospfd.lsdb[lsa.key]
    return Lsa(lsa.type, lsa.id, lsa.advertising_router, lsa.body, before.sequence + 1)


def _port(tables: Tables, number: object) -> str:
    hop = next(hop for hop in tables.all(NextHop) if hop.id == number)
    return f"{hop.port}, tunnel to {hop.tunnel}" if hop.tunnel else hop.port


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _ip(commands: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
