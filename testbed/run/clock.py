"""From the kernel's packet stamps (CLOCK_REALTIME) to the one clock of a run (CLOCK_MONOTONIC)."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offset:
    """CLOCK_REALTIME - CLOCK_MONOTONIC in ns, true to within `error_ns`."""

    offset_ns: int
    error_ns: int


def measure_offset(attempts: int = 5) -> Offset:
    """Read both clocks `attempts` times; the tightest reading counts (half its bracket is the error)."""
    best: Offset | None = None
    for _ in range(attempts):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if best is None or (after - before) // 2 < best.error_ns:
            best = Offset(real - (before + after) // 2, (after - before + 1) // 2)
    assert best is not None, "attempts is at least 1"
    return best


class MonotonicStamps:
    """Turns realtime stamps into monotonic ones, with the offset measured anew each time `refresh` is called.

    `error_ns`: the widest error so far, of reading the clocks and of the offset's drift between two refreshes.
    `steps`: how often the realtime clock jumped by more than 1 ms in between; stamps of that moment are doubtful.
    """

    def __init__(self) -> None:
        first = measure_offset(50)
        self.offset_ns, self.error_ns, self.steps = first.offset_ns, first.error_ns, 0

    def refresh(self) -> int:
        """Measure the offset again and return it."""
        new = measure_offset()
        moved = abs(new.offset_ns - self.offset_ns)
        if moved > 1_000_000:
            self.steps += 1
        else:
            self.error_ns = max(self.error_ns, new.error_ns + moved)
        self.offset_ns = new.offset_ns
        return self.offset_ns
