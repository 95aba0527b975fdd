"""What a forwarder goes through while packets pass: other tables, other interfaces, other neighbours, its own end.

A host at A, routers A and B with two links between them, a host at B. BIER carries numbered packets from host to host.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from forwarder_lab import Host, Mcfwd, Network, network
from small_lab import wait_for

from testbed.forwarder.tables import Tables, difference

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

GROUP = IPv4Address("232.1.2.3")
CHANGES, BURST = 300, 5  # and packets before each change
AHEAD = 200  # most that are on their way: no queue of the kernel overflows
LINKS = ("one", "two")  # the interfaces' names at A; at B they have the same


@dataclass
class Pair:
    """The network, and what has become of the packets."""

    lab: Network
    sender: Host
    receiver: Host
    first: int = 0  # of those that are counted
    next: int = 0
    heard: Counter[int] = field(default_factory=Counter)

    @property
    def a(self) -> Mcfwd:
        return self.lab.forwarders["A"]

    @property
    def sent(self) -> range:
        return range(self.first, self.next)

    def send(self, count: int) -> None:
        """As many packets more."""
        for _ in range(count):
            self.sender.send(GROUP, f"{self.next}".encode())
            self.next += 1

    def arrived(self) -> int:
        """How many have come."""
        numbers = [int(data) for _, data in self.receiver.hear()]
        self.heard.update(number for number in numbers if number in self.sent)
        return self.heard.total()

    def begin(self) -> None:
        """Count from here on."""
        self.first, self.heard = self.next, Counter()

    def keep_up(self) -> None:
        """Wait while too many are on their way."""
        wait_for(lambda: len(self.sent) - self.arrived() < AHEAD or self.lab.crowded_out(), "packets at B's host")

    def flows(self) -> None:
        """Until a packet comes that is sent from now on."""
        now = self.next

        def comes() -> bool:
            self.send(1)
            self.arrived()
            return max(self.heard, default=-1) >= now

        wait_for(comes, "a packet at B's host")

    def all_arrive_once(self) -> None:
        """Each packet since `begin`; but for those that the machine itself has lost on its links."""
        wait_for(lambda: self.arrived() + self.lab.crowded_out() >= len(self.sent), "all packets")
        if lost := self.lab.crowded_out():
            pytest.skip(f"this machine's own backlog was full {lost} times")
        assert self.heard == Counter(self.sent)

    def transmitted(self) -> dict[str, int]:
        """Packets that A has sent on each link."""
        state = self.a.client.state()
        return {name: state.ports[name].tx.packets for name in LINKS}


def rows(link: str, address: str = "via 2001:db8:{}::2") -> list[str]:
    """Of A: packets take this link. Each link has its number, in its addresses, too."""
    return [
        "port to-hA context 1",
        *(f"port {name} transport" for name in LINKS),
        *(f"nexthop {k} port {name} {address.format(k)}" for k, name in enumerate(LINKS, 1)),
        "bift ethernet 1 bsl 64 bfr-id 1",
        f"path ethernet 1 0 0 fbm 2 nexthop {LINKS.index(link) + 1}",
        f"flow 1 * {GROUP} bier ethernet 1 2",
    ]


B_ROWS = [
    *(f"port {name} transport" for name in LINKS),
    "port to-hB",
    "bift ethernet 1 bsl 64 bfr-id 2 context 2",
    "path ethernet 1 0 0 fbm 2 local",
    f"flow 2 * {GROUP} port to-hB",
]


def wire(lab: Network, name: str, generation: int = 0) -> None:
    """A link between A and B; no two generations have a MAC address in common."""
    k = LINKS.index(name) + 1
    at_a, at_b = (f"02:00:00:{generation:02x}:{end:02x}:{k:02x}" for end in (1, 2))
    peer = f"peer name {name} address {at_b} netns {lab.spaces.pid('B')}"
    lab.run("A", f"ip link add {name} address {at_a} type veth {peer}", f"ip link set {name} up")
    lab.run("B", f"ip link set {name} up")


def give_addresses(lab: Network, name: str) -> None:
    k = LINKS.index(name) + 1
    for end, node in enumerate("AB", 1):
        lab.run(
            node,
            f"ip address add 10.0.{k}.{end}/24 dev {name}",
            f"ip address add 2001:db8:{k}::{end}/64 dev {name} nodad",
        )


@pytest.fixture(scope="module")
def built() -> Iterator[Pair]:
    with network("A-hA", "B-hB") as lab:
        lab.run("hA", "ip address add 192.0.2.1 dev to-A")
        for name in LINKS:
            wire(lab, name)
            give_addresses(lab, name)
        lab.start("A", "B")
        with Host(lab, "hA", "to-A", 4) as sender, Host(lab, "hB", "to-B", 4, [GROUP]) as receiver:
            yield Pair(lab, sender, receiver)


@pytest.fixture
def pair(built: Pair) -> Pair:
    built.lab.load({"A": rows("one"), "B": B_ROWS})
    built.flows()
    built.begin()
    return built


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["replace", "update"])
def test_the_next_hop_changes_and_no_packet_is_lost_or_doubled(pair: Pair, how: str) -> None:
    """From one link to the other and back, 300 times: by whole tables, or by the one row that differs."""
    tables = {name: Tables.parse("\n".join(rows(name))) for name in LINKS}
    before = pair.transmitted()
    at, to = LINKS
    for _ in range(CHANGES):
        pair.send(BURST)
        pair.keep_up()
        if how == "replace":
            pair.a.client.replace(tables[to])
        else:
            pair.a.client.update(difference(tables[at], tables[to]))
        at, to = to, at
    pair.all_arrive_once()
    carried = {name: count - before[name] for name, count in pair.transmitted().items()}
    assert sum(carried.values()) >= len(pair.sent)
    assert min(carried.values()) > BURST  # both were in use


def test_rows_come_and_go_beside_those_in_use(pair: Pair) -> None:
    """Each change moves the rows in use to other places; what is counted of them is kept."""
    client = pair.a.client
    for k in range(CHANGES):
        pair.send(BURST)
        pair.keep_up()
        if k % 2:
            client.update(["del bift ethernet 0", "del nexthop 0", "del port absent", f"del flow 1 * 232.0.0.{k % 9}"])
        else:
            client.update(
                [
                    "port absent transport",
                    "nexthop 0 port absent mac 02:00:00:00:00:01",
                    "bift ethernet 0 bsl 256 bfr-id 9",
                    "path ethernet 0 0 0 fbm 1 nexthop 0",
                    f"flow 1 * 232.0.0.{(k + 1) % 9} bier ethernet 0 1",
                ]
            )
    pair.all_arrive_once()
    state = client.state()
    (path,) = next(iter(state.bifts.values())).paths
    (flow,) = state.flows
    counts = (flow.received.packets, flow.actions[0].sent.packets, path.sent.packets)
    assert len(set(counts)) == 1
    assert counts[0] >= len(pair.sent)


# -- interfaces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["via 10.0.{}.2", "via 2001:db8:{}::2"], ids=["IPv4", "IPv6"])
def test_an_interface_made_anew_is_found_and_so_is_the_neighbour(pair: Pair, address: str) -> None:
    """Another index, another MAC address at both ends, addresses later: nobody tells the forwarder."""
    lab, (name, _) = pair.lab, LINKS
    pair.a.load(*rows(name, address))
    pair.flows()
    old = pair.a.client.state()
    generation = 1 + int(old.ports[name].mac.split(":")[3], 16)
    lab.run("A", f"ip link del {name}")
    wait_for(lambda: not pair.a.client.state().ports[name].ifindex, "the end of the interface")
    assert pair.a.client.state().nexthops[1].mac is None
    wire(lab, name, generation)
    wait_for(lambda: pair.a.client.state().ports[name].up, "the interface")
    give_addresses(lab, name)
    pair.flows()
    new = pair.a.client.state()
    assert new.ports[name].ifindex not in (0, old.ports[name].ifindex)
    assert new.ports[name].mac == f"02:00:00:{generation:02x}:01:01"
    assert new.nexthops[1].mac == f"02:00:00:{generation:02x}:02:01"


def test_a_link_goes_down_and_up(pair: Pair) -> None:
    """Meanwhile, packets for it are counted; the other link is there for whoever changes the table."""
    lab, client = pair.lab, pair.a.client
    before = client.state().drops.get("port-down", 0)
    lab.run("A", "ip link set one down")
    wait_for(lambda: not client.state().ports["one"].up, "the news")
    pair.send(3)
    wait_for(lambda: sum(client.state().drops.get(r, 0) for r in ("port-down", "no-neighbour")) >= before + 3, "drops")
    client.replace(Tables.parse("\n".join(rows("two"))))
    pair.flows()
    lab.run("A", "ip link set one up", "ip address add 2001:db8:1::1/64 dev one nodad")
    pair.a.load(*rows("one"))
    pair.flows()


# -- the process -------------------------------------------------------------------------------------------------------


def test_killed_and_started_again_it_goes_on_with_its_file(pair: Pair, tmp_path: Path) -> None:
    """Nothing but the file tells the second one what the first one did; its socket lies in the way."""
    lab, file = pair.lab, tmp_path / "rows"
    tables = pair.a.client.tables()
    file.write_text(tables.text())
    first = pair.a
    pair.send(AHEAD)
    first.kill()
    assert first.socket.exists()
    lab.start("A", arguments=["--tables", str(file)])
    assert pair.a.client.tables() == tables
    pair.a.ready()
    pair.flows()
    assert set(pair.heard.values()) == {1}


def seconds(mcfwd: Mcfwd) -> float:
    """Of the processor, that it has used."""
    fields = Path(f"/proc/{mcfwd.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def works(mcfwd: Mcfwd) -> bool:
    """Whether it runs or wants to, right now."""
    return Path(f"/proc/{mcfwd.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "R"


def test_it_sleeps_when_there_is_nothing_to_do(pair: Pair) -> None:
    """Behind everything that could leave an event unread: a link down, an interface gone, conversations cut off."""
    lab, a = pair.lab, pair.a
    lab.run("A", "ip link set one down")
    wait_for(lambda: not a.client.state().ports["one"].up, "the news")
    lab.run("A", "ip link del two")
    wait_for(lambda: not a.client.state().ports["two"].ifindex, "the news")
    with contextlib.ExitStack() as stack:
        for said in (b"", b"stat", b"replace\nport a\n", b"state\n"):
            one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            one.connect(str(a.socket))
            one.sendall(said)
            one.shutdown(socket.SHUT_WR)
        left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        left.connect(str(a.socket))
        left.sendall(b"replace\nport")
        left.close()
        assert a.answers()
        used, samples = seconds(a), []
        wire(lab, "two", generation=99)  # takes its time, and is news for A
        give_addresses(lab, "two")
        wait_for(lambda: samples.append(works(a)) or len(samples) == 50, "50 looks at it")
        assert a.client.state().ports["two"].mac == "02:00:00:63:01:02"
        assert samples.count(True) < 10
        assert seconds(a) - used < 0.1
    lab.run("A", "ip link set one up", "ip address add 2001:db8:1::1/64 dev one nodad")
