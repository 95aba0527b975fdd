"""pydantic's errors in the words of someone who writes a topology or a scenario."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from testbed.spec.document import Finding, Path
from testbed.spec.suggest import did_you_mean
from testbed.spec.types import Spec

_NAME_RULE = "a name starts with a letter and holds letters, digits, - and _ only, 64 at most"
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
}
# What others call it.
_SYNONYMS = {
    "bandwidth": "rate",
    "bw": "rate",
    "capacity": "rate",
    "speed": "rate",
    "latency": "delay",
    "metric": "cost",
    "weight": "cost",
    "type": "kind",
    "role": "kind",
    "faults": "timeline",
    "repeat": "repetitions",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(error: ValidationError, model: type[Spec], data: Any) -> list[Finding]:
    """One Finding for each place that is wrong, in the order of the data."""
    by_place: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        tag = ("kind",) if detail["type"] == "union_tag_invalid" else ()
        by_place.setdefault(_place(detail["loc"] + tag, data), []).append(detail)
    return [
        _finding(place, details, model)
        for place, details in by_place.items()
        if not (_may_follow(details) and any(len(p) > len(place) and p[: len(place)] == place for p in by_place))
    ]


def _may_follow(details: list[ErrorDetails]) -> bool:
    """Whether it is only said because of something deeper: a list too short for its wrong items, say."""
    return all(
        d["type"] == "too_short" or (d["type"] == "literal_error" and isinstance(d["input"], list)) for d in details
    )


def _place(loc: tuple[int | str, ...], data: Any) -> Path:
    """pydantic's location without the parts that are no keys of the data (union tags, `[key]`)."""
    path: list[Any] = []
    for n, part in enumerate(loc):
        if isinstance(data, dict):
            # The key itself: one that is no text (`no` read as false) comes as text or a number here.
            key = next((k for k in data if k == part or str(k) == str(part)), part)
            if key in data:
                path.append(key)
                data = data[key]
            elif n == len(loc) - 1 and part != "[key]":
                path.append(part)  # a missing key, or an unknown one
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
        elif n == 0:
            path.append(part)
    return tuple(path)


def _finding(place: Path, details: list[ErrorDetails], model: type[Spec]) -> Finding:
    if len(details) > 1 and all("[key]" not in d["loc"] for d in details):
        # A union: none of its forms fits. The fitting list of choices is the most helpful answer.
        literal = next((d for d in details if d["type"] == "literal_error"), None)
        if literal and not isinstance(literal["input"], (list, dict)):
            what = f"{_show(literal['input'])} is neither {literal['ctx']['expected']} nor a list"
            return Finding(place, what, "write for example all, or [site1, site2]")
    detail = details[0]
    return Finding(place, *_words(place, detail, model))


def _words(place: Path, detail: ErrorDetails, model: type[Spec]) -> tuple[str, str]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if detail["loc"][-1:] == ("[key]",) or kind in ("string_pattern_mismatch", "string_too_long"):
        return _bad_name(value)
    if kind == "extra_forbidden":
        known = _fields(model, detail["loc"][:-1])
        meant = _SYNONYMS.get(str(place[-1]).lower())
        hint = f"it is called {meant} here" if meant in known else did_you_mean(place[-1], known, "known keys")
        if kinds := _kinds_with(model, detail["loc"]):
            hint = f"only kind {' or '.join(kinds)} has it"
        return f"unknown key {place[-1]!r}", hint
    if kind == "missing":
        return f"the key {str(detail['loc'][-1])!r} is missing", ""
    if kind == "value_error":
        return str(context["error"]), ""
    if kind in ("literal_error", "union_tag_invalid"):
        bad = context.get("tag", value)
        words = re.findall(r"'([^']+)'", str(context.get("expected_tags", context.get("expected"))))
        if not words:
            return f"{_show(bad)} is not {str(context['expected']).lower()}", ""
        return f"{_show(bad)} is not one of {', '.join(words)}", _near(bad, words)
    if kind == "union_tag_not_found":
        return "the key 'kind' is missing", "kind is one of repository, router, site, controller"
    if kind == "too_short":
        return f"this list needs at least {context['min_length']} entry", ""
    if kind in _BOUNDS:
        bound, key = _BOUNDS[kind]
        return f"{_show(value)} is out of range: it has to be {bound} {context[key]:g}", ""
    if kind in _TYPES:
        hint = _unquoted(value) if kind == "string_type" else ""
        return f"{_show(value)} is not {_TYPES[kind]}", hint
    return f"{_show(value)}: {detail['msg'].lower()}", ""


def _bad_name(value: Any) -> tuple[str, str]:
    if not isinstance(value, str):
        return f"{_show(value)} is not text", _unquoted(value)
    return f"{value!r} is not a name", _NAME_RULE


def _unquoted(value: Any) -> str:
    if isinstance(value, bool):
        return 'YAML reads yes, no, on and off as true and false: quote them, for example "no"'
    return f'quote it if it is meant as text: "{value}"' if isinstance(value, (int, float)) else ""


def _near(word: Any, known: Iterable[str]) -> str:
    hint = did_you_mean(word, known)
    return hint if hint.startswith("did") else ""


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(model: type[Spec], loc: Iterable[int | str]) -> tuple[str, ...]:
    """The keys that the model at `loc` knows; () where that is no model."""
    forms = _specs(model, loc)
    return tuple(forms[0].model_fields) if len(forms) == 1 else ()


def _kinds_with(model: type[Spec], loc: tuple[int | str, ...]) -> list[str]:
    """The other kinds of node, if it is one, that have the key at `loc`, which ends in the node's kind and the key."""
    forms = _specs(model, loc[:-2])
    having = [form.model_fields for form in forms if len(forms) > 1 and loc[-1] in form.model_fields]
    return [get_args(fields["kind"].annotation)[0] for fields in having]


def _specs(model: type[Spec], loc: Iterable[int | str]) -> list[type[Spec]]:
    """The models that may be at `loc`."""
    current: Any = model
    for part in loc:
        current = _step(current, part)
    return [form for form in _forms(current) if isinstance(form, type) and issubclass(form, Spec)]


def _step(annotation: Any, part: int | str) -> Any:
    """The annotation one step into `annotation`: a field, an item, or the form of a union with that tag."""
    for form in (forms := _forms(annotation)):
        if isinstance(form, type) and issubclass(form, Spec):
            if len(forms) > 1 and (kind := form.model_fields.get("kind")) and part in get_args(kind.annotation):
                return form
            if part in form.model_fields:
                return form.model_fields[str(part)].annotation
        origin, args = get_origin(form), get_args(form)
        if origin is dict:
            return args[1]
        if origin is tuple and isinstance(part, int):
            return args[0]
    return annotation


def _forms(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _forms(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [form for arg in get_args(annotation) if arg is not type(None) for form in _forms(arg)]
    return [] if origin is Literal else [annotation]
