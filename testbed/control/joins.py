"""Receiver-driven flows: what this router's hosts join is told to the router of the source (a BFIR)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from threading import Condition, Thread

from testbed.control.bier_config import COMMANDS
from testbed.control.commands import ask

Wish = tuple[IPv4Address, IPv4Address]  # source, group
_TIMEOUT = 1.0  # seconds: a BFIR that is cut off is asked again
_RETRY = 0.2


class Joins:
    """Source-specific wishes, each told once to the BFIR, and again until it answers; on a thread of its own, because
    a BFIR that is cut off must not hold up anything else.

    `router_of` gives the router behind which a source is, None while nobody knows. Wishes without a source are not for
    here: nobody could say which BFIR to tell.
    """

    def __init__(self, bfr_id: int, router_of: Callable[[IPv4Address], IPv4Address | None]) -> None:
        self._bfr_id = bfr_id
        self._router_of = router_of
        self._wanted: frozenset[Wish] = frozenset()
        self._told: frozenset[Wish] = frozenset()
        self._changed = Condition()
        Thread(target=self._serve, name="joins", daemon=True).start()

    def want(self, wishes: set[tuple[IPv4Address | None, IPv4Address]]) -> None:
        """All that is wanted from now on."""
        with self._changed:
            self._wanted = frozenset((source, group) for source, group in wishes if source is not None)
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted != self._told)
                wanted = self._wanted
            for op, wishes in (("join", wanted - self._told), ("leave", self._told - wanted)):
                for wish in sorted(wishes):
                    if self._tell(op, *wish):
                        self._told ^= {wish}
            with self._changed:
                if self._wanted != self._told:  # not all answered: wait a little, or for something new
                    self._changed.wait(_RETRY)

    def _tell(self, op: str, source: IPv4Address, group: IPv4Address) -> bool:
        router = self._router_of(source)
        if router is None:
            return False
        command = {"op": op, "source": str(source), "group": str(group), "bfr_id": self._bfr_id}
        try:
            ask((str(router), COMMANDS), command, _TIMEOUT)
        except (OSError, ValueError):
            return False
        return True
