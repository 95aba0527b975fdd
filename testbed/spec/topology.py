"""A topology as its author writes it: nodes, links, and what they are like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from testbed.spec.types import Duration, Name, Rate, Ratio, Size, Spec

MTU = Annotated[int, Field(ge=1280, le=9216)]
LossBurst = Annotated[float, Field(ge=0, le=1000)]
Cost = Annotated[int, Field(ge=1, le=65535)]


class LinkDefaults(Spec):
    """What a link is like where it does not say otherwise. `rate` None means unshaped.

    `loss_burst`: packets lost in a row, in the mean (0: each is lost or not on its own). `duplicate`: the share of
    packets that come twice; `reorder`: of those that are not delayed and so overtake others. `seed`: same seed, same
    packets lost, duplicated, reordered; None: as the run's seed and the engine have it.
    """

    rate: Rate | None = None
    delay: Duration = 0.0
    jitter: Duration = 0.0
    loss: Ratio = 0.0
    loss_burst: LossBurst = 0.0
    duplicate: Ratio = 0.0
    reorder: Ratio = 0.0
    seed: int | None = None
    mtu: MTU = 9000
    cost: Cost = 10
    queue: Size | None = None


class Defaults(Spec):
    link: LinkDefaults = LinkDefaults()


class Link(Spec):
    """A point-to-point link between two routers (repositories and sites count by their edge router).

    Written `[a, b]` or as a mapping. None means: the topology's default. `queue` None means: sized by the plan.
    """

    a: Name
    b: Name
    name: str | None = None
    rate: Rate | None = None
    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Ratio | None = None
    loss_burst: LossBurst | None = None
    duplicate: Ratio | None = None
    reorder: Ratio | None = None
    seed: int | None = None
    mtu: MTU | None = None
    cost: Cost | None = None
    queue: Size | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            if len(value) != 2:
                raise ValueError("a link written as a list names its two ends: [a, b]")
            return {"a": value[0], "b": value[1]}
        return value


class Repository(Spec):
    """Where models come from: an edge router (it takes the node's name) and the host that sends."""

    kind: Literal["repository"]


class Router(Spec):
    """A core router. `bier` False: with scheme bier, a router of plain IP (RFC 8279 section 6.9). Edge routers
    are where BIER packets begin and end, so they support it."""

    kind: Literal["router"]
    bier: bool = True


class Site(Spec):
    """A GPU cloud: an edge router (it takes the node's name), a local storage host, `servers` GPU servers."""

    kind: Literal["site"]
    servers: Annotated[int, Field(ge=0, le=28)] = 0


class Controller(Spec):
    """A host for a controller process, attached to the router `at`."""

    kind: Literal["controller"]
    at: Name


Node = Annotated[Repository | Router | Site | Controller, Field(discriminator="kind")]


class Topology(Spec):
    """Nodes by name, links between them. `rp` names the router that is PIM's rendezvous point; None: the plan picks."""

    name: Name
    description: str = ""
    source: str = ""
    defaults: Defaults = Defaults()
    nodes: dict[Name, Node]
    links: tuple[Link, ...]
    rp: Name | None = None
