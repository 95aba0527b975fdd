"""What the controller's mind wants done."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    """A program request to an agent."""

    router: IPv4Address
    seq: int
    request: Json


@dataclass(frozen=True, slots=True)
class Resync:
    """Ask an agent for its state again."""

    router: IPv4Address


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command."""

    to: Hashable
    answer: Json


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened, for whoever reads the events file."""

    kind: str
    detail: Json


Action = Send | Resync | Reply | Report
