"""Validate data, and where it is wrong find out everything else about it too.

pydantic stops at the structure: a file with a bad unit on line 3 would hide the link to nowhere on line 30.
So what is wrong is taken out (or replaced by something harmless) and the rest validated again, until a
whole object stands for the cross checks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from testbed.spec.document import Finding, Path
from testbed.spec.explain import explain
from testbed.spec.types import Spec

S = TypeVar("S", bound=Spec)

# For the path of a wrong value: what to replace (it or something around it) and by what (DROP: by nothing),
# where that leaves a structure with a hole; None for a value that can just be left out.
Placeholder = Callable[[Path], tuple[Path, Any] | None]
DROP = object()

_ROUNDS = 8


@dataclass(frozen=True)
class Salvaged(Generic[S]):
    """`value` is None where nothing could be made of the data. `whole` is False where parts of the structure
    (an item, a required value) are missing from `value`, so that questions about all of it mean nothing.
    `places` leads from an index in `value` back to the one in the data, for each list that lost items."""

    value: S | None
    findings: tuple[Finding, ...]
    whole: bool
    places: Mapping[Path, list[int]]

    def with_checks(self, checks: Iterable[Finding]) -> list[Finding]:
        """All findings: those about the data's form, and `checks` about `value` at the places they have in the
        data, without those about something that is only a stand-in."""
        moved = [Finding(_original(f.path, self.places), f.what, f.hint) for f in checks]
        wrong = {finding.path for finding in self.findings}
        return [*self.findings, *(f for f in moved if not any(f.path[:n] in wrong for n in range(len(f.path) + 1)))]


def salvage(model: type[S], data: Any, placeholder: Placeholder) -> Salvaged[S]:
    """Validate `data` as `model`; every error in it becomes a Finding."""
    if not isinstance(data, dict):
        what = f"a {model.__name__.lower()} is a mapping of keys to values, not {_kind(data)}"
        return Salvaged(None, (Finding((), what),), False, {})
    data = copy.deepcopy(data)
    findings: dict[Path, Finding] = {}
    places: dict[Path, list[int]] = {}
    whole = True
    for _ in range(_ROUNDS):
        try:
            return Salvaged(model.model_validate(data), tuple(findings.values()), whole, places)
        except ValidationError as error:
            errors = explain(error, model, data)
        fresh = [Finding(_original(f.path, places), f.what, f.hint) for f in errors]
        # What was taken out is missed next time, at its place or around it: that is no news.
        findings |= {f.path: f for f in fresh if not any(_related(f.path, known) for known in findings)}
        # From the back, so that indices stay right while items go.
        for finding in sorted(errors, key=lambda f: _sortable(f.path), reverse=True):
            whole &= _remove(data, finding.path, placeholder, places)
    return Salvaged(None, tuple(findings.values()), False, places)


def _remove(data: Any, path: Path, placeholder: Placeholder, places: dict[Path, list[int]]) -> bool:
    """Take the value at `path` out of `data`. True if the structure stays whole."""
    if (replacement := placeholder(path)) is not None:
        path, stand_in = replacement
        owner = _at(data, path[:-1])
        if stand_in is DROP:
            owner.pop(path[-1], None)
        else:
            owner[path[-1]] = stand_in
        return False
    while path:
        owner, last = _at(data, path[:-1]), path[-1]
        if isinstance(owner, dict) and last in owner:
            del owner[last]
            return True
        if isinstance(owner, list) and isinstance(last, int) and last < len(owner):
            kept = places.setdefault(path[:-1], list(range(len(owner))))
            del owner[last], kept[last]
            return False
        path = path[:-1]  # it is missing: what should have it has to go
    return False


def _at(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _original(path: Path, places: Mapping[Path, list[int]]) -> Path:
    """`places` is keyed by paths in the shrunken data; so are the prefixes that are looked up here."""
    out: list[Any] = []
    for n, part in enumerate(path):
        kept = places.get(path[:n])
        out.append(kept[part] if kept is not None and isinstance(part, int) and part < len(kept) else part)
    return tuple(out)


def _related(path: Path, other: Path) -> bool:
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _sortable(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, str(part)) for part in path)


def _kind(value: Any) -> str:
    return {list: "a list", str: "text", type(None): "nothing"}.get(type(value), f"{value!r}")
