"""Records (frozen dataclasses) to plain JSON data and back, exactly: tuples come back as tuples."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

T = TypeVar("T")


def encode(record: Any) -> Any:
    """A record as plain JSON data; `decode` gives the same record back."""
    return plain(asdict(record))


def decode(kind: type[T], value: Any) -> T:
    """Plain JSON data as a record of `kind`. Unknown keys are left out: a later version may add some.

    Raises ValueError that says where in the record the trouble is.
    """
    result: T = _decode(kind, value, "")
    return result


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, where)
    if origin is types.UnionType:
        if value is None and types.NoneType in args:
            return None
        return _decode(next(a for a in args if a is not types.NoneType), value, where)
    if origin is Literal:
        if value in args:
            return value
    elif origin is tuple and isinstance(value, list):
        if args[-1] is Ellipsis:
            return tuple([_decode(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)])
        if len(args) == len(value):
            pairs = zip(args, value, strict=True)
            return tuple([_decode(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs)])
    elif origin is dict and isinstance(value, dict):
        return {k: _decode(args[1], v, f"{where}.{k}") for k, v in value.items()}
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{where.lstrip('.') or 'the record'}: {value!r:.60} is not {_describe(kind)}")


def _decode_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where.lstrip('.') or 'the record'}: {value!r:.60} is not a {kind.__name__}")
    hints = _hints(kind)
    arguments = {}
    for f in fields(kind):
        if f.name in value:
            arguments[f.name] = _decode(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where.lstrip('.') or 'the record'}: {f.name} is missing")
    return kind(**arguments)


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


def plain(value: Any) -> Any:
    """Any value as plain JSON data: a float that is not finite becomes None, what JSON has no form for its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
