"""JSON Schemas of the two file formats, for editors and for other programs.

`python -m testbed.spec.schema` writes them anew to `schemas/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology

FOLDER = Path(__file__).resolve().parents[2] / "schemas"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def topology_schema() -> dict[str, Any]:
    """What a topology file may hold."""
    return _finish(Topology.model_json_schema(), "topology")


def scenario_schema() -> dict[str, Any]:
    """What a scenario file may hold; its topology a mapping, or text that refers to one."""
    schema = Scenario.model_json_schema()
    schema["properties"]["topology"] = {
        "description": "A ready-made name, a file, topohub:GROUP/NAME[?options], or a whole topology.",
        "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/Topology"}],
    }
    return _finish(schema, "scenario")


def schema_files() -> dict[str, str]:
    """File name in `schemas/` -> its text."""
    schemas = {"topology.schema.json": topology_schema(), "scenario.schema.json": scenario_schema()}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def _finish(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """Add the short forms, which pydantic knows as validators only and leaves out."""
    definitions = schema["$defs"]
    name = {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_-]*$", "maxLength": 64}
    pair = {"type": "array", "items": name, "minItems": 2, "maxItems": 2, "description": "Its two ends."}
    definitions["LinkOrEnds"] = {"anyOf": [pair, {"$ref": "#/$defs/Link"}]}
    topology = schema if "links" in schema["properties"] else definitions["Topology"]
    topology["properties"]["links"]["items"] = {"$ref": "#/$defs/LinkOrEnds"}
    if "schemes" in schema["properties"]:
        text = {
            "type": "string",
            "pattern": r"^[A-Za-z][A-Za-z0-9_-]*(:.*)?$",
            "examples": ["pim-ssm", "bier:encapsulation=mpls,bsl=256"],
        }
        definitions["SchemeNameOrChoice"] = {"anyOf": [text, {"$ref": "#/$defs/SchemeChoice"}]}
        schema["properties"]["schemes"]["items"] = {"$ref": "#/$defs/SchemeNameOrChoice"}
        _finish_faults(definitions)
    schema |= {"title": f"llmsync-testbed {title}", "$defs": dict(sorted(definitions.items()))}
    return {"$schema": _DRAFT, **schema}


def _finish_faults(definitions: dict[str, Any]) -> None:
    """An action's own keys stand beside a fault's, and which those are only the action knows; a distribution may be a
    time by itself."""
    for name in ("Fault", "RandomAction"):
        definitions[name]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    for name in ("gap", "duration"):
        field = definitions["RandomFaults"]["properties"][name]
        time = {"anyOf": [{"type": "string", "examples": ["3s"]}, {"type": "number"}]}
        definitions["RandomFaults"]["properties"][name] = {"anyOf": [time, {"$ref": "#/$defs/Distribution"}]} | {
            key: field[key] for key in ("default",) if key in field
        }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in schema_files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
