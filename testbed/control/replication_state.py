"""What a replication agent remembers beyond its own life: what it holds, in a small file beside the forwarder.

The file has a line for each time that something changed, and the last one counts. A program is answered when it is in
there. To add a line takes microseconds; to replace a file that is on a disk takes more than a millisecond, which is
longer than everything else that a program asks for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any, TextIO

from testbed.control.program import Program, Refused
from testbed.control.replication import Held
from testbed.control.sr_nodes import SrNode

LONGEST = 1 << 20  # octets of the file


@dataclass(frozen=True, slots=True)
class Memory:
    """`nodes`: who is known to take part in segment routing, since loose branches lead there; `controller` and `term`:
    who is in charge, term 0: nobody yet."""

    held: Held = field(default_factory=Held)
    nodes: Mapping[IPv4Address, SrNode] = field(default_factory=dict)
    controller: str = ""
    term: int = 0

    def line(self) -> str:
        nodes = {str(router): _node_json(node) for router, node in self.nodes.items()}
        values = self.held.json() | {"nodes": nodes, "controller": self.controller, "term": self.term}
        return json.dumps(values) + "\n"

    @classmethod
    def read(cls, path: Path) -> Memory:
        """The last line that was written to its end. Raises OSError where there is no file, ValueError where it is no
        memory of an agent's."""
        *lines, _ = path.read_text().split("\n")
        try:
            values: dict[str, Any] = json.loads(lines[-1])
            program = Program.read({key: values[key] for key in ("segments", "policies")})
            held = Held({each.id: each for each in program.segments}, {each.id: each for each in program.policies})
            nodes = {IPv4Address(router): _node(said) for router, said in values["nodes"].items()}
            return cls(held, nodes, str(values["controller"]), int(values["term"]))
        except (Refused, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no memory of a replication agent: {error!r}") from error


class Journal:
    """Where memories are written. The file begins anew, with the newest, when it has become long: then who dies leaves
    the former file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._octets = 0

    def write(self, memory: Memory) -> None:
        """Raises OSError."""
        line = memory.line()
        self._octets += len(line)
        try:
            if self._file is None or self._octets > LONGEST:
                self._begin(line)
            else:
                self._file.write(line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _begin(self, line: str) -> None:
        self.close()
        new = self._path.with_suffix(".new")
        self._file, self._octets = new.open("w", buffering=1), len(line)  # each line is written at once
        self._file.write(line)
        os.replace(new, self._path)


def _node_json(node: SrNode) -> dict[str, Any]:
    return {"index": node.index, "php": node.php, "locator": str(node.locator) if node.locator else None}


def _node(said: dict[str, Any]) -> SrNode:
    return SrNode(said["index"], said["php"], IPv6Network(said["locator"]) if said["locator"] else None)
