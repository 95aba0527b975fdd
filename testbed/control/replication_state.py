"""What a replication agent remembers beyond its own life: what it holds, in a small file beside the forwarder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any

from testbed.control.program import Program, Refused
from testbed.control.replication import Held
from testbed.control.sr_nodes import SrNode


@dataclass(frozen=True, slots=True)
class Memory:
    """`nodes`: who is known to take part in segment routing, since loose branches lead there; `controller` and `term`:
    who is in charge, term 0: nobody yet."""

    held: Held = field(default_factory=Held)
    nodes: Mapping[IPv4Address, SrNode] = field(default_factory=dict)
    controller: str = ""
    term: int = 0

    def write(self, path: Path) -> None:
        """Atomically: who dies here leaves the former file. Raises OSError."""
        nodes = {str(router): _node_json(node) for router, node in self.nodes.items()}
        text = json.dumps(self.held.json() | {"nodes": nodes, "controller": self.controller, "term": self.term})
        new = path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, path)

    @classmethod
    def read(cls, path: Path) -> Memory:
        """Raises OSError where there is none, ValueError where it is no memory of an agent's."""
        values: dict[str, Any] = json.loads(path.read_text())
        try:
            program = Program.read({key: values[key] for key in ("segments", "policies")})
            held = Held({each.id: each for each in program.segments}, {each.id: each for each in program.policies})
            nodes = {IPv4Address(router): _node(said) for router, said in values["nodes"].items()}
            return cls(held, nodes, str(values["controller"]), int(values["term"]))
        except (Refused, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no memory of a replication agent: {error!r}") from error


def _node_json(node: SrNode) -> dict[str, Any]:
    return {"index": node.index, "php": node.php, "locator": str(node.locator) if node.locator else None}


def _node(said: dict[str, Any]) -> SrNode:
    return SrNode(said["index"], said["php"], IPv6Network(said["locator"]) if said["locator"] else None)
