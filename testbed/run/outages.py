"""Outages from a destination's probe records. Pure: arrays in, records out.

An outage is a hole in the sequence numbers: probes that were sent and never came. A pause of the sender uses up
no sequence numbers and is none; a single lost probe is one. Probes missing before the first that came are not
an outage but the time it took to join.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from testbed.record import Outage
from testbed.run.probe import Probes

DUPLICATE_WINDOW_S = 1.0
CAUSE_WINDOW_S = 10.0
CAUSE_SLACK_S = 0.05

Cause = tuple[float, str]  # CLOCK_MONOTONIC seconds, what happened


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One host's stream. `received` counts different probes, `duplicates` every further copy of one.

    `lost` is the sum over the outages; `missed` the probes sent before the first that came (all, if none came).
    `reordered` counts probes that came after one with a higher number (RFC 4737 section 3.3).
    `first_probe_s` is when the first came, after the run's zero; None: never.
    """

    outages: tuple[Outage, ...]
    received: int
    lost: int
    missed: int
    duplicates: int
    reordered: int
    first_probe_s: float | None


def find_outages(
    probes: Probes,
    *,
    interval_s: float,
    zero_s: float = 0.0,
    sent: int | None = None,
    last_sent_ns: int | None = None,
    faults: Sequence[Cause] = (),
) -> StreamResult:
    """All holes of one stream, in order.

    `zero_s` is the run's zero on CLOCK_MONOTONIC; `sent` and `last_sent_ns` are the sender's own count and last send
    time, without which a hole at the end cannot be seen. For each outage:

    - `start_s`: the send time of the first lost probe, taken to be one interval after that of the probe before it
      (never later than that of the one after it);
    - `length_ms`: from the last arrival of a probe before the hole to the first arrival of one after it, less one
      interval, never negative. For a hole at the end: from the last probe that came to the last sent, as sent;
    - `end_s`: the first arrival after the hole; None for a hole at the end; `travel_ms`: how long that probe took;
    - `duplicates`: copies that came between the hole's last arrival before it and DUPLICATE_WINDOW_S after its first
      arrival behind it (the repair often doubles traffic); each is counted at the latest hole only;
    - `cause`: the latest of `faults` at or before its start, CAUSE_SLACK_S of slack for what was in flight,
      and not older than CAUSE_WINDOW_S.
    """
    if not len(probes.seq):
        return StreamResult((), 0, 0, sent or 0, 0, 0, None)
    interval_ns, zero_ns = round(interval_s * 1e9), round(zero_s * 1e9)

    seq, first = np.unique(probes.seq, return_index=True)  # the index is that of the first arrival
    sent_ns, received_ns = probes.sent_ns[first], probes.received_ns[first]
    is_first = np.zeros(len(probes.seq), bool)
    is_first[first] = True
    copies_ns = np.sort(probes.received_ns[~is_first]).tolist()
    arrived = probes.seq[is_first]
    reordered = int(np.count_nonzero(arrived < np.maximum.accumulate(arrived)))

    last_before = np.maximum.accumulate(received_ns)
    backwards = received_ns[::-1]
    earliest = np.minimum.accumulate(backwards)
    which = np.maximum.accumulate(np.where(backwards == earliest, np.arange(len(seq)), 0))
    first_after, first_sent = earliest[::-1], sent_ns[::-1][which][::-1]
    found: list[tuple[Outage, int, int]] = []  # with the arrivals around it
    for i in np.flatnonzero(np.diff(seq) > 1).tolist():
        before, after = int(last_before[i]), int(first_after[i + 1])
        start = min(int(sent_ns[i]) + interval_ns, int(sent_ns[i + 1])) - zero_ns
        length = max(0, after - before - interval_ns)
        lost, end_s = int(seq[i + 1] - seq[i]) - 1, (after - zero_ns) / 1e9
        travel = (after - int(first_sent[i + 1])) / 1e6
        found.append((Outage(start / 1e9, length / 1e6, lost, 0, end_s=end_s, travel_ms=travel), before, after))
    trailing = 0 if sent is None else sent - 1 - int(seq[-1])
    if trailing > 0:
        start = int(sent_ns[-1]) + interval_ns
        end = max(start, last_sent_ns or start)
        outage = Outage((start - zero_ns) / 1e9, (end - int(sent_ns[-1])) / 1e6, trailing, 0)
        found.append((outage, int(last_before[-1]), end))

    next_before = [*(before for _, before, _ in found[1:]), 2**62]
    outages = tuple(
        replace(
            outage,
            duplicates=_copies_between(copies_ns, before, min(after + round(DUPLICATE_WINDOW_S * 1e9), upto)),
            cause=_cause(faults, outage.start_s + zero_s),
        )
        for (outage, before, after), upto in zip(found, next_before, strict=False)
    )
    return StreamResult(
        outages=outages,
        received=len(seq),
        lost=sum(o.lost for o in outages),
        missed=int(seq[0]),
        duplicates=len(copies_ns),
        reordered=reordered,
        first_probe_s=(int(received_ns.min()) - zero_ns) / 1e9,
    )


def _copies_between(copies_ns: list[int], after: int, upto: int) -> int:
    return max(0, bisect_right(copies_ns, upto) - bisect_right(copies_ns, after))


def _cause(faults: Sequence[Cause], start: float) -> str:
    ordered = sorted(faults)
    i = bisect_right([t for t, _ in ordered], start + CAUSE_SLACK_S) - 1
    if i < 0 or start - ordered[i][0] > CAUSE_WINDOW_S:
        return ""
    return ordered[i][1]
