"""What a BIER agent is told when it starts: one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

COMMANDS = 7700  # TCP port of an agent's commands, at the router's loopback address
OPAQUE_TYPE = 200  # for private use (RFC 5250 section 7); ospfd keeps 7, where RFC 8444's TLVs belong, for itself
OVERLAY_IN, OVERLAY_OUT = 1, 2  # contexts of flows: at a BFIR, at a BFER


@dataclass(frozen=True, slots=True)
class BierConfig:
    """One router's part in a sub-domain.

    `loopback`: its BFR-prefix and router-id. `transport`, `lans`: interfaces to other routers, and to hosts.
    `first_bift_id`: with MPLS the router's own label base. `signalling`: "push" (flows come by command) or "igmp" (this
    router tells the source's router what its hosts join). `hold`: seconds for which a BFR counts whose advertisement
    went without a farewell, because its agent died and not the router. `events`: the file to report events to; `state`:
    that in which flows outlive the router, "" for none.
    """

    loopback: str
    transport: tuple[str, ...]
    lans: tuple[str, ...]
    forwarder: str
    events: str
    state: str = ""
    sd: int = 0
    bsl: int = 256
    encapsulation: str = "ethernet"
    first_bift_id: int = 1
    max_si: int = 0
    bfr_id: int = 0
    mtu: int = 0
    ways: int = 1
    signalling: str = "push"
    hold: float = 60.0

    @property
    def prefix(self) -> IPv4Address:
        return IPv4Address(self.loopback)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> BierConfig:
        values: dict[str, Any] = json.loads(path.read_text())
        values |= {key: tuple(values[key]) for key in ("transport", "lans")}
        return cls(**values)
