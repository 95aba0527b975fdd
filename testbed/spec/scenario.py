"""A scenario as its author writes it: a topology, schemes, syncs, a timeline of faults, repetitions, a seed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from testbed.spec.faults import Fault, RandomFaults
from testbed.spec.topology import Topology
from testbed.spec.types import Duration, Impairments, Name, Rate, Size, Spec

OptionValue = str | int | float | bool

# By what a router learns that a link has failed; see Scenario.
Detection = Literal["carrier", "bfd-3x50", "bfd-3x300", "dead-timer"]


class SchemeChoice(Spec):
    """A scheme and its options. Written `bier`, `bier:encapsulation=mpls,bsl=256`, or as a mapping."""

    name: Name
    options: dict[str, OptionValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, _, tail = value.partition(":")
        options: dict[str, str] = {}
        for item in filter(None, tail.split(",")):
            key, equals, text = item.partition("=")
            if not equals:
                raise ValueError(f"{item!r} is not option=value; write for example {name}:{item}=yes")
            options[key.strip()] = text.strip()
        return {"name": name, "options": options}

    def __str__(self) -> str:
        tail = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.name}:{tail}" if tail else self.name


class Model(Spec):
    """A synthetic model: total bytes of all shards, the most bytes of one, seed (None: the scenario's).

    A shard of 5 GB is what published models come in. UFTP ends every file with a barrier, where one site that was cut
    off holds up all the others: more shards, more barriers.
    """

    size: Size = 2 * 2**30
    shard: Size = 5 * 10**9
    seed: int | None = None


class Sync(Spec):
    """One model to one set of sites, starting `start` seconds after the probes.

    `draw`: not to all sites of `to`, but to so many of them, drawn with the scenario's seed. `count`: not one sync but
    so many, named `<name>-1` and so on, each with a draw of its own, and starting `every` seconds after the one before.
    Loading resolves these three.

    `setup`: whether what makes its packets reach the sites (flows, trees, joins) stands `beforehand`, or is set up
    `on-demand` when it starts, which its times then include.
    """

    name: Name = "sync"
    model: Model = Model()
    to: Literal["all"] | tuple[Name, ...] = "all"
    draw: Annotated[int, Field(ge=1)] | None = None
    count: Annotated[int, Field(ge=1)] = 1
    every: Duration = 0.0
    deliver_to: Literal["storage", "servers"] = "storage"
    start: Duration = 0.0
    setup: Literal["beforehand", "on-demand"] = "beforehand"


class Transport(Spec):
    """What makes the delivery reliable. `name` None: what each scheme takes, `uftp` to a group, `http` without one.

    `rate` is what the repository puts on its link, all copies together. None: `utilisation` of what the links on the
    way can take, one copy on each, or where there are no groups as many as there are sites behind it.
    `block` is the payload of one packet in bytes; None: the MTU less the room every scheme's encapsulation needs.
    `patience` is how long a site may stay silent before it is given up (it must exceed the longest outage).
    """

    name: Name | None = None
    rate: Rate | None = None
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.97
    block: Annotated[int, Field(ge=512, le=8900)] | None = None
    patience: Duration = 60.0


class Probe(Spec):
    """A numbered datagram every `interval` seconds, sent as the sync's data are: to its group, or to each destination.

    `interval` 0: no probes.
    """

    interval: Duration = 0.001
    size: Annotated[int, Field(ge=32, le=1400)] = 64
    settle: Duration = 1.0


class Background(Spec):
    """Other flows from the repository to every site's storage host, set up beforehand, as other syncs would load the
    control plane: a scheme that keeps state for a flow repairs all of them when a link fails.

    They carry no model. `watched` of the `flows`, evenly spread and the last among them, carry a probe every `interval`
    seconds each, so that their outages can be told; the others carry nothing. Schemes without groups have none of it.
    """

    flows: Annotated[int, Field(ge=1, le=1000)]
    watched: Annotated[int, Field(ge=0, le=32)] = 8
    interval: Annotated[Duration, Field(gt=0)] = 0.01


class Scenario(Spec):
    """`topology` is inline, a ready-made name, a file, or `topohub:GROUP/NAME`; loading resolves it to a Topology.

    `detection` is by what routers learn that a link has failed, and nothing else: `carrier`, lost at both ends, with
    no BFD; `bfd-3x50` and `bfd-3x300`, three missing BFD packets at 50 or 300 ms; `dead-timer`, OSPF's own. With the
    latter three a link that is cut keeps its carrier, as behind a switch or a transport network that does not pass the
    failure on. None: carrier, and what BFD the timers have beside it.

    `capture`: links whose packets each run writes into its folder, `pcap/<link>.pcap`, as far as their headers go. That
    takes time of the host's.
    """

    name: Name
    description: str = ""
    topology: Topology
    schemes: Annotated[tuple[SchemeChoice, ...], Field(min_length=1)]
    timers: Literal["fast", "default", "rfc"] = "fast"
    detection: Detection | None = None
    impairments: Impairments = "auto"
    syncs: Annotated[tuple[Sync, ...], Field(min_length=1)] = (Sync(),)
    transport: Transport = Transport()
    probe: Probe = Probe()
    background: Background | None = None
    timeline: tuple[Fault, ...] = ()
    random_faults: tuple[RandomFaults, ...] = ()
    capture: tuple[Name, ...] = ()
    repetitions: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: int = 1
