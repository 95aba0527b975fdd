"""The controller's state machine: whatever fails or restarts, packets arrive once, and nothing is left over."""

from __future__ import annotations

import random
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from p2mp_sim import Area, Connection, FakeAgents

from testbed.control.p2mp.actions import Reply, Report, Resync, Send
from testbed.control.p2mp.instances import ORDERS
from testbed.control.p2mp.plans import MODES
from testbed.control.p2mp.policy import Policies
from testbed.control.p2mp.request import CandidatePath, Request
from testbed.control.p2mp.trees import ALGORITHMS
from testbed.control.replication import Held, PolicyId, SegmentId

Json = dict[str, Any]
DRAIN, GRACE = 1.0, 2.0
FLOW = (IPv4Address("192.0.2.1"), IPv4Address("232.1.1.1"))


class World:
    """A controller, agents, connections between them, and time."""

    def __init__(self, area: Area, order: str = ORDERS[0]) -> None:
        self.area, self.order, self.t = area, order, 0.0
        self.agents = FakeAgents(area)
        self.replies: dict[Any, Json] = {}
        self.reports: list[Report] = []
        self.forgetful = False  # an agent lost its state since everything was quiet
        self.commands = 0
        self.start()

    def start(self) -> None:
        """The controller begins, and knows nothing."""
        self.policies = Policies(drain=DRAIN, grace=GRACE, order=self.order)
        self.connections: dict[IPv4Address, Connection] = {}
        self.do(self.policies.set_graph(self.t, self.area.graph()))

    def do(self, actions: Any) -> None:
        for action in actions:
            match action:
                case Send(there, _, request):
                    self.connections[there].requests.append(request)
                case Resync(there):
                    self.connections[there].requests.append({"op": "state"})
                case Reply(to, answer):
                    assert to not in self.replies, "a command is answered once"
                    self.replies[to] = answer
                case Report():
                    self.reports.append(action)

    def connect(self, there: IPv4Address) -> None:
        self.connections[there] = Connection()
        self.connections[there].requests.append({"op": "state"})

    def cut(self, there: IPv4Address) -> None:
        if self.connections.pop(there, None):
            self.do(self.policies.lost(self.t, there))

    def serve(self, there: IPv4Address) -> bool:
        """The agent handles one request."""
        connection = self.connections.get(there)
        if connection is None or not connection.requests:
            return False
        request = connection.requests.popleft()
        if request["op"] == "state":
            connection.answers.append((-1, self.agents.held[there]))  # type: ignore[arg-type]
            return True
        self.agents.program(there, request)
        connection.answers.append((request["seq"], None))
        return True

    def hear(self, there: IPv4Address) -> bool:
        """The controller handles one answer."""
        connection = self.connections.get(there)
        if connection is None or not connection.answers:
            return False
        seq, said = connection.answers.popleft()
        if isinstance(said, Held):
            self.do(self.policies.synced(self.t, there, said))
        else:
            self.do(self.policies.answered(self.t, there, seq, said))
        return True

    def command(self, request: Request) -> int:
        self.commands += 1
        self.do(self.policies.policy(self.t, self.commands, request))
        return self.commands

    def remove(self, policy_id: PolicyId) -> int:
        self.commands += 1
        self.do(self.policies.remove(self.t, self.commands, policy_id))
        return self.commands

    def set_down(self, down: set[int]) -> None:
        self.area.down = down
        self.do(self.policies.set_graph(self.t, self.area.graph()))

    def wait(self, seconds: float) -> None:
        self.t += seconds
        self.do(self.policies.tick(self.t))

    def settle(self) -> None:
        """Everything that can happen by itself happens."""
        for there in self.area.routers:
            if there not in self.connections:
                self.connect(there)
        for _ in range(10_000):
            if sum(self.serve(there) + self.hear(there) for there in self.area.routers):
                continue
            if (next_tick := self.policies.next_tick()) is None:
                break
            self.wait(max(0.0, next_tick - self.t))
        else:
            raise AssertionError("it does not come to rest")
        self.forgetful = False

    # -- what is to be true ------------------------------------------------------------------------------------------

    def check_whole(self, segment_id: SegmentId) -> None:
        """An instance is there from the root to its leaves."""
        found, faults = self.agents.arrivals(segment_id, down=False)
        assert not faults, f"{segment_id} is not whole: {faults}"
        assert found, f"{segment_id} has no leaf"

    def check_now(self) -> None:
        """At any time: no instance brings a packet to a router twice, and what is active is whole."""
        for held in self.agents.held.values():
            for row in held.policies.values():
                if row.active is not None and not self.forgetful:
                    self.check_whole(SegmentId(*row.id, row.active))
            for segment in held.segments.values():
                found, _ = self.agents.arrivals(segment.id, down=False)
                assert all(count == 1 for count in found.values()), f"{segment.id}: {found}"

    def check_rest(self, requests: dict[PolicyId, Request]) -> None:
        """What is wanted is there, and nothing else."""
        graph = self.area.graph()
        known = set()
        for request in requests.values():
            root = request.id.root
            row = self.agents.held[root].policies[request.id]
            wanted = request.leaves & graph.reachable(root)
            if row.active is not None:
                found, _ = self.agents.arrivals(SegmentId(*request.id, row.active))
                assert dict(found) == dict.fromkeys(wanted, 1), request.id
            else:
                assert not wanted
            if wanted:
                assert row == request.row(row.active)
        for policy in self.policies.state()["policies"]:
            policy_id = PolicyId(IPv4Address(policy["root"]), policy["tree"])
            numbers = {each["instance"] for each in policy["instances"]}
            known |= {SegmentId(*policy_id, number) for number in numbers}
            request = requests[policy_id]
            if request.leaves & graph.reachable(policy_id.root):
                assert len(numbers) <= len(request.paths), "one for each candidate path"
        for there, held in self.agents.held.items():
            assert held.segments.keys() <= known, f"{there} has orphans"
            assert held.policies.keys() == {key for key in requests if key.root == there}


