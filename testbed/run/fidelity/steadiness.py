"""How steady a destination's probes came before the first fault, when nothing but the network moved them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.run.probe import Probes

# Of fewer probes no percentile is taken.
LEAST_PROBES = 50


@dataclass(frozen=True, slots=True)
class Steadiness:
    """`jitter_ms`: the 99th percentile of the one-way delays, above the least of them (RFC 5481's PDV). `sent` probes,
    of which `lost` never came."""

    jitter_ms: float
    sent: int
    lost: int

    @property
    def lost_share(self) -> float:
        return self.lost / self.sent


def steadiness(probes: Probes, begin_s: float, end_s: float | None) -> Steadiness | None:
    """Of the probes sent from `begin_s` to `end_s` (CLOCK_MONOTONIC; None: to the last that came).

    None where they are fewer than LEAST_PROBES.
    """
    inside = probes.sent_ns >= begin_s * 1e9
    if end_s is not None:
        inside &= probes.sent_ns < end_s * 1e9
    seq, first = np.unique(probes.seq[inside], return_index=True)
    if len(seq) < LEAST_PROBES:
        return None
    delay_ns = probes.received_ns[inside][first] - probes.sent_ns[inside][first]
    sent = int(seq[-1] - seq[0]) + 1
    jitter = float(np.percentile(delay_ns - delay_ns.min(), 99)) / 1e6
    return Steadiness(round(jitter, 3), sent, sent - len(seq))
