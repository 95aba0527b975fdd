"""The options of a scheme, checked."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.errors import Problem, RequestError
from testbed.spec.scenario import OptionValue


def chosen(
    scheme: str, options: Mapping[str, OptionValue], choices: Mapping[str, tuple[OptionValue, ...]]
) -> dict[str, OptionValue]:
    """Each option's value: what was given, else the first of its choices. Raises RequestError with all mistakes."""
    given = {key: int(v) if isinstance(v, str) and v.isdecimal() else v for key, v in options.items()}
    problems = [
        Problem(f"scheme {scheme} has no option {key!r}", hint=f"its options: {', '.join(choices)}")
        for key in given.keys() - choices.keys()
    ]
    problems += [
        Problem(f"scheme {scheme}: {key} {value!r}", hint=f"one of: {', '.join(map(str, choices[key]))}")
        for key, value in given.items()
        if key in choices and value not in choices[key]
    ]
    if problems:
        raise RequestError(problems)
    return {key: values[0] for key, values in choices.items()} | given
