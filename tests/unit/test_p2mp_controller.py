"""The controller as a program, against an ospfd and agents of the test's own, over loopback sockets."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from fake_agents import AgentServers
from fake_ospfd import FakeOspfd
from p2mp_sim import Area

from testbed.control.commands import ask
from testbed.control.p2mp.config import ControllerConfig
from testbed.control.replication import PolicyId, SegmentId

Json = dict[str, Any]
DEADLINE_S = 30.0 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))
TREE, FLOW = 7, {"source": "192.0.2.1", "group": "232.1.1.1"}


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come within {DEADLINE_S} s"
        time.sleep(0.005)
    return value


class Net:
    """An area whose routers are loopback addresses that no other test has, an ospfd that follows it, its agents."""

    def __init__(self, routers: int, extra: int, path: Path) -> None:
        self.base, self.port = _free(routers)
        self.area = Area.random(routers, extra, random.Random(1), base=self.base)
        self.root = self.area.routers[0]
        self.ospfd = FakeOspfd(router=self.root)
        self.servers = AgentServers(self.area, self.port)
        self._path, self._sequence = path, 0
        self._installed: dict[Any, bytes] = {}
        self.controllers: list[Running] = []
        self.follow()

    def follow(self) -> None:
        """ospfd has heard what is up and what is down."""
        self._sequence += 1
        for lsa in self.area.lsas(self._sequence):
            if self._installed.get(lsa.key) != lsa.body:
                self._installed[lsa.key] = lsa.body
                if self.controllers:
                    self.ospfd.install(lsa)
                else:
                    self.ospfd.lsdb[lsa.key] = lsa

    def controller(self, name: str, **values: Any) -> Running:
        config = ControllerConfig(
            name,
            "127.0.0.1",
            str(self._path / f"{name}.jsonl"),
            listen="127.0.0.1",
            port=_free_port(),
            ospf_port=self.ospfd.port,
            agent_port=self.port,
            **{"drain": 0.05, "grace": 0.5} | values,
        )
        running = Running(config, self._path)
        self.controllers.append(running)
        return running

    def arrivals(self, leaves: list[IPv4Address]) -> bool:
        """Whether a packet arrives once at each of these, and nowhere else."""
        row = self.servers.agents.held[self.root].policies.get(PolicyId(self.root, TREE))
        if row is None or row.active is None:
            return not leaves
        found, _ = self.servers.agents.arrivals(SegmentId(self.root, TREE, row.active))
        return dict(found) == dict.fromkeys(leaves, 1)

    def segments(self) -> set[SegmentId]:
        return {each for held in self.servers.agents.held.values() for each in held.segments}

    def close(self) -> None:
        for each in self.controllers:
            each.end(signal.SIGKILL)
        self.servers.close()
        self.ospfd.close()


class Running:
    """One controller process."""

    def __init__(self, config: ControllerConfig, path: Path) -> None:
        self.config = config
        file = path / f"{config.name}.json"
        config.write(file)
        self.process = subprocess.Popen([sys.executable, "-m", "testbed.control.p2mp.controller", str(file)])

    def ask(self, op: str, **values: Any) -> Json:
        """As soon as it listens."""
        def answered() -> Json | None:
            assert self.process.poll() is None, "the controller ended"
            with suppress(ConnectionRefusedError):
                return ask(("127.0.0.1", self.config.port), {"op": op, **values}, timeout=DEADLINE_S)
            return None

        answer: Json = wait_for(answered, "the controller's port")
        return answer

    def policy(self, root: IPv4Address, leaves: list[IPv4Address], **values: Any) -> Json:
        those = [str(leaf) for leaf in leaves]
        return self.ask("policy", root=str(root), tree=TREE, leaves=those, flows=[FLOW], **values)

    def events(self, kind: str) -> list[Json]:
        lines = Path(self.config.events).read_text().splitlines()
        return [each for each in map(json.loads, lines) if each["kind"] == kind]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)


def _free(routers: int) -> tuple[IPv4Address, int]:
    """A base for loopback addresses, and a port that is free at all of them."""
    rng = random.Random(os.getpid() ^ time.monotonic_ns())
    while True:
        base, port = IPv4Address((127 << 24) + (rng.randrange(1, 1 << 14) << 10)), rng.randrange(20000, 32000)
        with suppress(OSError):
            for number in range(1, routers + 1):
                socket.create_server((str(base + number), port)).close()
            return base, port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    net = Net(12, 10, tmp_path)
    yield net
    net.close()


def test_a_policy_from_the_command_to_the_flows(net: Net) -> None:
    controller, leaves = net.controller("one"), net.area.routers[4:]
    answer = controller.policy(net.root, leaves)
    assert answer["ok"]
    assert answer["unreachable"] == []
    assert net.arrivals(leaves)
    wanted = ("lsa-heard", "graph", "computed", "instance", "confirmed", "switched")
    kinds = {kind: controller.events(kind) for kind in wanted}
    assert all(kinds.values()), kinds
    (instance,) = kinds["instance"]
    assert instance["detail"]["leaves"] == len(leaves)
    assert len(kinds["confirmed"]) == instance["detail"]["segments"]
    (switched,) = kinds["switched"]
    times = [switched["detail"][key] for key in ("sent", "received", "applied")]
    assert [*times, switched["t"]] == sorted([*times, switched["t"]])
    assert max(each["detail"]["applied"] for each in kinds["confirmed"][:-1]) <= switched["detail"]["sent"]
    state = controller.ask("state")
    assert state["policies"][0]["ready"]
    assert state["counts"]["agents"]["sent"] == 2 * len(net.area.routers) + instance["detail"]["segments"]
    assert controller.ask("remove", root=str(net.root), tree=TREE)["ok"]
    wait_for(lambda: not net.segments(), "the end of all segments")
    assert controller.end() == 0


def test_bad_commands_say_all_that_is_wrong(net: Net) -> None:
    controller = net.controller("one")
    with pytest.raises(ValueError, match=r"unknown op 'polici': policy, remove, state"):
        controller.ask("polici")
    with pytest.raises(ValueError, match=r"'op' is missing"):
        ask(("127.0.0.1", controller.config.port), {})
    paths = [{"preference": 1, "algorithm": "sp"}, {"preference": 1, "algorithm": "spt", "disjoint_from": 2}]
    with pytest.raises(ValueError, match=r"leaves\[0\].*algorithm.*root itself.*same preference.*no path's preference"):
        controller.policy(net.root, ["x", net.root], candidate_paths=paths)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"tree is missing"):
        controller.ask("remove", root=str(net.root))


def test_a_link_fails_and_comes_back(net: Net) -> None:
    controller, leaves = net.controller("one"), net.area.routers[1:]
    controller.policy(net.root, leaves)
    for place in range(len(net.area.links)):
        net.area.down = {place}
        net.follow()
        reachable = net.area.graph().reachable(net.root)
        wait_for(lambda r=reachable: net.arrivals([leaf for leaf in leaves if leaf in r]), f"repair of link {place}")
    net.area.down = set()
    net.follow()
    wait_for(lambda: net.arrivals(leaves), "all leaves")
    wait_for(lambda: len(net.segments()) == 1, "the end of old instances")
    assert controller.end() == 0


def test_a_standby_takes_over_where_the_active_tree_breaks(net: Net) -> None:
    controller = net.controller("one")
    graph = net.area.graph()
    leaf = next(each for each in net.area.routers[1:] if len(graph.adjacencies[each]) > 2)
    paths = [{"preference": 100, "algorithm": "spt"}, {"preference": 50, "algorithm": "spt", "disjoint_from": 100}]
    controller.policy(net.root, [leaf], candidate_paths=paths)
    assert net.arrivals([leaf])
    (standby,) = [each for each in controller.events("instance") if each["detail"]["preference"] == 50]
    wait_for(lambda: len(net.segments()) == 2, "the standby instance")
    wait_for(
        lambda: all(not each["missing"] for each in controller.ask("state")["policies"][0]["instances"]), "all segments"
    )
    first = net.servers.agents.held[net.root].policies[PolicyId(net.root, TREE)].active
    segment = net.servers.agents.held[net.root].segments[SegmentId(net.root, TREE, first or 0)]
    link = segment.branches[0].link
    net.area.down = {place for place, (one, other) in enumerate(net.area.links) if link in (one.local, other.local)}
    net.follow()
    number = standby["detail"]["instance"]
    wait_for(lambda: [e for e in controller.events("switched") if e["detail"]["active"] == number], "the switch to it")
    wait_for(lambda: net.arrivals([leaf]), "the leaf")


def test_a_controller_that_is_killed_has_a_successor(net: Net) -> None:
    one, leaves = net.controller("one"), net.area.routers[3:]
    one.policy(net.root, leaves)
    held = dict(net.servers.agents.held)
    one.end(signal.SIGKILL)
    assert net.arrivals(leaves), "forwarding goes on"
    two = net.controller("two")
    wait_for(lambda: two.ask("state")["policies"], "the policy")
    assert two.policy(net.root, leaves)["ok"]
    assert net.servers.agents.held == held, "nothing had to be changed"
    assert not two.events("instance")
    net.area.down = {0}
    net.follow()
    reachable = net.area.graph().reachable(net.root)
    wait_for(lambda: net.arrivals([leaf for leaf in leaves if leaf in reachable]), "repair")


def test_the_older_of_two_controllers_gives_way(net: Net) -> None:
    one, leaves = net.controller("one"), net.area.routers[6:]
    one.policy(net.root, leaves)
    one.process.send_signal(signal.SIGSTOP)
    two = net.controller("two")
    # One client at a time is all that the test's ospfd has: the second waits for the first one's end.
    net.ospfd.hang_up()
    wait_for(lambda: two.ask("state")["policies"], "the policy")
    two.policy(net.root, leaves[1:])
    assert net.arrivals(leaves[1:])
    one.process.send_signal(signal.SIGCONT)
    with pytest.raises(ValueError, match=r"superseded by the controller two"):
        one.policy(net.root, leaves[2:])
    assert net.arrivals(leaves[1:]), "the older one changed nothing"
    assert one.ask("state")["superseded"] == "two"


def test_agents_that_are_gone_are_left_out_and_come_back(net: Net) -> None:
    controller, leaves = net.controller("one"), net.area.routers[1:]
    gone = next(each for each in leaves if len(net.area.graph().adjacencies[each]) == 1)
    net.servers.cut(gone)
    answer = controller.policy(net.root, leaves)
    assert answer["unreachable"] == [str(gone)]
    assert net.arrivals([leaf for leaf in leaves if leaf != gone])
    net.servers.listen(gone)
    wait_for(lambda: net.arrivals(leaves), "the leaf that was gone")


def test_an_agent_that_says_nothing_is_asked_anew(net: Net) -> None:
    controller, leaves = net.controller("one", grace=DEADLINE_S), net.area.routers[1:]
    controller.policy(net.root, leaves[1:])
    net.servers.silent.add(leaves[0])
    process = subprocess.Popen([sys.executable, "-c", "pass"])  # time for nothing in particular
    process.wait()
    net.servers.silent.discard(leaves[0])
    assert controller.policy(net.root, leaves)["ok"]
    assert net.arrivals(leaves)


def test_an_ospfd_that_is_restarted_is_followed_again(net: Net) -> None:
    controller, leaves = net.controller("one"), net.area.routers[1:]
    controller.policy(net.root, leaves)
    net.ospfd.hang_up()
    wait_for(lambda: len(controller.events("ospf-connected")) == 2, "the connection")
    net.area.down = {1}
    net.follow()
    reachable = net.area.graph().reachable(net.root)
    wait_for(lambda: net.arrivals([leaf for leaf in leaves if leaf in reachable]), "repair")
