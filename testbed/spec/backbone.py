"""A network of places and cables made into a topology: short names, delays from kilometres, sites attached."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from testbed.errors import Problem, RequestError
from testbed.spec.names import generated_hosts, longest_router_name
from testbed.spec.suggest import did_you_mean
from testbed.spec.topology import MTU, Defaults, Link, LinkDefaults, Node, Repository, Router, Site, Topology
from testbed.spec.types import Rate, Spec

# Seconds a kilometre, one way. Light in fibre goes c / n = 299792 km/s / 1.47 = 2.04e8 m/s, that is 4.9 us/km;
# ITU-T G.114 (05/2003), table A.1, plans with 5 us/km.
FIBRE_DELAY = 5e-6

_REPOSITORY, _SITE = "repo", "gpu"
_MAX_COST = 65535


@dataclass(frozen=True)
class Cable:
    """A link between two places by their index, and its length."""

    a: int
    b: int
    km: float


@dataclass(frozen=True)
class Backbone:
    """A network as its source has it. `labels` are the places' names there ("" where one has none)."""

    name: str
    source: str
    labels: tuple[str, ...]
    cables: tuple[Cable, ...]

    def degrees(self) -> Counter[int]:
        """How many cables end at each place."""
        return Counter(end for cable in self.cables for end in (cable.a, cable.b))


class BackboneOptions(Spec):
    """What is asked for behind the `?` of a reference.

    `attach`: `degree` (sites at the best connected places) or places, by their name there or by their short name;
    `sites`: how many (default 8, or as many as places are named); `repository`: its place (default: the best
    connected); `delay`: from the kilometres, or none; `cost`: kilometres, or 10 a hop.
    """

    sites: Annotated[int, Field(ge=1)] | None = None
    attach: tuple[str, ...] | None = None
    repository: str | None = None
    servers: Annotated[int, Field(ge=0, le=28)] = 0
    rate: Rate = 500 * 10**6
    mtu: MTU = 9000
    delay: Literal["km", "none"] = "km"
    cost: Literal["km", "hops"] = "km"

    @field_validator("attach", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if value == "degree":
            return None
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def build_topology(backbone: Backbone, options: BackboneOptions) -> Topology:
    """A router a place, `repo` and `gpu1`, `gpu2`, ... each on one link to its place. Raises RequestError."""
    chosen = _Places(backbone).choose(options)
    names = _router_names(backbone, chosen)
    nodes: dict[str, Node] = {_REPOSITORY: Repository(kind="repository")}
    nodes |= {name: Router(kind="router") for name in names}
    nodes |= {f"{_SITE}{k}": Site(kind="site", servers=options.servers) for k in range(1, len(chosen.sites) + 1)}
    links = [Link(a=_REPOSITORY, b=names[chosen.repository])]
    links += [_link(cable, names, options) for cable in backbone.cables]
    links += [Link(a=names[place], b=f"{_SITE}{k}") for k, place in enumerate(chosen.sites, 1)]
    return Topology(
        name=_identifier(backbone.name) or "backbone",
        description=f"{backbone.name}: {len(names)} places, {len(backbone.cables)} links",
        source=backbone.source,
        defaults=Defaults(link=LinkDefaults(rate=options.rate, mtu=options.mtu)),
        nodes=nodes,
        links=tuple(links),
        rp=names[chosen.repository],
    )


def _link(cable: Cable, names: Sequence[str], options: BackboneOptions) -> Link:
    delay = round(cable.km * FIBRE_DELAY, 6) if options.delay == "km" else None
    cost = min(max(round(cable.km), 1), _MAX_COST) if options.cost == "km" else None
    return Link(a=names[cable.a], b=names[cable.b], delay=delay, cost=cost)


@dataclass(frozen=True)
class _Choice:
    repository: int
    sites: tuple[int, ...]


class _Places:
    """Finds places by the names that people give them."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.short = short_names(backbone.labels, [longest_router_name(1)] * len(backbone.labels))
        self.index: dict[str, int] = {}
        for names in (backbone.labels, self.short):
            for place, name in enumerate(names):
                if name:
                    self.index.setdefault(name.lower(), place)

    def choose(self, options: BackboneOptions) -> _Choice:
        problems: list[Problem] = []
        degrees = self.backbone.degrees()
        ranked = sorted(range(len(self.short)), key=lambda place: -degrees[place])
        if not ranked:
            raise RequestError([Problem(f"{self.backbone.source} has no nodes")])
        named = [self._find(name, "attach", problems) for name in options.attach or ()]
        at = ranked[0] if options.repository is None else self._find(options.repository, "repository", problems)
        # The repository's own place is the last that gets a site.
        free = [place for place in ranked if place != at] + [at]
        wanted = options.sites if options.sites is not None else min(8, max(len(free) - 1, 1))
        if options.attach is not None and options.sites not in (None, len(named)):
            what = f"sites={options.sites}, but attach names {len(named)}"
            problems.append(Problem(what, hint="leave sites out, or write attach=degree"))
        elif options.attach is None and wanted > len(free):
            what = f"sites={wanted}, but {self.backbone.name} has {len(free)} places"
            problems.append(Problem(what, hint="ask for fewer, or name places in attach, which may repeat"))
        if problems:
            raise RequestError(problems)
        return _Choice(at, tuple(named) if options.attach is not None else tuple(free[:wanted]))

    def _find(self, name: str, option: str, problems: list[Problem]) -> int:
        if (place := self.index.get(name.lower())) is None:
            known = [label for label in self.backbone.labels if label] or self.short
            what = f"{option}={name}: {self.backbone.name} has no such place"
            problems.append(Problem(what, hint=did_you_mean(name, known, "places")))
            return 0
        return place


def _router_names(backbone: Backbone, chosen: _Choice) -> tuple[str, ...]:
    """Short names that leave room for each router's interfaces and clash with no name of ours."""
    nodes: dict[str, Node] = {_REPOSITORY: Repository(kind="repository")}
    nodes |= {f"{_SITE}{k}": Site(kind="site") for k in range(1, len(chosen.sites) + 1)}
    taken = {*nodes, *generated_hosts(Topology(name="taken", nodes=nodes, links=()))}
    interfaces = backbone.degrees() + Counter([chosen.repository, *chosen.sites])
    limits = [longest_router_name(interfaces[place]) for place in range(len(backbone.labels))]
    return short_names(backbone.labels, limits, taken)


def short_names(labels: Sequence[str], limits: Sequence[int], taken: Sequence[str] | set[str] = ()) -> tuple[str, ...]:
    """A unique node name for each label, at most `limits[i]` long. Unnamed: n0, n1, ..."""
    used = {name.lower() for name in taken}
    names = []
    for number, (label, limit) in enumerate(zip(labels, limits, strict=True)):
        base = _identifier(label) or f"n{number}"
        name, count = base[:limit].rstrip("-_"), 1
        while name.lower() in used:
            count += 1
            name = base[: limit - len(str(count))].rstrip("-_") + str(count)
        used.add(name.lower())
        names.append(name)
    return tuple(names)


def _identifier(label: str) -> str:
    """`"São Paulo"` -> `SaoPaulo`, `"at1.at"` -> `at1-at`; "" where nothing remains."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    plain = re.sub(r"[\s']+", "", plain)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")
    return f"n{plain}" if plain[:1].isdigit() else plain
