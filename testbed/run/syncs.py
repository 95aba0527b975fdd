"""The syncs of a run: each with its flow, its probes and its session, set up beforehand or on demand.

What "set up" means is the same for every scheme: the scheme has prepared the flow (`Scheme.prepare`), and the
destinations have joined its group, if it has one. Beforehand, that is over before the run's zero, and probes have
shown that it works. On demand nothing of it happens before the sync's start, from which on its times count:

    setup          now: the probes' sender is told to send, their receivers to join, and the scheme to prepare the flow
    flow-set-up    the scheme says that it has, where there is anything to say
    first-probe    at each destination: what is measured as its `setup_ms`
    sync-start     once all have had one, the transport's listeners are started and join, then its movers

Programs that need no network for it are started beforehand: probe sender, probe receivers (with sockets that have not
joined), the verifier. The transport's listeners are not, for they join as they start; they wait for the probes to
have come, so that the setting up is measured without a dozen of programs being started beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from testbed.lab.lab import Lab
from testbed.run.job import Cargo
from testbed.run.measure import Instruments, Stream
from testbed.schemes import Scheme
from testbed.transfer.session import Session

Record = Callable[[float, str, str, dict[str, Any]], None]


@dataclass(slots=True)
class SyncRun:
    """One sync while its run lasts. Moments are CLOCK_MONOTONIC seconds; its times count from `begun`."""

    cargo: Cargo
    stream: Stream
    session: Session
    begun: float | None = None
    flow_set_up: float | None = None
    listening: float | None = None
    over: bool = False

    def prepare(self, lab: Lab, scheme: Scheme) -> None:
        """What happens beforehand. Raises LabError, RequestError, TransferError."""
        if self.stream.on_demand:
            self.session.watch()
        else:
            self._set_up(lab, scheme)
            self.session.prepare()

    def start(self, lab: Lab, scheme: Scheme, instruments: Instruments, patience: float) -> None:
        """Have it delivered; on demand, set it up first. A destination without a probe is waited for `patience`
        seconds; then it is up to the transport, which has as much. Raises LabError, TransferError, OSError."""
        if not self.stream.on_demand:
            self.begun = self.session.start()
            return
        self.begun = time.monotonic()
        instruments.begin(self.stream)
        instruments.record(self.begun, "setup", "", {"sync": self.stream.sync})
        self._set_up(lab, scheme)
        self.flow_set_up = time.monotonic()
        instruments.record(self.flow_set_up, "flow-set-up", "", {"sync": self.stream.sync})
        instruments.heard_everywhere(self.stream, patience)
        self.session.listen()
        self.listening = time.monotonic()
        self.session.start(since=self.begun)

    def look(self, instruments: Instruments) -> bool:
        """Whether it is over. The probes of one set up on demand end with it: the next has the network to itself."""
        if not self.over and self.session.wait(0):
            self.over = True
            if self.stream.on_demand:
                instruments.end(self.stream)
        return self.over

    def setup_ms(self, t: float | None) -> float | None:
        """How long after the start that was; None for what was set up beforehand, and where either is not known."""
        if t is None or self.begun is None or not self.stream.on_demand:
            return None
        return round((t - self.begun) * 1000, 3)

    def setup(self) -> dict[str, Any] | None:
        """A row of Run.setups; None if it was not set up on demand."""
        if self.begun is None or not self.stream.on_demand:
            return None
        times = {"flow_ms": self.setup_ms(self.flow_set_up), "listening_ms": self.setup_ms(self.listening)}
        return {"sync": self.stream.sync, "t": self.begun, **times}

    def _set_up(self, lab: Lab, scheme: Scheme) -> None:
        scheme.prepare(lab, self.stream.flow, self.stream.source, self.stream.hosts)
