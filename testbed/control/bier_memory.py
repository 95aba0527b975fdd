"""What a BIER agent remembers beyond its router's life: the flows for which that is a BFIR, as a configuration that was
saved. Nobody tells it of them again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

Key = tuple[IPv4Address | None, IPv4Address]  # source (None: any), group


def write(path: Path, flows: Mapping[Key, frozenset[int]]) -> None:
    """The BFERs of each flow. Atomically: who dies here leaves the former file. Raises OSError."""
    said = [[str(source) if source else None, str(group), sorted(bfers)] for (source, group), bfers in flows.items()]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(said))
    os.replace(new, path)


def read(path: Path) -> dict[Key, frozenset[int]]:
    """Raises OSError where there are none, ValueError where it is something else."""
    try:
        return {
            (IPv4Address(source) if source else None, IPv4Address(group)): frozenset(map(int, bfers))
            for source, group, bfers in json.loads(path.read_text())
        }
    except TypeError as error:
        raise ValueError(f"{path} holds no flows: {error}") from error
