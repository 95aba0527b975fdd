"""Real and synthetic backbones from the PyPI package `topohub`: Internet Topology Zoo, SNDlib and others."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from testbed.errors import Problem, RequestError
from testbed.spec.backbone import Backbone, Cable
from testbed.spec.suggest import did_you_mean


@cache
def backbones() -> tuple[str, ...]:
    """Every `GROUP/NAME` that the installed package has, sorted."""
    with as_file(files("topohub") / "data") as folder:
        return tuple(sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.json")))


def read_topohub(key: str) -> Backbone:
    """The backbone `GROUP/NAME`. Raises RequestError with close matches for a name it does not have."""
    if key not in backbones():
        raise RequestError([Problem(f"topohub has no backbone {key!r}", hint=_hint(key))])
    data: dict[str, Any] = json.loads((files("topohub") / "data" / f"{key}.json").read_text(encoding="utf-8"))
    place = {node["id"]: index for index, node in enumerate(data["nodes"])}
    return Backbone(
        name=key,
        source=f"topohub:{key}",
        labels=tuple(node.get("name") or "" for node in data["nodes"]),
        cables=tuple(Cable(place[e["source"]], place[e["target"]], float(e.get("dist", 0.0))) for e in data["edges"]),
    )


def _hint(key: str) -> str:
    group, slash, _ = key.partition("/")
    groups = sorted({name.split("/")[0] for name in backbones()})
    if not slash:
        same = [name for name in backbones() if name.rpartition("/")[2].lower() == key.lower()]
        if same:
            return f"did you mean {' or '.join(same[:3])}?"
    hint = did_you_mean(key, backbones())
    if hint.startswith("did"):
        return hint
    if group in groups:
        return did_you_mean("", [n for n in backbones() if n.startswith(f"{group}/")], f"in {group}")
    return f"write GROUP/NAME; groups: {', '.join(groups)}"
