"""One direction of a link, as faults name it."""

from __future__ import annotations

from testbed.errors import RequestError
from testbed.plan.graph import distances, graph_of
from testbed.plan.types import Plan
from testbed.spec.types import Name, Spec


class Direction(Spec):
    """`towards`: the end that packets no longer reach as they should."""

    towards: Name | None = None


def sender(plan: Plan, link: str, towards: str | None) -> str:
    """The node that sends towards that end; None: towards the end farther from the repository (of equals the link's
    second), as models go. Raises RequestError."""
    ends = plan.links[link].a.node, plan.links[link].b.node
    if towards is None:
        reach = distances(graph_of(plan.nodes, plan.links.values()), plan.repository)
        return min(ends, key=lambda end: reach.get(end, 0))
    if towards not in ends:
        raise RequestError(f"link {link} does not lead towards {towards}; its ends are {' and '.join(ends)}")
    return ends[0] if towards == ends[1] else ends[1]
