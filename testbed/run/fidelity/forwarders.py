"""What the routers' forwarders dropped, by the reason that they give (docs/forwarder.md)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder

# The reasons that are the host's doing: no packet, and no fault, asks for them.
OF_THE_HOST = ("rx-socket",)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Packets that a forwarder took in at all its ports, and what it dropped, by reason."""

    received: int
    drops: Mapping[str, int] = field(default_factory=dict)

    @property
    def of_the_host(self) -> int:
        return sum(self.drops.get(reason, 0) for reason in OF_THE_HOST)

    def since(self, before: Forwarded) -> Forwarded:
        """The growth from `before`. Fewer packets than before: it was restarted, and grew from nothing."""
        if self.received < before.received:
            return self
        grown = {reason: count - before.drops.get(reason, 0) for reason, count in self.drops.items()}
        return Forwarded(self.received - before.received, {reason: n for reason, n in grown.items() if n > 0})


def read_forwarders(sockets: Mapping[str, Path]) -> dict[str, Forwarded]:
    """What each router's forwarder has counted so far; one that does not answer (a fault killed it) is left out."""
    found = {}
    for router, path in sockets.items():
        with suppress(ForwarderError), Forwarder(path) as forwarder:
            state = forwarder.state()
            found[router] = Forwarded(sum(port.rx.packets for port in state.ports.values()), state.drops)
    return found


def growth(before: Mapping[str, Forwarded], after: Mapping[str, Forwarded]) -> dict[str, Forwarded]:
    """By router."""
    return {router: now.since(before.get(router, Forwarded(0))) for router, now in after.items()}
