"""FRR's files, byte for byte, for several topologies, schemes, timer profiles and versions.

After a change that is meant, regenerate them and read the difference:

    UPDATE_GOLDEN=1 pytest tests/golden/test_frr.py && git diff tests/golden/frr

Each case is a folder `frr/<case>/<router>/<file>`; one router of each kind stands for all of its kind.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.plan import frr, timers
from testbed.plan.build import make_plan
from testbed.plan.dryrun import dry_run_problems
from testbed.plan.frr import PimFeatures, RouterConfig, Underlay
from testbed.plan.types import Plan
from testbed.spec.topology import Topology

GOLDEN = Path(__file__).parent / "frr"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
DAEMONS = Path("/usr/lib/frr")


def plan_of(nodes: dict[str, dict[str, Any]], links: list[Any], **fields: Any) -> Plan:
    return make_plan(Topology.model_validate({"name": "t", "nodes": nodes, "links": links, **fields}))


# Two ways from the repository to each site, and a site with servers.
DIAMOND = plan_of(
    {
        "repo": {"kind": "repository"},
        **{f"r{i}": {"kind": "router"} for i in (1, 2, 3, 4)},
        "s1": {"kind": "site", "servers": 1},
        "s2": {"kind": "site"},
    },
    [["repo", "r1"], ["r1", "r2"], ["r1", "r3"], ["r2", "r4"], ["r3", "r4"], ["r4", "s1"], ["r3", "s2"], ["r2", "s2"]],
)
# Costs that differ, a parallel link with a name, a controller, an RP that the topology chose.
CHOSEN = plan_of(
    {
        "hub": {"kind": "repository"},
        "core": {"kind": "router"},
        "cloud": {"kind": "site"},
        "brain": {"kind": "controller", "at": "core"},
    },
    [
        {"a": "hub", "b": "core", "cost": 1},
        {"a": "core", "b": "cloud", "cost": 20},
        {"a": "core", "b": "cloud", "name": "spare", "cost": 65535},
    ],
    rp="cloud",
)


SSM, SM = PimFeatures("ssm"), PimFeatures("sm")
PLAIN, SRV6 = Underlay(), Underlay(srv6=True)


@dataclass(frozen=True)
class Case:
    name: str
    plan: Plan
    routers: tuple[str, ...]
    pim: PimFeatures | None
    profile: str
    version: frr.Version
    underlay: Underlay = PLAIN

    def render(self) -> dict[str, RouterConfig]:
        chosen = timers.profile(self.profile)
        return {
            router: frr.render(
                self.plan,
                router,
                scheme_features=self.pim,
                timers=chosen,
                frr_version=self.version,
                underlay=self.underlay,
            )
            for router in self.routers
        }


OLD, NEW = (8, 4), (10, 3)
CASES = (
    Case("diamond-ssm-fast-8.4", DIAMOND, ("repo", "r1", "s1"), SSM, "fast", OLD),
    Case("diamond-sm-fast-8.4", DIAMOND, ("r2", "s1"), SM, "fast", OLD),
    Case("diamond-sm-fast-10.3", DIAMOND, ("r2", "s1"), SM, "fast", NEW),
    Case("diamond-ssm-rfc-10.3", DIAMOND, ("s1",), SSM, "rfc", NEW),
    Case("chosen-sm-rfc-8.4", CHOSEN, ("hub", "core", "cloud"), SM, "rfc", OLD),
    Case("chosen-ssm-default-10.3", CHOSEN, ("core",), SSM, "default", NEW),
    Case("chosen-none-fast-10.3", CHOSEN, ("core",), None, "fast", NEW),
    Case("diamond-srv6-fast-8.4", DIAMOND, ("r1", "s1"), None, "fast", OLD, SRV6),
    Case("chosen-srv6-rfc-8.4", CHOSEN, ("core",), None, "rfc", OLD, SRV6),
    Case("chosen-srv6-fast-10.3", CHOSEN, ("core", "cloud"), None, "fast", NEW, SRV6),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_files_are_as_agreed(case: Case) -> None:
    folder = GOLDEN / case.name
    now = {f"{router}/{name}": text for router, c in case.render().items() for name, text in c.files.items()}
    if UPDATE:
        for old in folder.rglob("*.conf"):
            old.unlink()
        for name, text in now.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    agreed = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.conf")}
    assert sorted(now) == sorted(agreed)
    for name, text in now.items():
        assert text == agreed[name], f"{case.name}/{name}; UPDATE_GOLDEN=1 writes it anew"


def test_no_folder_is_left_of_a_case_that_is_gone() -> None:
    assert {p.name for p in GOLDEN.iterdir()} == {case.name for case in CASES}


@pytest.fixture(scope="module")
def installed() -> frr.Version:
    zebra = DAEMONS / "zebra"
    if not zebra.exists():
        pytest.skip("FRR is not installed")
    return frr.parse_version(subprocess.run([zebra, "--version"], capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that user frr can look into: pytest's own are closed to all but their owner."""
    with tempfile.TemporaryDirectory(prefix="frr-dry-run-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.lab
@pytest.mark.parametrize("profile", timers.PROFILES)
@pytest.mark.parametrize(
    ("pim", "underlay"),
    [(SSM, PLAIN), (SM, PLAIN), (None, PLAIN), (None, SRV6)],
    ids=["ssm", "sm", "none", "srv6"],
)
def test_the_installed_daemons_take_them(
    installed: frr.Version, profile: str, pim: PimFeatures | None, underlay: Underlay, readable: Path
) -> None:
    """In a network namespace of its own: a dry run executes what it reads, `ip forwarding` too."""
    found: list[str] = []
    for router, config in Case("", DIAMOND, ("repo", "r2", "s1"), pim, profile, installed, underlay).render().items():
        for daemon in config.daemons:
            if daemon == "mgmtd":
                continue
            file = readable / f"{router}-{daemon}.conf"
            file.write_text(config.files[f"{daemon}.conf"])
            command = ["unshare", "--net", DAEMONS / daemon, "-C", "-f", file]
            stderr = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            found += map(str, dry_run_problems(f"{router}/{daemon}.conf", stderr))
    assert not found, "\n".join(found)