class Life:
    """Anything may happen to a controller, its agents and the area, in any order. Each step makes its choices by a seed
    of its own, so that what fails shrinks to few steps."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        area = Area.random(rng.randint(2, 9), rng.randint(0, 8), rng, cost=rng.choice((1, 3, 9)))
        self.world = World(area, rng.choice(ORDERS))
        self.wanted: dict[PolicyId, Request] = {}

    def want(self, rng: random.Random) -> None:
        routers = self.world.area.routers
        policy_id = PolicyId(rng.choice(routers[:3]), rng.randint(1, 2))
        others = [each for each in routers if each != policy_id.root]
        paths = [CandidatePath(100, rng.choice(sorted(ALGORITHMS)))]
        if rng.random() < 0.5:
            paths.append(CandidatePath(50, rng.choice(sorted(ALGORITHMS)), disjoint_from=100))
        if rng.random() < 0.3:
            paths.append(CandidatePath(10, "spt", frozenset(rng.sample(sorted(self._pairs(), key=sorted), 1))))
        leaves = frozenset(rng.sample(others, rng.randint(0 if rng.random() < 0.1 else 1, len(others))))
        flow = FLOW[0], FLOW[1] + 256 * policy_id.tree + routers.index(policy_id.root)
        self.wanted[policy_id] = Request(policy_id, leaves, (flow,), tuple(paths), rng.choice(MODES))
        self.world.command(self.wanted[policy_id])

    def want_no_longer(self, rng: random.Random) -> None:
        if self.wanted:
            policy_id = rng.choice(sorted(self.wanted))
            del self.wanted[policy_id]
            self.world.remove(policy_id)

    def links_change(self, rng: random.Random) -> None:
        places = range(len(self.world.area.links))
        self.world.set_down(set(rng.sample(places, min(len(places), rng.choice((0, 0, 1, 1, 1, 2, 3))))))

    def connect_all(self, rng: random.Random) -> None:
        for here in self.world.area.routers:
            if here not in self.world.connections:
                self.world.connect(here)

    def cut(self, rng: random.Random) -> None:
        self.world.cut(rng.choice(self.world.area.routers))

    def agent_forgets(self, rng: random.Random) -> None:
        here = rng.choice(self.world.area.routers)
        self.world.cut(here)
        self.world.agents.held[here] = Held()
        self.world.forgetful = True

    def messages(self, rng: random.Random) -> None:
        for _ in range(rng.choice((3, 10, 40))):
            here = rng.choice(self.world.area.routers)
            rng.choice((self.world.serve, self.world.hear))(here)
            self.world.check_now()

    def time_passes(self, rng: random.Random) -> None:
        self.world.wait(rng.choice((0.1, DRAIN, GRACE)))

    def controller_restarts(self, rng: random.Random) -> None:
        """What it was told and had not done is lost with it: those who asked ask again, as late as they like."""
        self.world.start()
        for request in self.wanted.values():
            if rng.random() < 0.5:
                self.world.command(request)

    def rest(self, rng: random.Random) -> None:
        """Everything is connected and answered: what is wanted is there, and nothing else."""
        self.world.settle()
        known = {PolicyId(IPv4Address(p["root"]), p["tree"]) for p in self.world.policies.state()["policies"]}
        for policy_id in known - self.wanted.keys():  # what died with a controller is asked for again
            self.world.remove(policy_id)
        for policy_id, request in self.wanted.items():
            command = self.world.command(request)
            self.world.settle()
            assert self.world.replies[command].get("ok"), (policy_id, self.world.replies[command])
        self.world.settle()
        self.world.check_rest(self.wanted)

    def _pairs(self) -> set[frozenset[IPv4Address]]:
        return {frozenset((one.tail, one.head)) for one, _ in self.world.area.links}


OFTEN = {Life.messages: 8, Life.want: 4, Life.links_change: 4, Life.connect_all: 4, Life.time_passes: 3, Life.rest: 2}
STEPS = [each for each in vars(Life).values() if callable(each) and not each.__name__.startswith("_")]
CHOICES = [each for each in STEPS for _ in range(OFTEN.get(each, 1))]


# The only leaf is cut off and forgets its segment, and the controller is another one that does not know it.
LEAF_LOST = [(Life.want, 0)] * 34 + [(Life.want, 3), (Life.rest, 0), (Life.links_change, 0), (Life.agent_forgets, 0)]
LEAF_LOST += [(Life.controller_restarts, 0)]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1 << 20),
    steps=st.lists(st.tuples(st.sampled_from(CHOICES), st.integers(0, 1 << 20)), min_size=40, max_size=100),
)
@example(1, [*LEAF_LOST, (Life.rest, 0)])
def test_whatever_happens(seed: int, steps: list[tuple[Any, int]]) -> None:
    life = Life(seed)
    for step, choices in steps:
        step(life, random.Random(choices))
        life.world.check_now()
    life.rest(random.Random(0))


# 1 - 2 - 4, 1 - 3 - 4: two ways from 1 to 4; 5 hangs at 4.
DIAMOND = [(1, 2, 1, 1), (2, 4, 1, 1), (1, 3, 2, 2), (3, 4, 2, 2), (4, 5, 1, 1)]
STANDBY = (CandidatePath(100), CandidatePath(50, disjoint_from=100))


def diamond(order: str = ORDERS[0]) -> World:
    world = World(Area(5, DIAMOND), order)
    world.settle()
    return world


def request(world: World, *leaves: int, **values: Any) -> Request:
    area = world.area
    return Request(PolicyId(area.router(1), 7), frozenset(map(area.router, leaves)), (FLOW,), **values)


def row(world: World) -> Any:
    return world.agents.held[world.area.router(1)].policies.get(PolicyId(world.area.router(1), 7))


def asked(world: World) -> set[int]:
    """Routers with program requests under way."""
    return {
        number
        for number in range(1, 6)
        if (connection := world.connections.get(world.area.router(number)))
        and any(each["op"] == "program" for each in connection.requests)
    }


def answer(world: World, *numbers: int) -> None:
    for number in numbers:
        assert world.serve(world.area.router(number))
        assert world.hear(world.area.router(number))


def test_bottom_up_and_the_root_last() -> None:
    world = diamond("bottom-up")
    command = world.command(request(world, 4, 5))
    for level in ({5}, {4}, {2}, {1}):
        assert asked(world) == level
        assert row(world) is None
        answer(world, *level)
    assert row(world).active == 1
    assert world.replies[command] == {"ok": True, "t": world.t, "active": 1, "unreachable": []}
    assert asked(world) == set()


def test_in_parallel_and_the_root_last() -> None:
    world = diamond("parallel")
    world.command(request(world, 4, 5))
    assert asked(world) == {2, 4, 5}
    answer(world, 5, 2)
    assert asked(world) == {4}
    answer(world, 4)
    assert asked(world) == {1}


def test_a_change_that_leaves_the_tree_alone_changes_nothing() -> None:
    world = diamond()
    world.command(request(world, 4))
    world.settle()
    held = dict(world.agents.held)
    world.set_down({2})  # 1 - 3
    world.settle()
    assert world.agents.held == held


def test_the_standby_is_one_message_away() -> None:
    world = diamond()
    world.command(request(world, 4, paths=STANDBY))
    world.settle()
    assert row(world).active == 1
    assert {segment_id.instance for segment_id in world.agents.held[world.area.router(3)].segments} == {2}
    world.set_down({0})  # 1 - 2, of the active tree
    assert 1 in asked(world), "the root is told at once"
    answer(world, 1)
    assert row(world).active == 2
    world.settle()
    assert dict(world.agents.arrivals(SegmentId(*row(world).id, row(world).active))[0]) == {world.area.router(4): 1}
    assert row(world).active == 2, "it is the tree that the preferred path would have now"
    world.set_down(set())
    world.settle()
    segment = world.agents.held[world.area.router(1)].segments[SegmentId(*row(world).id, row(world).active)]
    assert segment.branches[0].node == world.area.router(2), "the preferred path is back"


def test_a_standby_with_a_hole_is_none() -> None:
    world = diamond()
    world.command(request(world, 4, paths=STANDBY))
    world.settle()
    there = world.area.router(3)
    world.cut(there)
    world.agents.held[there] = Held()
    world.connect(there)
    answer(world, 3)  # its state: empty
    world.set_down({0})
    assert 1 not in asked(world)
    answer(world, 3)
    assert 1 in asked(world), "it is whole again"


def test_what_the_root_may_have_is_kept() -> None:
    """The switch was sent, and the connection went before it was confirmed."""
    world = diamond()
    world.command(request(world, 4))
    world.settle()
    world.command(request(world, 4, 5))
    answer(world, 5)
    answer(world, 4)
    answer(world, 2)
    root = world.area.router(1)
    assert world.serve(root), "it has switched"
    world.cut(root)
    world.command(request(world, 5))  # neither instance is what is wanted now
    for _ in range(3):
        world.wait(DRAIN)
        for there in world.area.routers:
            while world.serve(there) | world.hear(there):
                pass
    world.check_now()
    assert row(world).active == 2
    world.settle()
    assert row(world).active == 3
    assert {each.instance for held in world.agents.held.values() for each in held.segments} == {3}


def test_the_old_instance_stays_for_a_while() -> None:
    world = diamond()
    world.command(request(world, 4))
    world.settle()
    world.command(request(world, 4, 5))
    while row(world).active == 1:
        for there in world.area.routers:
            while world.serve(there) | world.hear(there):
                pass
    two = world.agents.held[world.area.router(2)]
    assert {each.instance for each in two.segments} == {1, 2}
    world.wait(0.9 * DRAIN)
    assert asked(world) == set()
    world.wait(0.1 * DRAIN)
    assert asked(world) == {1, 2, 4}


def test_a_leaf_whose_agent_is_away_is_waited_for_and_then_left_out() -> None:
    world = diamond()
    there = world.area.router(5)
    world.cut(there)
    command = world.command(request(world, 4, 5))
    answer(world, 2, 4)
    assert asked(world) == set(), "the root waits for all"
    world.wait(GRACE)
    while command not in world.replies:
        answer(world, *asked(world))
    assert world.replies[command]["unreachable"] == [str(there)]
    world.settle()
    assert {str(each) for each in world.agents.arrivals(SegmentId(*row(world).id, row(world).active))[0]} == {
        "10.255.0.4",
        "10.255.0.5",
    }


def test_an_agent_that_is_away_does_not_touch_a_tree_that_works() -> None:
    world = diamond()
    world.command(request(world, 4, 5))
    world.settle()
    held = dict(world.agents.held)
    world.cut(world.area.router(5))
    world.cut(world.area.router(2))
    world.wait(2 * GRACE)
    assert asked(world) == set()
    world.settle()
    assert world.agents.held == held


def test_a_refusal_is_tried_again_and_then_gone_around() -> None:
    world = diamond()
    command = world.command(request(world, 4))
    answer(world, 4)
    two = world.area.router(2)
    tries = 0
    while command not in world.replies:
        connection = world.connections[two]
        if connection.requests and connection.requests[0]["op"] == "program":
            seq, tries = connection.requests.popleft()["seq"], tries + 1
            connection.answers.append((seq, "no"))
            assert world.hear(two)
        elif not sum(world.serve(there) + world.hear(there) for there in world.area.routers):
            world.wait(0.1)
    assert tries > 1
    (branch,) = world.agents.held[world.area.router(1)].segments[SegmentId(*row(world).id, row(world).active)].branches
    assert branch.node == world.area.router(3)
    assert [each.detail["router"] for each in world.reports if each.kind == "refused"] == [str(two)] * tries


def test_a_command_for_a_root_that_is_not_there_is_answered() -> None:
    world = diamond()
    stranger = IPv4Address("192.0.2.9")
    policy_id = PolicyId(stranger, 1)
    command = world.command(Request(policy_id, frozenset({world.area.router(4)}), (FLOW,)))
    world.settle()
    assert world.replies[command] == {"error": "the link state database has no router 192.0.2.9"}
    assert world.replies[world.remove(policy_id)]["ok"]
    assert world.policies.state()["policies"] == []


def test_a_restart_changes_nothing_and_forgets_nothing() -> None:
    world = diamond()
    world.command(request(world, 4, 5, paths=STANDBY, branches="loose"))
    world.settle()
    held = dict(world.agents.held)
    world.start()
    world.settle()
    assert world.agents.held == held
    assert world.policies.state()["policies"][0]["ready"]
    world.set_down({0})
    world.settle()
    found, _ = world.agents.arrivals(SegmentId(*row(world).id, row(world).active))
    assert dict(found) == {world.area.router(4): 1, world.area.router(5): 1}


def test_a_restart_in_the_midst_leaves_no_orphans() -> None:
    world = diamond()
    world.command(request(world, 4, 5))
    answer(world, 5)
    world.start()
    world.settle()
    assert all(held == Held() for held in world.agents.held.values())


def test_numbers_begin_anew_and_spare_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.control.p2mp.numbers.LAST_SID", 3)
    monkeypatch.setattr("testbed.control.p2mp.numbers.LAST_INSTANCE", 3)
    world = diamond()
    kept = Request(PolicyId(world.area.router(3), 1), frozenset({world.area.router(5)}), ())
    world.command(kept)
    for turn in range(8):
        world.command(request(world, *((4, 5) if turn % 2 else (4,))))
        world.settle()
        world.check_rest({kept.id: kept, row(world).id: request(world, *((4, 5) if turn % 2 else (4,)))})
    assert world.agents.held[world.area.router(3)].policies[kept.id].active == 1
