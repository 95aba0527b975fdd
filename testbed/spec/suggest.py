"""Did you mean: the known word nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str], what: str = "known") -> str:
    """A hint: the nearest word if one is near, else the known ones (the first of many); "" if there are none."""
    words = list(dict.fromkeys(known))
    folded = {w.lower(): w for w in reversed(words)}
    near = get_close_matches(str(word).lower(), folded, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(folded[n] for n in near)}?"
    if not words:
        return ""
    more = f", ... ({len(words)} in all)" if len(words) > 12 else ""
    return f"{what}: {', '.join(words[:12])}{more}"
