"""Rates, sizes and durations: read and written one way everywhere.

Numbers inside the program are SI base units: bits per second (int), bytes (int), seconds (float),
ratios 0..1 (float). Text with units appears at the edges only.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ%/]*)\s*")

_RATE = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_RATE |= {f"{p}b/s": f for p, f in (("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12))}
_RATE |= {f"{p}bps": f for p, f in (("", 1), ("k", 10**3), ("m", 10**6), ("g", 10**9), ("t", 10**12))}
_SIZE = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_DURATION = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


def _parse(text: str, table: dict[str, int] | dict[str, float], what: str, example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match and (factor := table.get(match[2].lower())) is not None and math.isfinite(float(match[1])):
        # In decimal, so that 1.643ms is the same number as 0.001643.
        value = float(Decimal(match[1]) * Decimal(str(factor)))
        if math.isfinite(value):
            return value
    raise ValueError(f"{text!r} is not a {what}; write for example {example}")


def parse_rate(text: str) -> int:
    """`"500Mbit"`, `"1.5 Gb/s"` -> bits per second. Raises ValueError."""
    return round(_parse(text, _RATE, "rate", "500Mbit or 10Gbit"))


def parse_size(text: str) -> int:
    """`"2GiB"`, `"70 GB"`, `"4096"` -> bytes. Raises ValueError."""
    return round(_parse(text, _SIZE, "size", "2GiB or 70GB"))


def parse_duration(text: str) -> float:
    """`"15s"`, `"1ms"` -> seconds. Raises ValueError."""
    return _parse(text, _DURATION, "duration", "15s or 5ms")


def parse_ratio(text: str) -> float:
    """`"0.1%"`, `"0.001"` -> a ratio from 0 to 1. Raises ValueError."""
    value = _parse(text, {"": 1.0, "%": 0.01}, "ratio", "0.1% or 0.001")
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not between 0 and 100%")
    return value


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for factor, unit in steps:
        if abs(value) >= factor:
            return f"{value / factor:.4g} {unit}"
    factor, unit = steps[-1]
    return f"{value / factor:.4g} {unit}"


def format_rate(bits_per_second: float) -> str:
    """Bits per second -> `"500 Mb/s"`."""
    return _scaled(bits_per_second, ((1e9, "Gb/s"), (1e6, "Mb/s"), (1e3, "kb/s"), (1, "b/s")))


def format_size(size: float) -> str:
    """Bytes -> `"2 GiB"`."""
    return _scaled(size, ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")))


def format_duration(seconds: float) -> str:
    """Seconds -> `"15 s"`, `"3.2 ms"`."""
    return _scaled(seconds, ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")))
