"""Topologies and scenarios from files and names; every error at once, each with its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from testbed.errors import Problem, RequestError
from testbed.spec import catalog
from testbed.spec.check_scenario import Known, scenario_findings
from testbed.spec.check_topology import topology_findings
from testbed.spec.document import Document, Finding, read_document
from testbed.spec.document import Path as Place
from testbed.spec.expand import expanded
from testbed.spec.faults import Fault
from testbed.spec.foreign import import_topology, is_foreign
from testbed.spec.salvage import DROP, salvage
from testbed.spec.scenario import Model, Scenario, SchemeChoice, Sync
from testbed.spec.topology import Topology
from testbed.spec.types import Spec

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Overrides:
    """What a command line says instead of the file, as written there; None and () leave the file's."""

    schemes: Sequence[str] = ()
    size: str | int | None = None
    repetitions: str | int | None = None
    seed: str | int | None = None
    topology: str | None = None
    timeline: str | None = None
    detection: str | None = None
    impairments: str | None = None
    capture: Sequence[str] = ()


def load_topology(ref: str, *, base: Path | None = None) -> Topology:
    """`ref`: a file, a ready-made name, `topohub:GROUP/NAME[?options]` or `FILE.graphml[?options]`.

    Files are looked up from `base` (None: the working directory). Raises RequestError with every problem.
    """
    if is_foreign(ref):
        return import_topology(ref, base=base)
    path = catalog.find(ref, "topology", base)
    document = read_document(catalog.read(path), catalog.display(path))
    topology, findings = _topology(document.data)
    if findings or document.duplicates or topology is None:
        raise RequestError(document.problems([*document.duplicates, *findings]))
    return topology


def load_scenario(
    ref: str, *, overrides: Overrides | None = None, known: Known | None = None, base: Path | None = None
) -> Scenario:
    """`ref`: a file or a ready-made name. Its `topology` is resolved, seen from the file's own folder.

    Syncs that stand for several, or for a draw of sites, are resolved as well (see `expanded`).

    `known`: what exists on the floors above; None leaves those names unchecked (see `check_scenario`).
    Raises RequestError with every problem, the topology's included.
    """
    overrides = overrides or Overrides()
    path = catalog.find(ref, "scenario", base)
    document = read_document(catalog.read(path), catalog.display(path))
    problems: list[Problem] = []
    findings: list[Finding] = list(document.duplicates)

    topology = _scenario_topology(document, overrides, path.parent, findings, problems)
    data = document.data
    if isinstance(data, dict):
        data = {**data, "topology": topology or Topology.model_construct(name="unknown", nodes={}, links=())}
    result = salvage(Scenario, data, _scenario_placeholder)
    if result.value is None:
        findings += result.findings
    else:
        findings += result.with_checks(scenario_findings(result.value, known, topology=topology is not None))
    problems += document.problems(findings)
    scenario = None if result.value is None else _override(result.value, overrides, known, problems)
    if problems or scenario is None:
        raise RequestError(problems)
    return expanded(scenario)


def _topology(data: Any) -> tuple[Topology | None, list[Finding]]:
    result = salvage(Topology, data, _topology_placeholder)
    if result.value is None:
        return None, list(result.findings)
    return result.value, result.with_checks(topology_findings(result.value, whole=result.whole))


def _scenario_topology(
    document: Document, overrides: Overrides, folder: Path, findings: list[Finding], problems: list[Problem]
) -> Topology | None:
    """The scenario's topology, None if it is wrong or missing; what is wrong goes to `findings` and `problems`."""
    written = document.data.get("topology") if isinstance(document.data, dict) else None
    if overrides.topology is not None:
        return _collect(lambda: load_topology(str(overrides.topology)), problems, "--topology")
    if isinstance(written, str):
        line = document.line(("topology",))
        try:
            return load_topology(written, base=folder)
        except RequestError as error:
            # What has a file of its own is shown there, the rest where the topology is named.
            problems += [
                p if p.file else Problem(p.what, p.where or "topology", p.hint, document.file, line)
                for p in error.problems
            ]
            return None
    if isinstance(written, dict):
        topology, found = _topology(written)
        findings += [Finding(("topology", *f.path), f.what, f.hint) for f in found]
        return None if found else topology
    if isinstance(document.data, dict):
        what = "the key 'topology' is missing" if written is None else "a topology is a name, a file, or a mapping"
        findings.append(Finding(("topology",), what, f"ready-made: {', '.join(catalog.ready_made('topology'))}"))
    return None


