"""The SR-P2MP controller's mind: policies, their candidate paths and instances, and what routers are to be told when.

Pure: events go in, actions come out; no sockets, and no time but what is passed in (CLOCK_MONOTONIC seconds).

    graph, policy, remove                        what is wanted, and of what area
    synced, lost, answered                       what agents say
    tick                                         time goes by (next_tick says when)
    Send, Resync, Reply, Report                  what is to be done about it

A tree is never changed: where it has to be another one, there is a new instance with its own Instance-ID and
Replication-SID. Its routers are programmed first; the root's segment and the switch of the flows go last, and
together; the old instance goes when its packets have had time to arrive. So a packet sees one instance, and that
one whole. Of the instances that are complete, the active one is that which serves the wanted leaves best in the graph
as it is now; then the preference of its candidate path counts. That one rule takes the root to a new tree, to a standby
tree when the active one breaks, and back.

Agents hold all state there is: a controller that starts reads from them what there is, takes over what fits, and
deletes what nobody can be using. Until it knows them, or they have had `grace` seconds, it changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from testbed.control.p2mp.actions import Action, Json, Reply, Report, Resync, Send
from testbed.control.p2mp.agents import Agent
from testbed.control.p2mp.graph import Graph
from testbed.control.p2mp.instances import ORDERS, Instance
from testbed.control.p2mp.numbers import Numbers
from testbed.control.p2mp.plans import Plan, make_plan
from testbed.control.p2mp.request import Request
from testbed.control.p2mp.trees import Constraints, Tree, make_tree
from testbed.control.replication import Held, PolicyId, Segment, SegmentId

COMMAND_PATIENCE = 10.0  # seconds for a root to switch before a command is answered with an error
BACKOFF = (0.1, 30.0)  # seconds until an agent that refused something is asked again: first, and at most


@dataclass(slots=True)
class _Policy:
    """`current`: by preference of the candidate path, the instance with the tree as it should be. `chosen`: what the
    root should have active. `row`: the request that the root's row is made of."""

    request: Request
    row: Request
    instances: dict[int, Instance] = field(default_factory=dict)
    current: dict[int, Instance] = field(default_factory=dict)
    chosen: Instance | None = None
    computed: bool = False
    unreachable: frozenset[IPv4Address] = frozenset()
    removing: bool = False
    waiting: list[tuple[Hashable, float]] = field(default_factory=list)  # commands and their deadlines
    leaving: dict[SegmentId, set[IPv4Address]] = field(default_factory=dict)  # who has still to confirm that it is gone

    @property
    def ready(self) -> bool:
        """Whether the best candidate path that gives a tree has it programmed."""
        best = self.current[max(self.current)] if self.current else None
        return self.computed and (best is None or best.complete or best is self.chosen)


