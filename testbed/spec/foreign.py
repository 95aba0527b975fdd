"""References to networks that others describe: `topohub:GROUP/NAME[?options]`, `FILE.graphml[?options]`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from pydantic import ValidationError

from testbed.errors import Problem, RequestError
from testbed.spec.backbone import BackboneOptions, build_topology
from testbed.spec.check_topology import check_topology
from testbed.spec.document import show_path
from testbed.spec.explain import explain
from testbed.spec.graphml import read_graphml
from testbed.spec.topohub import read_topohub
from testbed.spec.topology import Topology

_TOPOHUB = "topohub:"


def is_foreign(ref: str) -> bool:
    """Whether `ref` names a network in someone else's format."""
    return ref.startswith(_TOPOHUB) or ref.partition("?")[0].endswith(".graphml")


def import_topology(ref: str, *, base: Path | None = None) -> Topology:
    """A topology made from a topohub backbone or a GraphML file, checked like any other.

    Options (see `BackboneOptions`), for example `topohub:topozoo/Abilene?sites=8&attach=degree&rate=500Mbit` or
    `...?attach=Chicago,Denver&repository=New York`. Raises RequestError with every problem.
    """
    head, _, query = ref.partition("?")
    problems: list[Problem] = []
    options = _options(query, problems)
    backbone = None
    try:
        if head.startswith(_TOPOHUB):
            backbone = read_topohub(head.removeprefix(_TOPOHUB))
        elif head.endswith(".graphml"):
            backbone = read_graphml((base or Path()) / Path(head).expanduser())
        else:
            hint = "write topohub:GROUP/NAME or FILE.graphml"
            problems.append(Problem(f"{ref!r} is nothing that can be imported", hint=hint))
    except RequestError as error:
        problems += error.problems
    if problems or options is None or backbone is None:
        raise RequestError(problems)
    topology = build_topology(backbone, options)
    topology = topology.model_copy(update={"source": f"{backbone.source}?{query}" if query else backbone.source})
    if problems := [Problem(f"{head}: {p.what}", p.where, p.hint) for p in check_topology(topology)]:
        raise RequestError(problems)
    return topology


def _options(query: str, problems: list[Problem]) -> BackboneOptions | None:
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    options = dict(pairs)
    problems += [Problem(f"option {key} is given twice") for key in options if sum(k == key for k, _ in pairs) > 1]
    try:
        return BackboneOptions.model_validate(options)
    except ValidationError as error:
        for finding in explain(error, BackboneOptions, options):
            problems.append(Problem(finding.what, f"option {show_path(finding.path)}", finding.hint))
        return None
