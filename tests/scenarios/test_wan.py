"""A real backbone: packets are on their way as long as its kilometres say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from test_smoke import command, leftovers

from testbed.bundle import read_bundle
from testbed.plan.build import make_plan
from testbed.plan.paths import unicast_path
from testbed.run.probe import read_records, record_name
from testbed.spec.catalog import folder
from testbed.spec.load import load_topology

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.mark.parametrize("scheme", ["pim-ssm", "bier"])
def test_probes_take_as_long_as_the_kilometres_say(scheme: str, tmp_path: Path) -> None:
    before = leftovers(set())
    scenario = yaml.safe_load((folder("scenario") / "wan-8.yaml").read_text())
    file, out = tmp_path / "wan.yaml", tmp_path / "bundle"
    file.write_text(yaml.safe_dump(scenario | {"timeline": [], "topology": str(folder("topology") / "wan-8.yaml")}))
    done = command("run", str(file), "--scheme", scheme, "--size", "8MiB", "--out", str(out))
    (run,) = read_bundle(out).runs
    assert run.outcome in ("passed", "invalid"), done.stderr  # a loaded host makes it invalid, and that is right
    assert len(run.sites) == 8
    assert all(site.delivered for site in run.sites)
    plan = make_plan(load_topology("wan-8"))
    for site in run.sites:
        # Those under way at the end were waited for.
        assert all(outage.end_s is not None for outage in site.outages), site
        probes = read_records(out / "runs" / f"{scheme}-1" / "probes" / record_name("model", site.name))
        path = unicast_path(plan, site.name, plan.repository)
        asked = sum(plan.links[hop.link].shape.delay for hop in path) * 1e3
        took = (probes.received_ns - probes.sent_ns).min() / 1e6
        # The quickest of hundreds: what delays the others, on a busy host, is not the network.
        assert asked <= took < asked + 2.0, (site.name, len(path))
    assert not leftovers(before)
