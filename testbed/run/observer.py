"""Who watches a scenario being carried out: a terminal, a test, a keeper. All methods may be called from threads."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.record import Event, Run


class Observer:
    """Watches and does nothing; override what you care about."""

    def phase(self, run: str, text: str) -> None:
        """A run enters a phase, or the work before all runs does (`run` is "" then)."""

    def progress(self, run: str, verified: Mapping[str, int], expected: int, elapsed: float) -> None:
        """Verified bytes by destination host, of `expected` each, `elapsed` seconds after the run's zero."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def finished(self, run: Run) -> None:
        """A run is over."""
