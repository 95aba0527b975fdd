"""`manifest.json`: on what a bundle was measured, and with what."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed.lab.capabilities import Capabilities, Version
from testbed.plan.timers import BFD_LINKS, profile
from testbed.plan.types import Plan
from testbed.serial import encode
from testbed.spec.scenario import Scenario

_SYSCTLS = (
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.netdev_max_backlog",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "kernel.sched_rt_runtime_us",
)
_PACKAGES = ("pyroute2", "jinja2", "pydantic", "networkx", "blake3", "topohub")


def make_manifest(scenario: Scenario, plan: Plan, cap: Capabilities, flags: Sequence[str]) -> dict[str, Any]:
    """Versions, machine, settings, seed. `flags`: what changes the meaning of the results (delays left out, say)."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "flags": list(flags),
        "seed": scenario.seed,
        "timers": timers_in_effect(scenario.timers, plan, scenario.detection),
        "versions": {
            "testbed": _package("llmsync-testbed"),
            "commit": _commit(),
            "frr": _version(cap.frr),
            "kernel": cap.kernel,
            "python": _version(cap.python),
            "mininet": _version(cap.mininet),
            "iproute2": _version(cap.iproute2),
            "uftp": _version(cap.uftp),
            "nginx": _version(cap.nginx),
            "curl": _version(cap.curl),
            **{name: _package(name) for name in _PACKAGES},
        },
        "machine": {
            "cores": cap.cores,
            "memory_bytes": cap.memory_total,
            "architecture": platform.machine(),
        },
        "sysctls": {key: _sysctl(key) for key in _SYSCTLS},
        "capabilities": encode(cap),
    }


def timers_in_effect(name: str, plan: Plan, detection: str | None = None) -> dict[str, Any]:
    """The profile as the routers of this plan run it, its values in the units of plan/timers.py. `changed` says in
    words where that differs from the profile, and why; "" where it does not."""
    links = sum(not link.is_lan for link in plan.links.values())
    asked = profile(name, detection)
    given = asked.on(links)
    changed = ""
    if asked.bfd and given.bfd and given.bfd != asked.bfd:
        changed = (
            f"BFD every {given.bfd.interval} ms instead of the profile's {asked.bfd.interval} ms, because this network "
            f"has {links} links between routers: with more than {BFD_LINKS}, all of whose sessions share one "
            "machine's cores, healthy neighbours would be taken for dead"
        )
    return {"profile": asked.name, **{k: v for k, v in asdict(given).items() if k != "name"}, "changed": changed}


def _version(version: Version | None) -> str:
    return ".".join(map(str, version or ()))


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    here = Path(__file__).resolve().parents[2]
    commit = _said("git", "-C", str(here), "rev-parse", "--short=12", "HEAD")
    return f"{commit}+changes" if commit and _said("git", "-C", str(here), "status", "--porcelain", "-uno") else commit


def _said(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _sysctl(key: str) -> str:
    try:
        return Path("/proc/sys", *key.split(".")).read_text().strip()
    except OSError:
        return ""
