"""Ingress replication (RFC 9524 section 2): the repository's router sends one copy a site, each by unicast.

The root's Replication segment has one loose branch a leaf, and nothing stands in between: over SR-MPLS a copy goes by
the Node-SID of the site's router, over SRv6 by its locator. No controller: a sync's own commands set it up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from testbed.control.commands import Answer
from testbed.control.replication_config import PLANES
from testbed.errors import LabError
from testbed.lab.fib import unicast_tree
from testbed.lab.lab import Lab
from testbed.lab.messages import Reading
from testbed.plan.frr import PimFeatures
from testbed.plan.paths import DirectedLink
from testbed.plan.types import Plan
from testbed.schemes.base import Flow, SchemeEvent, group
from testbed.schemes.options import chosen
from testbed.schemes.replication import ReplicationAgents
from testbed.spec.scenario import OptionValue

_FIRST_SID = 60_000  # tree n has Replication-SID 60000 + n; what a controller allocates begins at 1
_INSTANCE = 1


class IngressReplication:
    """Options: dataplane sr-mpls or srv6."""

    name = "ingress-replication"
    features: PimFeatures | None = None
    multicast = True
    stages: tuple[str, ...] = ("rows",)

    def __init__(self, options: dict[str, OptionValue]) -> None:
        choice = chosen(self.name, options, {"dataplane": PLANES})
        self.agents = ReplicationAgents(str(choice["dataplane"]))
        self.underlay = self.agents.underlay
        self._leaves: dict[int, set[str]] = {}  # by flow: the routers that hold its leaf segment

    def flow(self, number: int) -> Flow:
        return Flow(number, group("232.4.0.0", number), ssm=True, copied=True)

    def start(self, lab: Lab) -> None:
        self.agents.start(lab)

    def wait_ready(self, lab: Lab) -> None:
        self.agents.wait_ready(lab)

    def prepare(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> None:
        """Leaves first, then the root, then away with those that are leaves no more; from the source and through the
        network."""
        edges = {node.site: node.name for node in lab.plan.sites}
        leaves = {edges[lab.plan.nodes[host].site] for host in hosts}
        former, self._leaves[flow.number] = self._leaves.get(flow.number, set()), leaves
        root = lab.plan.repository_edge
        identity: Answer = {"root": router_id(lab.plan, root), "tree": flow.number}
        instance = identity | {"instance": _INSTANCE}
        sid = _FIRST_SID + flow.number

        def program(router: str, **request: list[Answer]) -> None:
            try:
                self.agents.tell(lab[source], lab[router], {"op": "program", **request})
            except ValueError as error:
                raise LabError(f"{router} did not take its part in the flow {flow.group}: {error}") from error

        for leaf in sorted(leaves):
            program(leaf, segments=[instance | {"role": "leaf", "sid": sid}])
        if leaves:
            ids = [router_id(lab.plan, leaf) for leaf in sorted(leaves)]
            branches = [{"node": each, "sid": sid, "mode": "loose"} for each in ids]
            address = lab.plan.nodes[source].interfaces[0].address.ip
            flows = [{"source": str(address), "group": flow.group}]
            policy = identity | {"active": _INSTANCE, "flows": flows, "leaves": ids}
            program(root, segments=[instance | {"role": "head", "sid": sid, "branches": branches}], policies=[policy])
        else:
            program(root, delete=[instance], delete_policies=[identity])
        for leaf in sorted(former - leaves):
            program(leaf, delete=[instance])

    def tree(self, lab: Lab, flow: Flow, source: str, hosts: Sequence[str]) -> Collection[DirectedLink]:
        leaves = [lab.plan.nodes[leaf].loopback for leaf in sorted(self._leaves.get(flow.number, ()))]
        return unicast_tree(lab, [leaf.ip for leaf in leaves if leaf is not None])

    def events(self, lab: Lab) -> Iterable[SchemeEvent]:
        return self.agents.events(lab)

    def state(self, lab: Lab) -> dict[str, dict[str, int]]:
        return self.agents.state(lab)

    def control(self, lab: Lab) -> Reading:
        return self.agents.control(lab)


def router_id(plan: Plan, router: str) -> str:
    """By its name. It is the address of its loopback, too."""
    loopback = plan.nodes[router].loopback
    assert loopback is not None
    return str(loopback.ip)
