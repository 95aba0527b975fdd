"""Waiting for a state, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from testbed.errors import NotConverged

# One setting scales every deadline: slow or loaded machines set it above 1.
SCALE = float(os.environ.get("TESTBED_DEADLINE_SCALE", "1") or 1)


def until(missing: Callable[[], str], deadline: float, what: str, pause: float = 0.02) -> float:
    """Poll `missing` until it returns "" (nothing is missing any more); returns the seconds that took.

    `deadline` in seconds is multiplied by TESTBED_DEADLINE_SCALE. Raises NotConverged with what is still missing.
    """
    start = time.monotonic()
    limit = deadline * SCALE
    while lacking := missing():
        if time.monotonic() - start > limit:
            raise NotConverged(
                f"{what}: still missing after {limit:.0f} s: {lacking}\n"
                "    on a slow or busy machine set TESTBED_DEADLINE_SCALE=3 and try again"
            )
        time.sleep(pause)
    return time.monotonic() - start
