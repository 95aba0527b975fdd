"""From what the verifier found and what the transport says to a SiteResult. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.record import SiteResult
from testbed.transfer.base import Delivery, Destination, Fate
from testbed.transfer.receipt import Shortfall


@dataclass(slots=True)
class State:
    """What is known of one destination; times are CLOCK_MONOTONIC. `moved`: when `verified` last grew.

    `shortfalls` and `curve` come with the verifier's summary.
    """

    verified: int = 0
    first_byte: float | None = None
    finished: float | None = None
    moved: float = 0.0
    curve: Sequence[tuple[float, int]] = ()
    shortfalls: Sequence[Shortfall] = field(default_factory=tuple)


def site_result(
    delivery: Delivery, destination: Destination, state: State, fate: Fate | None, trouble: str, zero: float
) -> SiteResult:
    """`trouble`: what went wrong outside the transport (a process died, the run was stopped); "" if nothing did."""
    delivered = state.finished is not None
    return SiteResult(
        name=destination.host,
        site=destination.site,
        sync=delivery.sync,
        delivered=delivered,
        verified_bytes=state.verified,
        expected_bytes=delivery.manifest.total,
        first_byte_s=None if state.first_byte is None else state.first_byte - zero,
        delivery_s=None if state.finished is None else state.finished - zero,
        reason="" if delivered else reason(delivery, state, fate, trouble),
        curve=tuple((t - zero, size) for t, size in state.curve),
    )


def reason(delivery: Delivery, state: State, fate: Fate | None, trouble: str) -> str:
    """Why a destination does not have the model: what is wrong with it first, then how that came."""
    claimed = fate is not None and fate.complete
    corrupt = [(block, short.file) for short in state.shortfalls for block in short.wrong]
    if claimed and corrupt:
        block, file = corrupt[0]
        more = f" and {len(corrupt) - 1} more" if len(corrupt) > 1 else ""
        return f"corrupt block {block} of {file}{more}"
    missing = sum(short.missing + len(short.wrong) for short in state.shortfalls)
    if claimed:
        cause = trouble or "although the transport reports success"
    else:
        cause = "; ".join(filter(None, (trouble, fate.reason if fate else "the transport has no record of it")))
    if not state.shortfalls:
        return cause
    return f"{missing} of {delivery.manifest.blocks} blocks missing: {cause}"
