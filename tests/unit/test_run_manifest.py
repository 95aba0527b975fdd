"""What a bundle says about the machine and the settings it was made with."""

from __future__ import annotations

import json

import pytest
from test_capabilities import FIT

from testbed.lab.capabilities import Capabilities
from testbed.plan.build import make_plan
from testbed.plan.timers import BFD_LINKS
from testbed.run.manifest import make_manifest, timers_in_effect
from testbed.serial import decode
from testbed.spec.load import load_scenario, load_topology

QUICKSTART = load_scenario("quickstart")
PLAN = make_plan(QUICKSTART.topology)


def test_the_capabilities_come_back_as_they_were_found() -> None:
    manifest = json.loads(json.dumps(make_manifest(QUICKSTART, PLAN, FIT, ["flag"])))
    assert decode(Capabilities, manifest["capabilities"]) == FIT
    assert (manifest["seed"], manifest["flags"]) == (1, ["flag"])
    versions = manifest["versions"]
    assert (versions["frr"], versions["uftp"], versions["iproute2"]) == ("8.4.4", "4.10.2", "6.1.0")
    assert set(manifest["sysctls"]) >= {"net.core.rmem_max"}


def test_a_large_network_runs_slower_bfd_and_says_so_and_why() -> None:
    told = timers_in_effect("fast", PLAN)
    assert told["profile"] == "fast"
    assert told["ospf"]["hello"] == 1
    assert told["bfd"] == {"interval": 300, "multiplier": 3}
    assert "300 ms instead of the profile's 50 ms" in told["changed"]
    links = sum(not link.is_lan for link in PLAN.links.values())
    assert f"{links} links" in told["changed"]
    assert f"more than {BFD_LINKS}" in told["changed"]


@pytest.mark.parametrize(("name", "topology"), [("fast", "ring"), ("default", "gpu-clouds-8"), ("rfc", "gpu-clouds-8")])
def test_timers_that_are_the_profiles_own_need_no_words(name: str, topology: str) -> None:
    told = timers_in_effect(name, make_plan(load_topology(topology)))
    assert told["changed"] == ""
    assert (told["bfd"] is None) == (name == "rfc")
