"""What this machine carries, on disk: by machine, and by what was carried.

A file each in STATE (`/var/lib/llmsync-testbed/calibrations`; TESTBED_STATE names another folder than the first two
parts): it is the machine's and not a user's, and only root can run a lab. A machine is its cores, the processor's model
and the kernel; what was carried is the network, the destinations, the probes, the timers and all else of a scenario but
_NOT_TOLD_BY: neither the model's size, nor faults, nor the scenario's name tell one calibration from another.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from testbed.bundle import write_atomically
from testbed.errors import RequestError
from testbed.serial import decode, encode
from testbed.spec.scenario import Scenario

_FORMAT = 1
# What of a scenario does not make its calibration another one.
_NOT_TOLD_BY: Any = {
    "name": True,
    "description": True,
    "schemes": True,
    "timeline": True,
    "repetitions": True,
    "seed": True,
    "topology": {"name", "description", "source"},
    "transport": {"rate", "utilisation", "patience"},
    "probe": {"settle"},
    "syncs": {"__all__": {"name", "model"}},
}


@dataclass(frozen=True, slots=True)
class Carried:
    """What one scheme carried. `rate`: all copies together, in bit/s; None: none was carried. `limit`: what gave out
    above it ("": nothing did, the links themselves are no faster). `date`: ISO 8601, UTC."""

    rate: int | None
    limit: str
    trials: int
    date: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What this machine carries of a network, by scheme as it is written in a scenario."""

    machine: dict[str, Any]
    carried: dict[str, Carried] = field(default_factory=dict)
    format: int = _FORMAT

    @property
    def rate(self) -> int | None:
        """What it carries under each of them, in bit/s."""
        rates = [c.rate for c in self.carried.values()]
        return None if None in rates else min((r for r in rates if r is not None), default=None)


def machine() -> dict[str, Any]:
    """What this machine is known by."""
    return {"cores": os.cpu_count(), "processor": _processor(), "kernel": platform.release()}


def file_of(scenario: Scenario, *, impaired: bool) -> Path:
    """Where the calibration of a scenario on this machine is kept."""
    root = Path(os.environ.get("TESTBED_STATE") or "/var/lib/llmsync-testbed")
    asked = scenario.model_dump(mode="json", exclude=_NOT_TOLD_BY)
    key = {"machine": machine(), "impaired": impaired, "scenario": asked}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return root / "calibrations" / f"{scenario.topology.name}-{digest}.json"


def load(path: Path) -> Calibration | None:
    """None where there is none, or none that this version reads."""
    try:
        found = decode(Calibration, json.loads(path.read_text()))
    except (OSError, ValueError):
        return None
    return found if found.format == _FORMAT else None


def save(path: Path, carried: dict[str, Carried]) -> Calibration:
    """Keep what was found, beside what is known of other schemes there. Raises RequestError if it cannot be written."""
    known = load(path)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    dated = {scheme: Carried(c.rate, c.limit, c.trials, date) for scheme, c in carried.items()}
    calibration = Calibration(machine(), {**(known.carried if known else {}), **dated})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(encode(calibration), indent=1) + "\n")
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}; TESTBED_STATE names another folder") from None
    return calibration


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.machine()
