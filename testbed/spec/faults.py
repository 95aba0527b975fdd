"""Faults as data: what goes wrong, where, when and for how long; and plans of them that are drawn from a seed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Protocol, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from testbed.spec.types import Duration, Name, Spec

Kind = Literal["link", "node", "daemon"]
LinkRole = Literal["core-link", "site-link", "repository-link", "any-link"]
NodeRole = Literal["core-router", "site-router", "repository-router", "rp", "controller"]
LINK_ROLES: tuple[str, ...] = get_args(LinkRole)
NODE_ROLES: tuple[str, ...] = get_args(NodeRole)
Pick = Annotated[int, Field(ge=1)] | Literal["all"]
Value = str | int | float | bool


class DaemonTarget(Spec):
    """A process of a router: one of FRR's by its name (`pimd`, `ospfd`, `zebra`, ...), or `agent`, `forwarder`,
    `controller`, whatever the scheme runs as such. At `node`, or at one of a role, drawn from the seed; the controller
    is wherever it runs."""

    name: Name
    node: Name | None = None
    role: NodeRole | None = None
    pick: Pick | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> DaemonTarget:
        if self.name == "controller" and self.node is None and self.role is None:
            return self
        if (self.node is None) == (self.role is None):
            raise ValueError("a daemon is at exactly one of: node: NAME, role: ROLE")
        if self.pick is not None and self.role is None:
            raise ValueError("pick says how many of a role; there is no role here")
        return self


class Target(Spec):
    """What a fault hits. Exactly one of

    - `link`, `links`: by name (`r1-r2`); several at once are a shared risk link group;
    - `node`, `nodes`: routers by name, or a controller's node;
    - `daemon`: a process of a router;
    - `role`: `pick` of the links or nodes that have it (default 1, or `all`), drawn from the scenario's seed;
    - `busiest_link`: the core link whose ideal tree carries most sites, the same under every scheme;
    - `most_sites`: the link, or the core router, that carries most sites where the tree runs at that very moment.
    """

    link: str | None = None
    links: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    node: Name | None = None
    nodes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    daemon: DaemonTarget | None = None
    role: LinkRole | NodeRole | None = None
    busiest_link: Literal[True] | None = None
    most_sites: Literal["link", "router"] | None = None
    pick: Pick | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Target:
        if sum(value is not None for value in (self.link, self.links, self.node, self.nodes, self.daemon, self.role,
                                               self.busiest_link, self.most_sites)) != 1:
            raise ValueError(
                "a target is exactly one of: link: NAME, links: [NAME, ...], node: NAME, nodes: [NAME, ...], "
                "daemon: {node: NAME, name: NAME}, role: ROLE, busiest_link: true, most_sites: link or router"
            )
        if self.pick is not None and self.role is None:
            raise ValueError("pick says how many of a role; there is no role here")
        return self

    @property
    def kind(self) -> Kind:
        """What kind of thing it is."""
        if self.daemon is not None:
            return "daemon"
        if self.node or self.nodes or self.most_sites == "router" or (self.role and self.role not in LINK_ROLES):
            return "node"
        return "link"

    @property
    def link_names(self) -> tuple[str, ...]:
        """The links that it names."""
        return (self.link,) if self.link is not None else self.links or ()

    @property
    def node_names(self) -> tuple[str, ...]:
        """The nodes that it names, that of a daemon among them."""
        if self.daemon is not None:
            return (self.daemon.node,) if self.daemon.node is not None else ()
        return (self.node,) if self.node is not None else self.nodes or ()

    def __str__(self) -> str:
        if self.daemon is not None:
            where = self.daemon.node or self.daemon.role
            return f"{self.daemon.name} of {where}" if where else self.daemon.name
        if self.role is not None:
            return f"{'every' if self.pick == 'all' else self.pick or 'a'} {self.role}"
        if self.most_sites is not None:
            return f"the {self.most_sites} that carries most sites"
        if self.busiest_link:
            return "the core link that carries the tree to most sites"
        return ", ".join(self.link_names or self.node_names)


class Parametrised(Spec):
    """What names an action. The keys that it does not know itself are the action's own `parameters`."""

    parameters: dict[str, Value] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, value: Any) -> Any:
        return _gather(cls, value)

    @model_serializer(mode="wrap")
    def _flat(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _scatter(write(self))


class Fault(Parametrised):
    """Action on a target, `at` seconds after the first sync started; undone after `duration` (None: never).

    The keys that are not among these are the action's own `parameters` (docs/faults.md); which those are, the action
    knows.
    """

    at: Duration
    action: Name
    target: Target
    duration: Duration | None = None


class Distribution(Spec):
    """A time drawn at random. Exactly one of: `fixed`; `uniform`: between two; `exponential`: of that mean, cut off at
    `most` (default: five times the mean). A time by itself is a fixed one."""

    fixed: Duration | None = None
    uniform: tuple[Duration, Duration] | None = None
    exponential: Duration | None = None
    most: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"fixed": value} if isinstance(value, (str, int, float)) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Distribution:
        if sum(value is not None for value in (self.fixed, self.uniform, self.exponential)) != 1:
            raise ValueError("a distribution is exactly one of: fixed: TIME, uniform: [TIME, TIME], exponential: MEAN")
        if self.uniform is not None and self.uniform[0] > self.uniform[1]:
            raise ValueError("uniform goes from the shorter time to the longer one")
        if self.most is not None and self.exponential is None:
            raise ValueError("most cuts an exponential distribution off; there is none here")
        return self

    @property
    def shortest(self) -> float:
        """What it may be, in seconds, at the least."""
        if self.exponential is not None:
            return 0.001
        return self.uniform[0] if self.uniform is not None else self.fixed or 0.0

    @property
    def longest(self) -> float:
        """What it never exceeds, in seconds."""
        if self.exponential is not None:
            return self.most if self.most is not None else 5 * self.exponential
        return self.uniform[1] if self.uniform is not None else self.fixed or 0.0


