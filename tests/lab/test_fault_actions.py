"""Every fault action in a real lab, under three schemes: what the kernel and FRR say of it, and that all is well after
it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from scheme_lab import PATIENT_BFD, SchemeLab
from small_lab import wait_for
from streams import Stream

from testbed.lab import vty
from testbed.run.faults.board import Board
from testbed.run.faults.resolve import NoTarget, Scene
from testbed.run.measure import Stream as Sent
from testbed.schemes import SCHEMES, Scheme
from testbed.spec.faults import Fault
from testbed.spec.load import load_topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

EVERYWHERE = {"zebra", "ospfd", "bfdd"}
RUNS = {
    "pim-ssm": EVERYWHERE | {"pimd"},
    "bier": EVERYWHERE | {"agent", "forwarder"},
    "sr-p2mp": EVERYWHERE | {"agent", "forwarder", "controller"},
}


class Built(SchemeLab[Scheme]):
    """The ring of three sites under a scheme, with a stream to all of them, and its faults."""

    def __init__(self, scheme: str) -> None:
        super().__init__(load_topology("ring"), SCHEMES[scheme]({}), PATIENT_BFD)
        self.events: list[tuple[float, str, dict[str, Any]]] = []
        self.sent = Sent("sync", self.scheme.flow(1), self.lab.plan.repository, tuple(self.hosts))
        self.board = Board(Scene(self.lab, self.scheme, [self.sent]), lambda *event: self.events.append(event))

    def up(self) -> None:
        self.scheme.prepare(self.lab, self.sent.flow, self.lab.plan.repository, self.hosts)
        self.stream = Stream(self.lab, self.sent.flow.group, self.hosts)
        self.stream.flows()
        self.all_daemons = set(self.lab.daemons)

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        super().__exit__()

    def inject(self, action: str, target: dict[str, Any], **parameters: Any) -> int:
        fault = Fault(at=0, action=action, target=target, **parameters)
        found, found_by = self.board.find(fault)
        number = self.board.admit(fault, found, found_by)
        rest = self.board.begin(number)
        Thread(target=self.board.go_on, args=(number, rest), daemon=True).start()
        return number

    def run(self, node: str, *argv: str) -> str:
        done = self.lab[node].run(argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def carrier(self, node: str, peer: str) -> bool:
        """Whether the kernel sees a carrier on the interface to a neighbour."""
        name = self.interface(node, peer)
        (link,) = json.loads(self.run(node, "ip", "-j", "link", "show", name))
        return "LOWER_UP" in link["flags"]

    def interface(self, node: str, peer: str) -> str:
        return next(i.name for i in self.lab.plan.nodes[node].interfaces if i.peer_node == peer)

    def address(self, node: str, peer: str) -> str:
        return next(str(i.address.ip) for i in self.lab.plan.nodes[node].interfaces if i.peer_node == peer)

    def ping(self, node: str, address: str) -> bool:
        return self.lab[node].run(["ping", "-n", "-c", "1", "-W", "1", address]).returncode == 0

    def bfd(self, node: str, peer: str) -> str:
        """bfdd's own word for its session with a neighbour."""
        peers = vty.ask_json(self.lab[node].folder / "run/frr/bfdd.vty", "show bfd peers json")
        address = self.address(peer, node)
        return next((str(each["status"]) for each in peers if each["peer"] == address), "none")

    def adjacent(self, node: str, peer: str) -> bool:
        """Whether ospfd has a full adjacency on the interface to a neighbour."""
        said = vty.ask_json(self.lab[node].folder / "run/frr/ospfd.vty", "show ip ospf neighbor json")
        name = self.interface(node, peer)
        entries = [each for many in said["neighbors"].values() for each in many]
        return any(each["ifaceName"].startswith(f"{name}:") and "Full" in each["nbrState"] for each in entries)

    def processes(self, node: str) -> list[str]:
        """What runs in a node's network namespace, but for what holds it."""
        mine = os.readlink(f"/proc/{self.lab.pid_of(node)}/ns/net")
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(each / "ns/net") == mine and int(each.name) != self.lab.pid_of(node):
                    found.append((each / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return [line for line in found if line]

    def whole_again(self) -> None:
        """Nothing is left of any fault: the IGP, the scheme and the flow are as they were."""
        wait_for(lambda: not self.board.in_effect(), "the end of every fault")
        assert set(self.lab.daemons) == self.all_daemons
        self.lab.wait_for_igp()
        self.scheme.wait_ready(self.lab)
        self.stream.flows()
        assert self.lab.dead_daemons() == ()


@pytest.fixture(scope="module", params=["pim-ssm", "bier", "sr-p2mp"])
def built(request: pytest.FixtureRequest) -> Iterator[Built]:
    with Built(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def all_is_well(built: Built) -> Iterator[None]:
    del built.events[:]
    yield
    for each in built.board.in_effect():  # of a test that failed, too
        built.board.undo(each["id"])
    built.whole_again()


def undone(built: Built, number: int) -> None:
    built.board.undo(number)
    (struck, *_, restored) = [event for event in built.events if event[2].get("id") == number]
    assert (struck[1], restored[1]) == ("fault", "fault-restored")
    assert struck[2]["text"].startswith(restored[2]["text"])


def test_a_cut_takes_the_carrier_of_both_ends(built: Built) -> None:
    number = built.inject("cut", {"links": ["r1-r2", "r3-r4"]})
    for a, b in (("r1", "r2"), ("r3", "r4")):
        assert not built.carrier(a, b)
        assert not built.carrier(b, a)
    assert built.carrier("r2", "r3")
    undone(built, number)
    wait_for(lambda: built.carrier("r1", "r2") and built.carrier("r4", "r3"), "the carrier")


def test_a_silent_link_is_noticed_by_bfd_alone(built: Built) -> None:
    wait_for(lambda: built.bfd("r1", "r2") == "up", "a session")
    number = built.inject("silent", {"link": "r1-r2"})
    # The neighbour goes with its session, and ospfd then takes the session away.
    wait_for(lambda: "up" not in (built.bfd("r1", "r2"), built.bfd("r2", "r1")), "BFD's notice")
    assert built.carrier("r1", "r2")
    assert built.carrier("r2", "r1")
    assert not built.ping("r1", built.address("r2", "r1"))
    built.stream.flows()  # round the other way
    undone(built, number)
    wait_for(lambda: built.bfd("r1", "r2") == "up", "a session")
    assert built.ping("r1", built.address("r2", "r1"))


def test_a_one_way_failure_leaves_the_other_way(built: Built) -> None:
    def echoes(node: str) -> int:
        said = built.run(node, "nstat", "-asz", "IcmpInEchos").splitlines()
        return next(int(line.split()[1]) for line in said if "InEchos" in line)

    number = built.inject("one-way", {"link": "r2-r3"}, towards="r3")
    before = echoes("r2"), echoes("r3")
    assert not built.ping("r2", built.address("r3", "r2"))  # it does not arrive
    assert not built.ping("r3", built.address("r2", "r3"))  # its answer does not
    assert (echoes("r2"), echoes("r3")) == (before[0] + 1, before[1])
    assert built.carrier("r2", "r3")
    undone(built, number)
    assert built.ping("r2", built.address("r3", "r2"))


def test_without_a_direction_it_is_the_models(built: Built) -> None:
    number = built.inject("one-way", {"link": "r4-r1"})
    assert not built.ping("r1", built.address("r4", "r1"))
    undone(built, number)
    number = built.inject("one-way", {"link": "r4-r1"}, towards="r1")
    assert not built.ping("r1", built.address("r4", "r1"))
    undone(built, number)


def test_a_flap_goes_and_comes_and_ends_by_itself(built: Built) -> None:
    built.inject("flap", {"link": "r3-r4"}, period=0.3, count=3)
    wait_for(lambda: not built.board.in_effect(), "the end of the flap")
    assert [kind for _, kind, _ in built.events] == ["fault", "fault-restored"] * 3
    wait_for(lambda: built.carrier("r3", "r4"), "the carrier")


def test_a_degraded_rate_is_the_kernels(built: Built) -> None:
    def rate() -> int:
        qdiscs = json.loads(built.run("r1", "tc", "-j", "qdisc", "show", "dev", built.interface("r1", "r2")))
        return next(each["options"]["rate"] for each in qdiscs if each["kind"] == "tbf")

    before = rate()
    number = built.inject("degrade", {"link": "r1-r2"}, rate="8Mbit")
    assert rate() == 1_000_000
    undone(built, number)
    assert rate() == before == 62_500_000


def test_a_partition_cuts_the_border_and_nothing_else(built: Built) -> None:
    number = built.inject("partition", {"nodes": ["r3", "s2"]})
    assert not built.carrier("r2", "r3")
    assert not built.carrier("r4", "r3")
    assert built.carrier("r3", "s2")
    assert built.ping("s2", built.address("r3", "s2"))
    assert not built.ping("r1", str(built.lab.plan.nodes["r3"].loopback.ip))
    undone(built, number)


def test_maintenance_costs_out_then_goes_down_and_comes_back_in_reverse(built: Built) -> None:
    def cost(node: str, peer: str) -> int | None:
        """None while OSPF has not noticed that the interface is up."""
        name = built.interface(node, peer)
        said = vty.ask_json(built.lab[node].folder / "run/frr/ospfd.vty", f"show ip ospf interface {name} json")
        return said["interfaces"][name].get("cost")

    number = built.inject("maintenance", {"link": "r1-r2"}, drain=0.5)
    assert built.carrier("r1", "r2")
    assert cost("r1", "r2") == cost("r2", "r1") == 65535
    wait_for(lambda: not built.carrier("r1", "r2"), "the link's end")
    undone(built, number)
    wait_for(lambda: cost("r1", "r2") == cost("r2", "r1") == 10, "the costs as they were")


def test_a_crashed_router_is_gone_and_comes_back(built: Built) -> None:
    before = sorted(built.processes("r2"))
    number = built.inject("crash", {"node": "r2"})
    assert built.processes("r2") == []
    assert not built.carrier("r1", "r2")
    assert not built.carrier("s1", "r2")
    assert built.lab.dead_daemons() == ()
    wait_for(lambda: not built.adjacent("r1", "r2"), "OSPF's notice")
    undone(built, number)
    assert sorted(built.processes("r2")) == before
    wait_for(lambda: built.adjacent("r1", "r2"), "an adjacency")


def test_a_crashed_edge_router_finds_its_hosts_again(built: Built) -> None:
    number = built.inject("crash", {"node": "s2"})
    mark = built.stream.sent
    undone(built, number)
    receiver = built.stream.receivers["s2-st"]
    wait_for(lambda: any(n > mark for n in list(receiver.got)), "packets at s2-st")


def test_a_crashed_ingress_router_knows_its_flows_again(built: Built) -> None:
    number = built.inject("crash", {"node": "repo"})
    mark = built.stream.sent
    undone(built, number)
    for host, receiver in built.stream.receivers.items():
        wait_for(lambda r=receiver: any(n > mark for n in list(r.got)), f"packets at {host}")


@pytest.mark.parametrize("daemon", ["zebra", "ospfd", "bfdd", "pimd", "agent", "forwarder", "controller"])
def test_a_killed_daemon_comes_back(built: Built, daemon: str) -> None:
    target = {"name": daemon} if daemon == "controller" else {"name": daemon, "node": "r2"}
    if daemon not in RUNS[built.scheme.name]:
        with pytest.raises(NoTarget, match=daemon):
            built.inject("kill", {"daemon": target})
        return
    number = built.inject("kill", {"daemon": target})
    detail = built.events[0][2]
    real, (node,) = detail["daemon"], detail["nodes"]
    program = {"bier-agent": "bier_agent", "replication-agent": "replication_agent",
               "p2mp-controller": "p2mp.controller"}.get(real, f"/{real}")
    assert not any(program in line for line in built.processes(node))
    assert built.lab.dead_daemons() == ()
    undone(built, number)
    wait_for(lambda: any(program in line for line in built.processes(node)), real)


def test_control_messages_are_lost_and_data_are_not(built: Built) -> None:
    number = built.inject("drop", {"link": "r3-r4"}, messages="ospf-hello")
    assert f"testbed_fault_{number}" in built.run("r3", "nft", "list", "tables")
    mark = built.stream.sent
    assert built.ping("r3", built.address("r4", "r3"))
    wait_for(lambda: not built.adjacent("r3", "r4") and not built.adjacent("r4", "r3"), "the dead timer")
    assert built.adjacent("r2", "r3")
    assert built.carrier("r3", "r4")
    if built.scheme.name == "bier":  # nothing of it goes over this link
        built.stream.nothing_missing_since(mark)
    undone(built, number)
    assert built.run("r3", "nft", "list", "tables") == ""


def test_where_the_tree_runs_is_the_schemes_to_say(built: Built) -> None:
    """In the ring all but one site are behind r1-r2, and s3 is behind r4-r1."""
    found, how = built.board.find(Fault(at=0, action="cut", target={"most_sites": "link"}))
    assert (found.target.link, how) == ("r1-r2", f"the state of {built.scheme.name}")
    number = built.inject("cut", {"link": "r1-r2"})
    built.stream.flows()
    wait_for(
        lambda: built.board.find(Fault(at=0, action="cut", target={"most_sites": "link"}))[0].target.link == "r4-r1",
        "the tree's other way",
    )
    found, _ = built.board.find(Fault(at=0, action="crash", target={"most_sites": "router"}))
    assert found.target.node == "r1"  # no core router of the ring can be spared, and r1 carries all
    undone(built, number)


def test_no_two_faults_on_one_target(built: Built) -> None:
    number = built.inject("cut", {"link": "r2-r3"})
    with pytest.raises(NoTarget, match=rf"link r2-r3 is under fault {number} \(cut\)"):
        built.inject("crash", {"node": "r3"})
    other = built.inject("cut", {"link": "r4-r1"})
    undone(built, other)
    undone(built, number)
    with pytest.raises(NoTarget, match="no fault"):
        built.board.undo(number)


def test_a_fault_ends_by_itself(built: Built) -> None:
    built.inject("cut", {"link": "r2-r3"}, duration=0.2)
    wait_for(lambda: built.carrier("r2", "r3"), "the carrier")
    wait_for(lambda: not built.board.in_effect(), "the end")
    assert [kind for _, kind, _ in built.events] == ["fault", "fault-restored"]