def _override(scenario: Scenario, overrides: Overrides, known: Known | None, problems: list[Problem]) -> Scenario:
    """The scenario with the command line's values, checked again."""
    changes: dict[str, Any] = {}
    if overrides.schemes:
        schemes = [_value(SchemeChoice, text, "--scheme", problems) for text in overrides.schemes]
        changes["schemes"] = tuple(s for s in schemes if s is not None)
    if overrides.size is not None:
        model = _value(Model, {"size": overrides.size}, "--size", problems)
        if model is not None:
            changes["syncs"] = tuple(_resized(sync, model.size) for sync in scenario.syncs)
    for key in ("repetitions", "seed", "detection", "impairments"):
        if (text := getattr(overrides, key)) is not None:
            field = Scenario.model_fields[key]
            flag = {"repetitions": "--repeat"}.get(key, f"--{key}")
            changes[key] = _value(field.rebuild_annotation(), text, flag, problems)
    if overrides.capture:
        changes["capture"] = tuple(overrides.capture)
    if overrides.timeline is not None:
        timeline = _timeline(overrides.timeline, problems)
        changes |= {"timeline": timeline, "random_faults": ()}
    if problems or not changes:
        return scenario
    changed = scenario.model_copy(update=changes)
    flags = {"schemes": "--scheme", "syncs": "--size", "timeline": "--timeline", "capture": "--capture"}
    for finding in scenario_findings(changed, known):
        problems.append(Problem(finding.what, flags.get(str(finding.path[0]), ""), finding.hint))
    return changed


def read_fault(data: dict[str, Any]) -> Fault:
    """A fault as it would stand in a timeline. Raises RequestError with everything that is wrong with its form."""
    result = salvage(Fault, data, lambda _: None)
    if result.findings or result.value is None:
        raise RequestError(Document(None).problems(result.findings))
    return result.value


def _timeline(ref: str, problems: list[Problem]) -> tuple[Fault, ...]:
    """The faults of a file with the one key `timeline`, or of a whole scenario's."""
    path = Path(ref)
    try:
        document = read_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"cannot read {path}: {error}", "--timeline"))
        return ()
    except RequestError as error:
        problems += error.problems
        return ()
    data = document.data.get("timeline") if isinstance(document.data, dict) else None
    if not isinstance(data, list):
        problems.append(Problem("there is no timeline in it", "--timeline", "a list under the key timeline", str(path)))
        return ()
    result = salvage(_Timeline, {"timeline": data}, lambda _: None)
    problems += document.problems(result.findings)
    return result.value.timeline if result.value is not None else ()


class _Timeline(Spec):
    timeline: tuple[Fault, ...]


def _resized(sync: Sync, size: int) -> Sync:
    return sync.model_copy(update={"model": sync.model.model_copy(update={"size": size})})


def _value(kind: Any, value: Any, flag: str, problems: list[Problem]) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            reason = detail.get("ctx", {}).get("error", detail["msg"])
            problems.append(Problem(str(reason), flag))
        return None


def _collect(load: Callable[[], Topology], problems: list[Problem], flag: str) -> Topology | None:
    try:
        return load()
    except RequestError as error:
        problems += [p if p.file or p.where else Problem(p.what, flag, p.hint) for p in error.problems]
        return None


def _topology_placeholder(path: Place) -> tuple[Place, Any] | None:
    match path:
        case ("name",):
            return path, "unnamed"
        case ("nodes",):
            return path, {}
        case ("links",):
            return path, []
        case ("nodes", str(name)) if not _NAME.fullmatch(name):
            return path, DROP
        case ("nodes", str()) | ("nodes", str(), "kind"):
            return path[:2], {"kind": "router"}
        case ("nodes", _):
            return path, DROP
    return None


def _scenario_placeholder(path: Place) -> tuple[Place, Any] | None:
    match path:
        case ("name",):
            return path, "unnamed"
        case ("schemes",):
            return path, ["unknown"]
        case ("syncs",):
            return path, [{}]
    return None