class RandomAction(Parametrised):
    """One of the actions that are drawn, with its own parameters, and how often beside the others."""

    action: Name
    target: Target
    weight: Annotated[float, Field(gt=0)] = 1.0


class RandomFaults(Spec):
    """`count` faults drawn from a seed (None: the scenario's): each is one of `actions`, by weight, and lasts a
    `duration`; the first comes a `gap` after `start`, each other one a `gap` after the one before is over.

    Every scheme and every repetition meets the same faults, and the bundle's scenario lists them one by one.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    actions: Annotated[tuple[RandomAction, ...], Field(min_length=1)]
    start: Duration = 0.0
    gap: Distribution = Distribution(exponential=3.0)
    duration: Distribution = Distribution(uniform=(1.0, 4.0))
    seed: int | None = None


class FaultKind(Protocol):
    """What a scenario has to know of an action: its parameters, the kinds of target that it takes, how long it is, and
    what of a node it hits."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> type[Spec]:
        """Its own keys of a fault."""

    @property
    def takes(self) -> Collection[Kind]: ...

    def length(self, parameters: Any, duration: float | None) -> float | None:
        """Seconds from its beginning to its end; None: it has none. Raises ValueError where they do not fit."""

    def parts(self, parameters: Any, daemon: str) -> Collection[str]:
        """What of a node it has to itself, where it hits this daemon of it or all ("") of it: processes, kinds of
        messages. None: the whole node, its links among it."""


def _gather(model: type[Spec], value: Any) -> Any:
    """What is no key of a fault's goes to `parameters`."""
    if not isinstance(value, dict):
        return value
    own = {key: each for key, each in value.items() if key not in model.model_fields}
    if not own:
        return value
    kept = {key: each for key, each in value.items() if key not in own}
    return kept | {"parameters": {**kept.get("parameters", {}), **own}}


def _scatter(data: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = data.pop("parameters", {})
    return data | own
