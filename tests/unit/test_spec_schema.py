"""The checked-in JSON Schemas: current, and in agreement with what is accepted."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from testbed.spec import catalog
from testbed.spec.schema import FOLDER, scenario_schema, schema_files, topology_schema


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_checked_in_schemas_are_current(name: str) -> None:
    assert json.loads((FOLDER / name).read_text()) == json.loads(schema_files()[name]), (
        "run: python -m testbed.spec.schema"
    )


@pytest.mark.parametrize("schema", [topology_schema(), scenario_schema()], ids=["topology", "scenario"])
def test_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("kind", ["topology", "scenario"])
def test_every_ready_made_file_is_accepted(kind: str) -> None:
    schema = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    for path in sorted(catalog.folder(kind).glob("*.yaml")):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


SHORT = {
    "name": "short",
    "topology": "topohub:topozoo/Abilene?sites=4",
    "schemes": ["pim-ssm", "bier:encapsulation=mpls,bsl=256", {"name": "pim-sm", "options": {"x": True}}],
    "syncs": [{"to": ["gpu1", "gpu2"]}, {"to": "all"}],
    "timeline": [{"at": "1s", "action": "degrade", "target": {"link": "a-b"}, "loss": "2%", "rate": 10**7}],
    "random_faults": [{"count": 3, "gap": "1s", "actions": [{"action": "cut", "target": {"role": "any-link"}}]}],
}
INLINE = {
    "name": "inline",
    "nodes": {"repo": {"kind": "repository"}, "s1": {"kind": "site", "servers": 4}},
    "links": [["repo", "s1"], {"a": "repo", "b": "s1", "rate": "500Mbit", "loss": 0.1, "delay": "5ms"}],
}


@pytest.mark.parametrize("scenario", [SHORT, {**SHORT, "topology": INLINE}])
def test_short_and_long_forms_are_accepted(scenario: dict[str, Any]) -> None:
    jsonschema.validate(scenario, scenario_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"schemes": []},
        {"timeline": [{"action": "cut", "target": {"link": "a-b"}}]},
        {"timeline": [{"at": 1, "action": "cut", "target": {"links": []}}]},
        {"random_faults": [{"count": 0, "actions": [{"action": "cut", "target": {}}]}]},
        {"schemes": ["9lives"]},
        {"topology": 3},
        {"topology": {**INLINE, "links": [["repo"]]}},
        {"topology": {**INLINE, "links": [["repo", "s1", "s1"]]}},
        {"topology": {**INLINE, "colour": "red"}},
        {"sync": []},
        {"timers": "quick"},
    ],
)
def test_wrong_ones_are_not(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**SHORT, **change}, scenario_schema())