class Policies:
    """All policies of one area."""

    def __init__(
        self,
        *,
        drain: float = 1.0,
        grace: float = 1.0,
        order: str = ORDERS[0],
        clock: Callable[[], tuple[float, float]] = lambda: (time.perf_counter(), time.process_time()),
    ) -> None:
        """`drain`: seconds that an instance stays after the root has left it. `grace`: seconds for which a router whose
        agent is away is waited for; after that trees go around it. `clock`: wall and processor time in seconds, to
        measure computations with."""
        self.graph = Graph({}, {})
        self.agents: dict[IPv4Address, Agent] = {}
        self._drain, self._grace, self._order, self._clock = drain, grace, order, clock
        self._policies: dict[PolicyId, _Policy] = {}
        self._early: list[tuple[Hashable, Request | PolicyId]] = []  # commands that came before agents were known
        self._adopted: set[IPv4Address] = set()
        self._available: frozenset[IPv4Address] = frozenset()
        self._weigh = False  # whether that has to be looked at
        self._started: float | None = None
        self._settled = False
        self._seq = 0
        self._numbers = Numbers()
        self._stale: set[PolicyId] = set()  # trees to be computed
        self._touched: set[PolicyId] = set()  # to be looked at
        self._advancing: set[PolicyId] = set()  # the same, where no instance became complete
        self._dirty: set[IPv4Address] = set()  # agents that are perhaps to be asked for something
        self._reachable: dict[IPv4Address, frozenset[IPv4Address]] = {}
        self._actions: list[Action] = []

    # -- events ------------------------------------------------------------------------------------------------------

    def set_graph(self, t: float, graph: Graph) -> list[Action]:
        self.graph, self._weigh = graph, True
        self._reachable.clear()
        for router in graph.nodes:
            self.agents.setdefault(router, Agent(away_since=t))
        if self._started is None and graph.nodes:
            self._started = t
        self._stale.update(self._policies)
        return self._act(t)

    def policy(self, t: float, command: Hashable, request: Request) -> list[Action]:
        """Want this policy; answered when the root has switched to it."""
        if self._settled:
            self._take(t, command, request)
        else:
            self._early.append((command, request))
        return self._act(t)

    def remove(self, t: float, command: Hashable, policy_id: PolicyId) -> list[Action]:
        """Want it no longer; answered when the root has no flows of it any more."""
        if self._settled:
            self._take(t, command, policy_id)
        else:
            self._early.append((command, policy_id))
        return self._act(t)

    def synced(self, t: float, router: IPv4Address, held: Held) -> list[Action]:
        """An agent is connected, and this is its state."""
        agent = self.agents.setdefault(router, Agent(away_since=t))
        first, self._weigh = not agent.met, True
        agent.learn(t, held)
        for segment in held.segments.values():
            self._numbers.seen(segment)
        self._confirmed(router, {*held.segments, *agent.wanted})
        if self._settled:
            if first:
                self._find(router)
            self._adopt(router)
        self._dirty.add(router)
        self._touched.update(policy_id for policy_id in self._policies if policy_id.root == router)
        return self._act(t)

    def lost(self, t: float, router: IPv4Address) -> list[Action]:
        """The connection to an agent is gone."""
        if agent := self.agents.get(router):
            agent.retry_at, agent.refusals = None, 0
            self._lose(t, router)
        return self._act(t)

    def answered(self, t: float, router: IPv4Address, seq: int, error: str | None = None) -> list[Action]:
        agent = self.agents[router]
        if not agent.synced:  # what it says is older than what it will be asked for
            return []
        if error is not None:
            self._lose(t, router)
            agent.refusals += 1
            agent.retry_at = t + min(BACKOFF[0] * 2 ** (agent.refusals - 1), BACKOFF[1])
            self._report("refused", {"router": str(router), "why": error, "retry_s": agent.retry_at - t})
        elif change := agent.confirm(seq):
            self._weigh = self._weigh or agent.refusals > 0
            agent.refusals = 0
            self._confirmed(router, change.segments)
            self._touched.update(change.policies)
        return self._act(t)

    def tick(self, t: float) -> list[Action]:
        self._weigh = True
        for router, agent in self.agents.items():
            if agent.retry_at is not None and t >= agent.retry_at:
                agent.retry_at = None
                self._actions.append(Resync(router))
        for policy_id, policy in self._policies.items():
            late = [command for command, deadline in policy.waiting if t >= deadline]
            policy.waiting = [(command, deadline) for command, deadline in policy.waiting if t < deadline]
            self._actions += (Reply(command, {"error": self._what_is_missing(policy)}) for command in late)
            if any(each.retire_at is not None for each in policy.instances.values()):
                self._touched.add(policy_id)
        return self._act(t)

    def next_tick(self) -> float | None:
        """When time alone makes something happen."""
        times = [agent.retry_at for agent in self.agents.values() if agent.retry_at is not None]
        times += (
            agent.away_since + self._grace
            for router, agent in self.agents.items()
            if not agent.ready and router in self._available
        )
        for policy in self._policies.values():
            times += (deadline for _, deadline in policy.waiting)
            times += (each.retire_at for each in policy.instances.values() if each.retire_at is not None)
        if not self._settled and self._started is not None:
            times.append(self._started + self._grace)
        return min(times, default=None)

    def state(self) -> Json:
        """What there is, for people and tests."""
        policies = []
        for policy_id, policy in self._policies.items():
            instances = [
                {
                    "instance": each.id.instance,
                    "sid": each.sid,
                    "preference": each.preference,
                    "segments": len(each.plan.parts),
                    "missing": [str(router) for router in sorted(each.missing)],
                    "retiring": each.retire_at is not None,
                }
                for each in policy.instances.values()
            ]
            policies.append(
                policy_id.json()
                | {
                    "active": policy.chosen.id.instance if policy.chosen else None,
                    "leaves": [str(leaf) for leaf in sorted(policy.request.leaves)],
                    "unreachable": [str(leaf) for leaf in sorted(policy.unreachable)],
                    "instances": instances,
                    "ready": policy.ready,
                    "removing": policy.removing,
                }
            )
        away = [str(router) for router in sorted(self.graph.nodes) if not self.agents[router].synced]
        return {"settled": self._settled, "agents": len(self.graph.nodes), "away": away, "policies": policies}

    # -- what follows ------------------------------------------------------------------------------------------------

    def _act(self, t: float) -> list[Action]:
        """Everything that follows from what has happened; returns what is to be done."""
        if not self._settled:
            self._settle(t)
        if self._settled:
            self._weigh_availability(t)
            while self._stale or self._touched or self._advancing:
                self._pass(t)
            self._flush()
        actions, self._actions = self._actions, []
        return actions

    def _pass(self, t: float) -> None:
        """All that is new is looked at once."""
        self._compute()
        for policy_id in self._advancing - self._touched:
            self._advance(self._policies[policy_id])
        touched = self._touched & self._policies.keys()
        self._advancing, self._touched = set(), set()
        for policy_id in touched:
            policy = self._policies[policy_id]
            self._advance(policy)
            self._choose(policy)
            self._answer(t, policy)
            self._retire(t, policy)

    def _settle(self, t: float) -> None:
        """Enough agents are known to begin."""
        if self._started is None:
            return
        if t < self._started + self._grace and not all(self.agents[router].synced for router in self.graph.nodes):
            return
        self._settled = self._weigh = True
        for router, agent in self.agents.items():
            self._dirty.add(router)
            if agent.met:
                self._adopt(router)
        for command, what in self._early:
            self._take(t, command, what)
        self._early.clear()

    def _take(self, t: float, command: Hashable, what: Request | PolicyId) -> None:
        """A policy that is wanted, or is wanted no longer."""
        if isinstance(what, Request):
            policy = self._policies.setdefault(what.id, _Policy(what, what))
            policy.removing, policy.request, policy.computed = False, what, False
            self._stale.add(what.id)
        else:
            nothing = Request(what, frozenset(), ())
            policy = self._policies.setdefault(what, _Policy(nothing, nothing))
            policy.removing = True
            policy.current.clear()
            self._touched.add(what)
        policy.waiting.append((command, t + COMMAND_PATIENCE))

    def _weigh_availability(self, t: float) -> None:
        """Which routers can be in new trees: those whose agents are there, or have not been away for long."""
        if not self._weigh:
            return
        self._weigh = False
        available = frozenset(
            router
            for router in self.graph.nodes
            if self.agents[router].ready or t < self.agents[router].away_since + self._grace
        )
        if available != self._available:
            self._available = available
            self._stale.update(self._policies)

    def _adopt(self, root: IPv4Address) -> None:
        """Take over what a root's agent says that it is the root of."""
        if root in self._adopted:
            return
        self._adopted.add(root)
        held = self.agents[root].confirmed
        for row in held.policies.values():
            policy = self._policies.get(row.id)
            if policy is None:
                request = Request.of_row(row)
                policy = self._policies[row.id] = _Policy(request, request)
            for segment in list(held.segments.values()):
                if segment.id.policy == row.id:
                    self._adopt_instance(policy, segment, segment.id.instance == row.active)
            self._report("adopted", row.id.json() | {"active": row.active, "instances": sorted(policy.instances)})
            self._stale.add(row.id)
        for router, agent in self.agents.items():  # what is nobody's can be deleted now
            if any(segment_id.root == root for segment_id in agent.confirmed.segments):
                self._dirty.add(router)

    def _adopt_instance(self, policy: _Policy, head: Segment, active: bool) -> None:
        """An instance whose root's segment was found: its plan is what is found of it. The last one's controller may
        have been about to delete it."""
        instance = Instance.adopted(head, active)
        policy.instances[head.id.instance] = instance
        for router, agent in self.agents.items():
            if agent.met and (segment := agent.confirmed.segments.get(head.id)) and instance.find(router, segment):
                self._want(router, instance)

    def _find(self, router: IPv4Address) -> None:
        """A router is met whose segments may belong to instances that were adopted before."""
        for policy_id, policy in self._policies.items():
            for instance in policy.instances.values():
                if instance.is_adopted:
                    segment = self.agents[router].confirmed.segments.get(instance.id)
                    if segment is not None and instance.find(router, segment):
                        self._want(router, instance)
                    self._stale.add(policy_id)

    def _lose(self, t: float, router: IPv4Address) -> None:
        """What an agent was asked to delete is found when it comes back."""
        self.agents[router].lose(t)
        self._weigh = True
        for policy_id, policy in self._policies.items():
            for routers in policy.leaving.values():
                if router in routers:
                    routers.discard(router)
                    self._touched.add(policy_id)

    def _confirmed(self, router: IPv4Address, segment_ids: Iterable[SegmentId]) -> None:
        """Whether this router has its segments of instances is known anew."""
        held = self.agents[router].confirmed.segments
        for segment_id in segment_ids:
            policy = self._policies.get(segment_id.policy)
            if policy is None:
                continue
            instance = policy.instances.get(segment_id.instance)
            touched = router == segment_id.root
            if instance is None:
                still = policy.leaving.get(segment_id, set())
                if segment_id not in held:
                    still.discard(router)
                touched = touched or not still
            elif not touched and router in instance.plan.parts:
                if held.get(segment_id) == instance.segment(router):
                    instance.missing.discard(router)
                else:
                    instance.missing.add(router)
                touched = instance.complete
            (self._touched if touched else self._advancing).add(segment_id.policy)

    # -- trees -------------------------------------------------------------------------------------------------------

    def _compute(self) -> None:
        stale = self._stale & self._policies.keys()
        self._stale = set()
        if not stale:
            return
        wall, cpu = self._clock()
        made = 0
        for policy_id in sorted(stale):
            policy = self._policies[policy_id]
            if not policy.removing:
                made += self._renew(policy)
            self._touched.add(policy_id)
        wall, cpu = self._clock()[0] - wall, self._clock()[1] - cpu
        self._report("computed", {"policies": len(stale), "instances": made, "wall_s": wall, "cpu_s": cpu})

    def _renew(self, policy: _Policy) -> int:
        """Have an instance for every candidate path's tree; how many new ones that took."""
        root = policy.request.id.root
        if root not in self._available or not self.agents[root].met:
            return 0
        absent = frozenset(self.graph.routers) - self._available
        plans = self._plans(policy.request, frozenset())
        around: dict[int, tuple[Tree, Plan]] | None = None
        made = 0
        current: dict[int, Instance] = {}
        for path in policy.request.paths:
            tree, plan = plans[path.preference]
            instance = self._with_plan(policy, path.preference, plan, absent)
            if instance is None and not absent.isdisjoint(plan.parts):
                around = around or self._plans(policy.request, absent)
                tree, plan = around[path.preference]
                instance = self._with_plan(policy, path.preference, plan, absent)
            if instance is None and plan.leaves:
                instance = self._make(policy, path.preference, plan)
                made += 1
                self._report(
                    "instance",
                    policy.request.id.json()
                    | {
                        "instance": instance.id.instance,
                        "sid": instance.sid,
                        "preference": path.preference,
                        "algorithm": path.algorithm,
                        "leaves": len(tree.leaves),
                        "links": len(tree.into),
                        "cost": tree.cost,
                        "segments": len(plan.parts),
                        "levels": len(plan.levels) + 1,
                        "shared_links": self._shared(path.disjoint_from, tree, around or plans),
                    },
                )
            if instance is not None:
                current[path.preference] = instance
        wanted = {path.preference for path in policy.request.paths}
        for each in policy.instances.values():
            if each.preference not in wanted:
                each.preference = -1
        for preference in sorted(current):
            current[preference].preference = preference
        policy.current, policy.computed = current, True
        served = frozenset(leaf for each in current.values() for leaf in each.plan.leaves)
        unreachable = policy.request.leaves - served
        if unreachable != policy.unreachable:
            policy.unreachable = unreachable
            leaves = [str(leaf) for leaf in sorted(unreachable)]
            self._report("unreachable", policy.request.id.json() | {"leaves": leaves})
        return made

    def _plans(self, request: Request, around: frozenset[IPv4Address]) -> dict[int, tuple[Tree, Plan]]:
        """Tree and plan by the preference of the candidate path."""
        found: dict[int, tuple[Tree, Plan]] = {}
        for path in request.paths:
            shun = frozenset() if path.disjoint_from is None else found[path.disjoint_from][0].links
            tree = make_tree(
                self.graph, request.id.root, request.leaves, path.algorithm, Constraints(path.exclude, shun, around)
            )
            free = not (path.exclude or shun)
            plan = make_plan(
                self.graph,
                tree,
                request.branches,
                follows_igp=free and not around and path.algorithm == "spt",
                only_way=not free,
            )
            found[path.preference] = tree, plan
        return found

    def _shared(self, disjoint_from: int | None, tree: Tree, plans: dict[int, tuple[Tree, Plan]]) -> int:
        return 0 if disjoint_from is None else len(tree.links & plans[disjoint_from][0].links)

    def _with_plan(
        self, policy: _Policy, preference: int, plan: Plan, absent: frozenset[IPv4Address]
    ) -> Instance | None:
        """An instance that has this plan already, unless it waits for a router that is not there."""
        first = policy.current.get(preference)
        choice = [first, *policy.instances.values()] if first else policy.instances.values()
        unmet = {router for router in plan.parts if router not in self.agents or not self.agents[router].met}
        return next(
            (each for each in choice if each.follows(plan, unmet) and each.missing.isdisjoint(absent - unmet)), None
        )

    def _make(self, policy: _Policy, preference: int, plan: Plan) -> Instance:
        policy_id = policy.request.id
        number = self._numbers.instance(policy_id, lambda: self._used_instances(policy_id))
        instance = Instance.make(SegmentId(*policy_id, number), self._numbers.sid(self._used_sids), plan, preference)
        policy.instances[instance.id.instance] = instance
        return instance

    def _used_instances(self, policy_id: PolicyId) -> set[int]:
        held = (each for agent in self.agents.values() for each in (*agent.confirmed.segments, *agent.wanted))
        used = {segment_id.instance for segment_id in held if segment_id.policy == policy_id}
        return used | self._policies[policy_id].instances.keys()

    def _used_sids(self) -> set[int]:
        used = {each.sid for policy in self._policies.values() for each in policy.instances.values()}
        return used | {sid for agent in self.agents.values() for sid in agent.sids()}

    # -- programming -------------------------------------------------------------------------------------------------

    def _want(self, router: IPv4Address, instance: Instance) -> None:
        agent = self.agents[router]
        segment = agent.wanted[instance.id] = instance.segment(router)
        if agent.confirmed.segments.get(instance.id) == segment:
            instance.missing.discard(router)
        self._dirty.add(router)

    def _advance(self, policy: _Policy) -> None:
        """Ask those whose turn it is."""
        for instance in policy.instances.values():
            while turn := instance.open(self._order):
                for router in turn:
                    self._want(router, instance)

    def _choose(self, policy: _Policy) -> None:
        """Have the best instance active."""
        request = policy.request
        root = self.agents.get(request.id.root)
        if root is None:
            return
        if policy.removing:
            policy.chosen = None
            if root.policies.pop(request.id, None) or request.id in root.expected.policies:
                self._dirty.add(request.id.root)
            return
        active = root.maybe_active(request.id)
        usable = [each for each in policy.instances.values() if each.complete or each.id.instance in active]
        reachable = self._from(request.id.root)
        wanted = request.leaves & reachable
        before = policy.chosen

        def rank(instance: Instance) -> tuple[int, int, bool, int]:
            served = instance.plan.served(self.graph, reachable)
            faults = len(wanted - served) + len(served - request.leaves)
            return faults, -instance.preference, instance not in policy.current.values(), -instance.id.instance

        best = min(usable, key=rank, default=None)
        no_leaf = policy.computed and not policy.current  # that is wanted can be reached
        if best is not None and no_leaf and not (best.complete and best.plan.leaves <= request.leaves):
            best = None  # others need not have it, nor routers whose segments are lost
        policy.chosen = best
        for each in policy.current.values():
            if each.complete and each.id not in root.wanted:
                self._want(request.id.root, each)
        if best is not None and best.id not in root.wanted:
            self._want(request.id.root, best)
        if policy.ready:
            policy.row = request
        if best is not None or policy.ready or request.id in root.expected.policies:
            row = policy.row.row(best.id.instance if best else None)
            if root.policies.get(request.id) != row:
                root.policies[request.id] = row
                self._dirty.add(request.id.root)
        if best is not before and best is not None and before is not None:
            self._report("choice", best.id.json() | {"before": before.id.instance})

    def _retire(self, t: float, policy: _Policy) -> None:
        """Let go what nobody uses any more, after its time."""
        policy_id = policy.request.id
        root = self.agents.get(policy_id.root)
        active = root.maybe_active(policy_id) if root else set()
        for number, instance in list(policy.instances.items()):
            if number in active:
                instance.was_active = True
            if instance in policy.current.values() or instance is policy.chosen or number in active:
                instance.retire_at = None
                continue
            if instance.retire_at is None:
                instance.retire_at = t + (self._drain if instance.was_active else 0.0)
            if t >= instance.retire_at:
                del policy.instances[number]
                agents = {router: self.agents[router] for router in instance.plan.parts}
                asked = {router for router, agent in agents.items() if agent.wanted.pop(instance.id, None)}
                there = {router for router in asked if instance.id in agents[router].expected.segments}
                policy.leaving[instance.id] = {router for router in there if agents[router].synced}
                self._dirty |= there
        for segment_id, routers in list(policy.leaving.items()):
            if not routers:
                del policy.leaving[segment_id]
                self._report("removed", segment_id.json())
        if policy.removing and not (policy.instances or policy.leaving or policy.waiting or active):
            del self._policies[policy_id]

    def _flush(self) -> None:
        """Ask agents for what is different from what should be."""
        dirty, self._dirty = self._dirty, set()
        for router in sorted(dirty):
            agent = self.agents[router]
            if not agent.synced:
                continue
            keep = frozenset(each for each in agent.expected.segments if each.root not in self._adopted)
            if change := agent.difference(keep):
                self._seq += 1
                agent.ask(self._seq, change)
                self._actions.append(Send(router, self._seq, change.request(self._seq)))

    def _answer(self, t: float, policy: _Policy) -> None:
        """Tell those who wait, if the root has it."""
        root = self.agents.get(policy.request.id.root)
        row = root.confirmed.policies.get(policy.request.id) if root else None
        answer: Json = {"ok": True, "t": t}
        if not policy.waiting:
            return
        if policy.removing:
            done = root is None or (root.met and row is None and not root.maybe_active(policy.request.id))
        else:
            active = policy.chosen.id.instance if policy.chosen else None
            done = policy.ready and row == policy.request.row(active)
            answer |= {"active": active, "unreachable": [str(leaf) for leaf in sorted(policy.unreachable)]}
        if done:
            self._actions += (Reply(command, answer) for command, _ in policy.waiting)
            policy.waiting = []

    def _what_is_missing(self, policy: _Policy) -> str:
        root = policy.request.id.root
        if root not in self.graph.number:
            return f"the link state database has no router {root}"
        if root not in self.graph.nodes:
            return f"{root} advertises no Node-SID or locator: no replication agent runs there"
        if not self.agents[root].synced:
            return f"no connection to the replication agent of the root {root}"
        missing = sorted({router for each in policy.current.values() for router in each.missing})
        some = ", ".join(str(router) for router in missing[:5])
        return f"{len(missing)} routers have not confirmed their segments: {some}" if missing else "the root has not"

    def _from(self, root: IPv4Address) -> frozenset[IPv4Address]:
        if root not in self._reachable:
            self._reachable[root] = self.graph.reachable(root)
        return self._reachable[root]

    def _report(self, kind: str, detail: Json) -> None:
        self._actions.append(Report(kind, detail))
