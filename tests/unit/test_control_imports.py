"""Agents start in a moment: every router of a lab starts one, and after a crash packets may be waiting for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pydantic", "jinja2", "networkx", "numpy", "pyroute2", "mininet", "yaml")


@pytest.mark.parametrize("agent", ["bier_agent", "replication_agent"])
def test_nothing_heavy_is_imported(agent: str) -> None:
    code = f"import sys, testbed.control.{agent}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*HEAVY} & {*done.stdout.split()}
