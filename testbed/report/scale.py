"""The scale rule: N bytes at R bit/s stand for k N bytes at k R; and what it does not hold for.

Sizes are bytes, rates bit/s, times seconds. The draft is draft-liu-rtgwg-llmsync-multicast-00.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.report.fmt import listing, plural
from testbed.report.words import model_bytes, sending_rate
from testbed.spec.scenario import Scenario
from testbed.units import format_duration, format_rate, format_size

# "A single model can reach 70GB to 1TB"; "transmission times exceeding tens of minutes" are too long.
DRAFT_SIZES = (70 * 10**9, 10**12)
# What is shown, in bit/s.
TARGETS = (10 * 10**9, 100 * 10**9)


def stands_for(size: float, rate: float, at: float) -> float:
    """The bytes that take as long at the rate `at` as `size` bytes do at `rate`."""
    return size * at / rate


def rate_for(size: float, rate: float, model: float) -> float:
    """The rate in bit/s at which a model of `model` bytes takes as long as `size` bytes do at `rate`."""
    return rate * model / size


def sending_time(size: float, rate: float) -> float:
    """Seconds that sending `size` bytes takes at `rate` bit/s, with nothing lost and nothing waited for."""
    return size * 8 / rate


@dataclass(frozen=True, slots=True)
class Scaling:
    """The rule by which a result stands for a larger one, and what the rule leaves out."""

    rule: str
    unscaled: tuple[str, ...]


def scaling(scenario: Scenario) -> Scaling:
    """The rule worked out for a scenario."""
    rate, size = sending_rate(scenario), model_bytes(scenario)
    if rate is None:
        return Scaling("No link of this topology has a rate: its delivery times stand for nothing but themselves.", ())
    shown = listing([f"{_decimal(stands_for(size, rate, t))} at {format_rate(t)}" for t in TARGETS if t > rate])
    small, large = DRAFT_SIZES
    needs = " and ".join(f"a {_decimal(s)} model needs {format_rate(rate_for(size, rate, s))}" for s in DRAFT_SIZES)
    times = " and ".join(f"{format_duration(sending_time(large, t))} at {format_rate(t)}" for t in TARGETS)
    rule = (
        f"{format_size(size)} at {format_rate(rate)} stands for {shown or 'itself'}; by the same rule {needs} for "
        f"the same delivery time. (The draft has {_decimal(small)} to {_decimal(large)} for 10 to 100+ copies, in less "
        f"than tens of minutes: {_decimal(large)} alone takes {times}.)"
    )
    sites = sum(node.kind == "site" for node in scenario.topology.nodes.values())
    unscaled = (
        "control-plane times: detection, flooding, routes, joins, a controller's work and so the length of an outage "
        "stay as they are in ms, and the bytes lost in an outage grow with the rate",
        "propagation delays and round trips: the links' kilometres stay, so that k times the rate has k times the "
        "bytes on the way, and what a repair has to wait for does not shrink with the sending time",
        "the timeline: a fault lasts as long as it did, which at k times the rate is k times the bytes",
        "queue depths: they are sized in ms of the rate (30 ms), and a real router's buffers follow another rule",
        "the seconds spent on announcing, joining and the last round of repairs",
        "packets a second (the MTU does not grow), and with them the load of routers and hosts",
        "what disks, network cards and digests of a real site can take, and what this machine can",
        f"the number of copies: {plural(sites, 'site')} stay {sites}. A group's packets cross a link once for any "
        "number behind it; a scheme that sends a copy each needs the rate for each",
    )
    return Scaling(rule, unscaled)


def _decimal(size: float) -> str:
    """Bytes in the decimal units in which models are named: `443 GB`."""
    return f"{size / 1e12:.3g} TB" if size >= 1e12 else f"{size / 1e9:.3g} GB"
