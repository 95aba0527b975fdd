"""Loading and dumping: references, overrides, and the round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.run.transports import carried
from testbed.schemes import SCHEMES
from testbed.spec import catalog
from testbed.spec.check_scenario import Known, check_scenario
from testbed.spec.check_topology import check_topology
from testbed.spec.document import read_document
from testbed.spec.dump import dump_scenario, dump_topology
from testbed.spec.load import Overrides, load_scenario, load_topology
from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology
from testbed.transfer.registry import TRANSPORTS

KNOWN = Known(schemes={"pim-ssm", "pim-sm", "bier"}, transports={"uftp"})


@pytest.mark.parametrize("name", catalog.ready_made("topology"))
def test_ready_made_topologies_are_right_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    topology = load_topology(name)
    assert topology.name == name
    assert check_topology(topology) == []
    (tmp_path / "again.yaml").write_text(dump_topology(topology))
    assert load_topology("again.yaml", base=tmp_path) == topology


@pytest.mark.parametrize("name", catalog.ready_made("scenario"))
def test_ready_made_scenarios_are_right_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    known = Known(SCHEMES.keys(), TRANSPORTS.keys(), carries=carried())
    scenario = load_scenario(name, known=known)
    assert scenario.name == name
    assert check_scenario(scenario, schemes=known.schemes, transports=known.transports) == []
    (tmp_path / "again.yaml").write_text(dump_scenario(scenario))
    assert load_scenario(str(tmp_path / "again.yaml"), known=known) == scenario


def test_a_scenario_finds_its_topology_beside_itself(tmp_path: Path) -> None:
    ring = load_topology("ring").model_copy(update={"name": "mine"})
    (tmp_path / "mine.yaml").write_text(dump_topology(ring))
    (tmp_path / "s.yaml").write_text("name: s\ntopology: mine.yaml\nschemes: [pim-ssm]\n")
    assert load_scenario(str(tmp_path / "s.yaml")).topology == ring


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(RequestError, match=r"there is no file none\.yaml"):
        load_topology("./none.yaml")
    with pytest.raises(RequestError, match="did you mean quickstart"):
        load_scenario("quikstart")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is a directory"):
        load_topology(str(tmp_path))


def test_overrides_replace_what_the_file_says() -> None:
    overrides = Overrides(schemes=["pim-sm:switchover=never"], size="1GiB", repetitions="3", seed="7", topology="tree")
    with pytest.raises(RequestError, match="there is no link 'r1-r2'"):
        load_scenario("smoke", overrides=overrides, known=KNOWN)  # the timeline's link is not in that topology
    scenario = load_scenario("smoke", overrides=Overrides(["pim-sm:switchover=never"], "1GiB", 3, 7), known=KNOWN)
    assert [str(choice) for choice in scenario.schemes] == ["pim-sm:switchover=never"]
    assert {sync.model.size for sync in scenario.syncs} == {2**30}
    assert (scenario.repetitions, scenario.seed) == (3, 7)
    assert load_scenario("smoke", overrides=Overrides(), known=KNOWN) == load_scenario("smoke")


def test_wrong_overrides_are_named_by_their_flags() -> None:
    overrides = Overrides(schemes=["pim-sm:x"], size="big", repetitions="0", seed="one")
    with pytest.raises(RequestError) as caught:
        load_scenario("smoke", overrides=overrides, known=KNOWN)
    assert [p.where for p in caught.value.problems] == ["--scheme", "--size", "--repeat", "--seed"]


def test_an_unknown_scheme_on_the_command_line() -> None:
    with pytest.raises(RequestError) as caught:
        load_scenario("smoke", overrides=Overrides(schemes=["pim-smm"]), known=KNOWN)
    (problem,) = caught.value.problems
    assert (problem.where, problem.hint) == ("--scheme", "did you mean pim-sm or pim-ssm?")


# Values that YAML 1.1 likes to read as something else are the interesting names.
_WORDS = st.sampled_from(["no", "on", "yes", "null", "true", "y", "e1", "x0x1F", "NaN"])
_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True) | _WORDS
_SECONDS = st.floats(0, 1, allow_subnormal=False) | st.integers(0, 10**6).map(lambda us: us * 1e-6)


@st.composite
def _topologies(draw: st.DrawFn) -> Topology:
    names = draw(st.lists(_NAMES, min_size=3, max_size=7, unique=True))
    repo, router, *sites = names
    nodes: dict[str, Any] = {repo: {"kind": "repository"}, router: {"kind": "router"}}
    nodes |= {site: {"kind": "site", "servers": draw(st.integers(0, 4))} for site in sites}
    links: list[Any] = [[repo, router]]
    for site in sites:
        delay = draw(_SECONDS)
        values = {
            "rate": draw(st.none() | st.integers(64_000, 10**11) | st.integers(1, 100).map(lambda n: n * 10**9)),
            "delay": delay,
            "jitter": delay * draw(st.sampled_from([0, 0.5, 1])),
            "loss": draw(st.floats(0, 0.5)),
            "mtu": draw(st.none() | st.integers(1280, 9216)),
            "cost": draw(st.none() | st.integers(1, 65535)),
            "queue": draw(st.none() | st.integers(9216, 10**9)),
        }
        links.append({"a": router, "b": site, **{key: value for key, value in values.items() if value is not None}})
    text = draw(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
    return Topology.model_validate(
        {"name": draw(_NAMES), "description": text, "nodes": nodes, "links": links, "rp": draw(st.sampled_from(names))}
    )


@given(_topologies())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
def test_any_topology_survives_a_round_trip(topology: Topology) -> None:
    assert Topology.model_validate(read_document(dump_topology(topology)).data) == topology


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_scenario_survives_a_round_trip(data: st.DataObject) -> None:
    option = st.text(max_size=8) | st.integers() | st.booleans() | st.floats(allow_nan=False)
    scenario = Scenario.model_validate(
        {
            "name": data.draw(_NAMES),
            "topology": data.draw(_topologies()),
            "schemes": [{"name": data.draw(_NAMES), "options": data.draw(st.dictionaries(_NAMES, option, max_size=3))}],
            "syncs": [
                {"name": data.draw(_NAMES), "to": data.draw(st.just("all") | st.lists(_NAMES)), "start": seconds}
                for seconds in data.draw(st.lists(_SECONDS, min_size=1, max_size=3))
            ],
            "transport": {"rate": data.draw(st.none() | st.integers(1, 10**12)), "patience": data.draw(_SECONDS)},
            "timeline": [
                {"at": seconds, "action": "cut", "target": {"link": data.draw(st.text(min_size=1, max_size=8))}}
                for seconds in data.draw(st.lists(_SECONDS, max_size=3))
            ],
            "seed": data.draw(st.integers()),
        }
    )
    assert Scenario.model_validate(read_document(dump_scenario(scenario)).data) == scenario


# Data of the right shape with wrong things in it: whatever it is, the answer is a topology or a list of problems.
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["r1", "router", "site", "5ms", "1Gbit", ".inf"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "a", "b", "rate", "at", "link", "name", "r1", "x y"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
_KEYS = ["name", "nodes", "links", "defaults", "rp", "topology", "schemes", "syncs", "transport", "probe", "timeline"]


@given(st.dictionaries(st.sampled_from(_KEYS), _JUNK))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
def test_any_junk_is_answered_with_problems(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    import yaml

    folder = tmp_path_factory.mktemp("junk")
    (folder / "x.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    for load in (load_topology, load_scenario):
        with pytest.raises(RequestError) as caught:
            load(str(folder / "x.yaml"))
        assert caught.value.problems
