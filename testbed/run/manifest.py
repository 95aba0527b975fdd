"""`manifest.json`: on what a bundle was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_SYSCTLS = ("net.core.rmem_max", "net.core.wmem_max", "net.core.netdev_max_backlog", "kernel.sched_rt_runtime_us")
_PACKAGES = ("pyroute2", "jinja2", "pydantic", "networkx", "blake3", "topohub")


def make_manifest(flags: Sequence[str], frr_version: tuple[int, int]) -> dict[str, Any]:
    """Versions, kernel, settings. `flags`: what changes the meaning of the results (delays left out, say)."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "flags": list(flags),
        "versions": {
            "testbed": _testbed_version(),
            "commit": _commit(),
            "frr": ".".join(map(str, frr_version)),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "iproute2": _said("ip", "-V").removeprefix("ip utility, "),
            "uftp": _uftp_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "architecture": platform.machine(),
        },
        "sysctls": {key: _sysctl(key) for key in _SYSCTLS},
    }


def _testbed_version() -> str:
    return _version("llmsync-testbed")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    here = Path(__file__).resolve().parents[2]
    commit = _said("git", "-C", str(here), "rev-parse", "--short=12", "HEAD")
    return f"{commit}+changes" if commit and _said("git", "-C", str(here), "status", "--porcelain", "-uno") else commit


def _uftp_version() -> str:
    words = _said("dpkg-query", "-W", "-f", "${Version}", "uftp").split()
    return words[0] if words else ""


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
