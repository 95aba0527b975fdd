"""What a scenario needs of the machine, derived from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_capabilities import FIT, without

from testbed.errors import MachineError
from testbed.lab.capabilities import Capabilities
from testbed.lab.requirements import Needs, requirements
from testbed.plan.build import make_plan
from testbed.plan.frr import Underlay
from testbed.plan.timers import profile
from testbed.run import runner
from testbed.run.needs import lab_needs, scenario_needs
from testbed.run.observer import Observer
from testbed.schemes import make_scheme
from testbed.spec.load import load_scenario
from testbed.spec.scenario import Scenario, SchemeChoice

MIB, GIB = 2**20, 2**30
QUICKSTART = load_scenario("quickstart")


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(QUICKSTART.model_dump(mode="json") | changes)


def needs(asked: Scenario = QUICKSTART, cap: Capabilities = FIT, *, impaired: bool = True, keep: bool = False) -> Needs:
    return scenario_needs(asked, make_plan(asked.topology), cap, impaired=impaired, keep=keep)


def with_link(**values: Any) -> Scenario:
    """The quickstart with one link that is different."""
    data = QUICKSTART.model_dump(mode="json")
    data["topology"]["links"][0] |= values
    return Scenario.model_validate(data)


def test_the_quickstart_fits_the_machine_it_was_measured_on() -> None:
    found = needs()
    assert found.daemons == ("zebra", "bfdd", "ospfd", "pimd")
    assert (found.shaping, found.netem, found.multicast_routing, found.uftp) == (True, False, True, True)
    assert (found.disk, found.bundle) == (2 * GIB, 0)
    assert 1.03 * GIB < found.memory < 1.25 * GIB  # 1.03 GiB were seen with BIER
    assert 0.9 * GIB < needs(scenario(schemes=["pim-ssm", "pim-sm"])).memory < GIB  # and 0.94 GiB with PIM
    assert 15 * MIB < found.shm < 64 * MIB  # 15 MiB were seen; docker gives 64
    small = replace(FIT, memory_available=5 * GIB // 4, shm_free=64 * MIB, disk_free=3 * GIB, bundle_free=0)
    assert requirements(small, found) == []


def test_delay_jitter_and_loss_need_netem_only_where_it_is_insisted_on() -> None:
    for value in ({"delay": 0.01}, {"delay": 0.01, "jitter": 0.001}, {"loss": 0.01}, {"duplicate": 0.01}):
        insisting = with_link(**value).model_copy(update={"impairments": "netem"})
        assert needs(insisting).netem
        assert not needs(insisting, impaired=False).netem
        assert not needs(with_link(**value)).netem
    assert not needs(scenario(impairments="netem")).netem


def test_the_daemons_are_those_that_the_routers_are_configured_for() -> None:
    assert "bfdd" not in needs(scenario(timers="rfc")).daemons
    assert "mgmtd" in needs(cap=replace(FIT, frr=(10, 3))).daemons
    assert needs(cap=replace(FIT, frr=None)).daemons == ()


def test_locators_need_ipv6_and_ospfv3(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = make_scheme(SchemeChoice(name="bier"))
    plan, timers = make_plan(QUICKSTART.topology), profile("fast")
    assert not lab_needs(plan, [scheme], timers, FIT, None).ipv6
    monkeypatch.setattr(scheme, "underlay", Underlay(srv6=True))
    found = lab_needs(plan, [scheme], timers, FIT, None)
    assert found.ipv6
    assert found.daemons == ("zebra", "bfdd", "ospfd", "ospf6d")


def test_a_model_for_every_sync_and_what_is_in_flight_to_every_host() -> None:
    syncs = [
        {"name": "a", "model": {"size": GIB}, "to": ["gpu1", "gpu2"]},
        {"name": "b", "model": {"size": MIB}, "to": "all"},
    ]
    found = needs(scenario(syncs=syncs))
    assert found.disk == GIB + MIB
    assert found.shm == 2 * 2 * MIB + 8 * MIB  # a model smaller than what may be in flight is in flight whole


def test_what_is_kept_is_a_copy_a_host_and_run_and_lies_beside_the_bundle() -> None:
    found = needs(scenario(repetitions=3), keep=True)
    assert found.bundle == 8 * 2 * GIB * 3 * 3  # sites, size, schemes, repetitions
    assert (found.shm, found.disk) == (0, 2 * GIB)


def test_a_transport_is_needed_by_the_schemes_that_take_it() -> None:
    def wanted(*schemes: str) -> tuple[bool, bool, bool]:
        found = needs(scenario(schemes=list(schemes)))
        return found.uftp, found.http, found.multicast_routing

    assert wanted("pim-ssm") == (True, False, True)
    assert wanted("unicast") == (False, True, False)
    assert wanted("bier", "unicast") == (True, True, False)
    assert requirements(replace(FIT, uftp=None, uftpd=None), needs(scenario(schemes=["unicast"]))) == []


def test_a_lab_that_sends_nothing_needs_no_transport_and_no_room() -> None:
    scheme = make_scheme(SchemeChoice(name="pim-ssm"))
    plan = make_plan(QUICKSTART.topology)
    found = lab_needs(plan, [scheme], profile("fast"), FIT, None)
    assert (found.uftp, found.http, found.shm, found.disk, found.bundle) == (False, False, 0, 0, 0)
    assert found.memory < needs().memory
    assert requirements(replace(FIT, uftp=None, uftpd=None), found) == []


def test_a_run_says_everything_that_is_missing_before_it_starts_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    cap = replace(FIT, features=without("netem"), uftpd=None, disk_free=GIB, memory_available=GIB // 2)
    monkeypatch.setattr(runner, "probe_machine", lambda **_: cap)
    asked = with_link(delay=0.01).model_copy(update={"impairments": "netem"})
    with pytest.raises(MachineError) as caught:
        runner.run_scenario(asked, tmp_path / "bundle", Observer())
    assert caught.value.exit_status == 3
    for said in ("netem", "--impairments", "UFTP", "2 GiB needed", "512 MiB memory available"):
        assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []
