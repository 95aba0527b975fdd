"""Which transport a scheme gets, and what it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import RequestError
from testbed.plan.build import make_plan
from testbed.run.job import Cargo, Job, destinations, ideal_bytes, make_delivery
from testbed.run.transports import carried, transport_for
from testbed.schemes import SCHEMES, make_scheme
from testbed.spec.check_scenario import Known, check_scenario, scenario_findings
from testbed.spec.load import load_scenario
from testbed.spec.scenario import Scenario, SchemeChoice
from testbed.transfer.base import Delivery
from testbed.transfer.manifest import File, Manifest
from testbed.transfer.registry import TRANSPORTS

SMOKE = load_scenario("smoke")
MANIFEST = Manifest(1000, (File("m", 10**6, (b"",) * 1000),))


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(SMOKE.model_dump(mode="json") | changes)


def delivery(scheme: str, asked: Scenario = SMOKE, plan: Any = None) -> Delivery:
    plan = plan or make_plan(asked.topology)
    cargo = Cargo(asked.syncs[0], Path("/model"), MANIFEST)
    job = Job(asked, plan, (cargo,), (8, 4), impaired=True, keep=False)
    choice = SchemeChoice(name=scheme)
    flow = make_scheme(choice).flow(2)
    made = make_delivery(job, cargo, destinations(plan, asked.syncs[0]), flow, transport_for(asked, choice))
    transport_for(asked, choice).check(made)
    return made


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_has_a_transport_that_takes_its_flows(scheme: str) -> None:
    made, chosen = delivery(scheme), transport_for(SMOKE, SchemeChoice(name=scheme))
    assert chosen.name == ("http" if scheme == "unicast" else "uftp")
    assert (made.group is None) == (scheme == "unicast")
    assert made.port == chosen.port + 1
    assert made.copies == (3 if scheme == "unicast" else 1)


def test_unicast_has_no_options() -> None:
    with pytest.raises(RequestError, match=r"scheme unicast has no option 'x'\n.*none at all"):
        make_scheme(SchemeChoice(name="unicast", options={"x": 1}))


def test_what_a_scheme_cannot_carry_is_refused_with_what_it_can() -> None:
    known = Known(SCHEMES.keys(), TRANSPORTS.keys(), carries=carried())
    mixed = ["pim-ssm", "unicast"]
    assert scenario_findings(scenario(schemes=mixed), known) == []
    for name, refused, fits in (("uftp", "unicast", "http"), ("http", "pim-ssm", "uftp")):
        (finding,) = scenario_findings(scenario(schemes=mixed, transport={"name": name, "patience": 15}), known)
        assert finding.what == f"scheme {refused} cannot carry transport {name}"
        assert finding.hint.startswith(f"it carries {fits}; leave the name out")
    assert check_scenario(scenario(), schemes=SCHEMES, transports=TRANSPORTS) == []


def test_the_repository_puts_the_same_on_its_link_whatever_the_scheme() -> None:
    asked = scenario(transport={"rate": "120Mbit", "patience": 15})
    copies = dict.fromkeys(SCHEMES, 1) | {"ingress-replication": 3}  # that the router makes of what its host sends
    assert {delivery(scheme, asked).rate * n for scheme, n in copies.items()} == {120 * 10**6}
    # On links that are all alike, its own is the narrowest for copies, too.
    for scheme, n in copies.items():
        assert delivery(scheme).rate * n == pytest.approx(0.97 * 5e8, abs=5)


def test_copies_fill_a_wide_link_at_the_repository() -> None:
    data = SMOKE.model_dump(mode="json")
    (first, *others) = data["topology"]["links"]
    assert {first["a"], first["b"]} == {"repo", "r1"}
    data["topology"]["links"] = [first | {"rate": 10**9}, *others]
    wide = Scenario.model_validate(data)
    # r1-r2 carries two of the three copies, at 500 Mb/s.
    assert delivery("unicast", wide).rate == round(0.97 * 3 * 250e6)
    assert delivery("pim-ssm", wide).rate == round(0.97 * 5e8)


def test_packets_are_as_many_and_as_long_whatever_the_scheme() -> None:
    assert len({delivery(scheme).block for scheme in SCHEMES}) == 1
    plan = make_plan(SMOKE.topology)
    cargo = Cargo(SMOKE.syncs[0], Path("/model"), MANIFEST)
    job = Job(SMOKE, plan, (cargo,), (8, 4), impaired=True, keep=False)
    assert len({ideal_bytes(job, cargo, transport) for transport in TRANSPORTS.values()}) == 1


def test_links_without_a_rate_have_a_rate_for_each_copy() -> None:
    plan = make_plan(SMOKE.topology)
    links = {name: replace(link, shape=replace(link.shape, rate=None)) for name, link in plan.links.items()}
    bare = replace(plan, links=links)
    assert delivery("pim-ssm", plan=bare).rate == round(0.97 * 10**9)
    assert delivery("unicast", plan=bare).rate == round(0.97 * 3 * 10**9)
