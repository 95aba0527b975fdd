"""For the parts of a record whose keys depend on the scheme or on the run: read what is there, in a known order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_KNOWN = {"mroutes": "Multicast routes", "oifs": "Outgoing interfaces of them", "unresolved": "Unresolved routes"}


def number(value: Any) -> float | None:
    """A number as a float; None for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def words_of(key: str) -> str:
    """`register_stop`, `registerStop` -> `Register stop`."""
    if key in _KNOWN:
        return _KNOWN[key]
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("_", " ")
    return text[:1].upper() + (text[1:].lower() if text != key else text[1:])


def ordered(keys: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    """The keys that occur: the known ones in their order, then the others as met."""
    there = dict.fromkeys(keys)
    return [k for k in known if k in there] + [k for k in there if k not in known]
