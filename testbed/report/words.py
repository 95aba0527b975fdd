"""The sentences of a report that follow from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from testbed.bundle import run_id
from testbed.report import fmt
from testbed.report.figures import Series, Study, counts
from testbed.report.fmt import listing, plural
from testbed.spec.scenario import Scenario
from testbed.units import format_rate, format_size


def sending_rate(scenario: Scenario) -> float | None:
    """The rate the sender is asked for, in bit/s: the transport's, or its share of the narrowest link's."""
    if scenario.transport.rate:
        return float(scenario.transport.rate)
    default = scenario.topology.defaults.link.rate
    rates = [link.rate or default for link in scenario.topology.links]
    shaped = [r for r in rates if r]
    return min(shaped) * scenario.transport.utilisation if shaped else None


def model_bytes(scenario: Scenario) -> int:
    return max(s.model.size for s in scenario.syncs)


def asked(study: Study) -> str:
    """What was asked for, in a sentence."""
    s = study.scenario
    sites = sum(n.kind == "site" for n in s.topology.nodes.values())
    first = s.syncs[0]
    count = sites if first.to == "all" else len(first.to)
    whom = "storage host" if first.deliver_to == "storage" else "GPU servers"
    text = f"{format_size(first.model.size)} to the {whom} of {plural(count, 'site')} over {s.topology.name}"
    if len(s.syncs) > 1:
        text = f"{len(s.syncs)} syncs, the first of them {text}"
    rate = sending_rate(s)
    if rate:
        text += f", sent at {format_rate(rate)}"
    return f"{text}; {_timeline(s)}."


def _timeline(scenario: Scenario) -> str:
    if not scenario.timeline:
        return "no faults"
    parts = []
    for fault in scenario.timeline[:3]:
        back = f", restored {fault.duration:g} s later" if fault.duration is not None else ", never restored"
        own = " ".join(f"{key} {value}" for key, value in fault.parameters.items())
        parts.append(f"{fault.action} of {fault.target}{f' ({own})' if own else ''} after {fault.at:g} s{back}")
    more = len(scenario.timeline) - 3
    return "; ".join(parts) + (f"; and {plural(more, 'more fault')}" if more > 0 else "")


def verdict(study: Study) -> list[str]:
    """What came out, in a few plain sentences; nothing here is not in a table below."""
    usable = [s for s in study.series if s.measured]
    if not usable:
        return ["No run gave numbers that count.", *_not_counted(study)]
    rate = sending_rate(study.scenario)
    said = [_delivery(usable), _speed(usable, rate), _outages(usable), _bytes(usable), _evidence(usable)]
    return [*filter(None, said), *_not_counted(study)]


def _delivery(series: Sequence[Series]) -> str:
    incomplete = []
    for s in series:
        missed = [x for f in s.measured for x in f.run.sites if not x.delivered]
        if missed:
            names = list(dict.fromkeys(x.site for x in missed))
            why = ", ".join(dict.fromkeys(x.reason for x in missed if x.reason))
            who = listing(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            deliveries = sum(len(f.run.sites) for f in s.measured)
            incomplete.append(f"with {s.label} {who} did not ({len(missed)} of {deliveries} deliveries"
                              f"{': ' + why if why else ''})")  # fmt: skip
    if not incomplete:
        return "Every site received the whole model, every block verified, in every run that counts."
    return f"Not every site received the whole model: {'; '.join(incomplete)}."


def _speed(series: Sequence[Series], rate: float | None) -> str:
    parts = []
    for s in series:
        time, speed = s.of("slowest_s"), s.of("slowest_goodput")
        if time and speed:
            share = f", {fmt.percent(speed.median / rate)} of the sending rate" if rate else ""
            parts.append(f"{fmt.seconds(time.median)} with {s.label} ({fmt.rate(speed.median)} of goodput{share})")
    return f"The slowest site had its copy after {listing(parts)}." if parts else ""


def _outages(series: Sequence[Series]) -> str:
    parts = []
    for s in series:
        longest, hit = s.of("longest_outage_ms"), s.of("interrupted_sites")
        if longest and hit:
            of = max(len(f.run.sites) for f in s.measured)
            if longest.maximum:
                hits = f"{fmt.count(hit.median)} of {plural(of, 'site')} hit"
                parts.append(f"{fmt.ms(longest.median)} with {s.label} ({hits})")
            else:
                parts.append(f"none with {s.label}")
    if not parts:
        return "No probes ran, so outages are unknown."
    beyond = [
        f"{fmt.ms(x.median)} more with {s.label}"
        if x.median
        else f"no longer with {s.label} (packets were back before the repair was seen)"
        for s in series
        if (x := s.of("beyond_igp_ms"))
    ]
    igp = f" Once the IGP had repaired a site's path, the worst site waited {listing(beyond)}."
    return f"The longest outage at any site: {listing(parts)}.{igp if beyond else ''}"


def _bytes(series: Sequence[Series]) -> str:
    parts = [(fmt.ratio(r.median), s.label) for s in series if (r := s.of("against_ideal"))]
    if not parts:
        return ""
    (ratio, label), *others = parts
    said = [f"{ratio} the bytes of the ideal tree with {label}", *(f"{r} with {name}" for r, name in others)]
    return f"All links together carried {listing(said)}."


def _evidence(series: Sequence[Series]) -> str:
    """How much the numbers can bear: said of the comparison that readers will make first, the times."""
    least = min(len(s.measured) for s in series)
    if least < 6:
        runs = "With a single run of a scheme" if least == 1 else f"With only {least} runs of a scheme"
        return (f"{runs} there is no confidence interval, and a difference between schemes may be chance: "
                "repeat with --repeat 6 or more.")  # fmt: skip
    if len(series) == 1:
        return ""
    claims = []
    for figure, noun in (("slowest_s", "slowest site's delivery time"), ("longest_outage_ms", "longest outage")):
        found = [(s.label, x.ci) for s in series if (x := s.of(figure)) and x.ci]
        if len(found) == len(series):
            overlapping = [f"{a} and {b}" for (a, x), (b, y) in combinations(found, 2) if x[0] <= y[1] and y[0] <= x[1]]
            if not overlapping:
                claims.append(f"for the {noun} they lie apart")
            elif len(series) == 2:
                claims.append(f"for the {noun} they overlap")
            else:
                claims.append(f"for the {noun} those of {', '.join(overlapping)} overlap")
    return f"95 % confidence intervals of the medians: {'; '.join(claims)}." if claims else ""


def _not_counted(study: Study) -> list[str]:
    """The runs that the figures leave out, each kind in a sentence."""
    said = []
    for outcome in ("invalid", "interrupted", "unsupported"):
        runs = [r for r in study.bundle.runs if r.outcome == outcome]
        if runs:
            names = listing([run_id(r) for r in runs])
            why = "; ".join(dict.fromkeys(r.reason for r in runs if r.reason))
            why = f" ({why})" if why else ""
            said.append(f"Not counted: {names}, {outcome}{why}; shown below, averaged nowhere.")
    if study.bundle.unfinished_runs:
        said.append(f"{listing(list(study.bundle.unfinished_runs))} began and left no result.")
    return said


_FLAGS = {
    "impairments_ignored": "Delays, jitter and losses that the topology asks for were NOT applied: every time in this "
    "report is that of a network without them.",
}
_FLAGS["ignore_impairments"] = _FLAGS["impairments_ignored"]


def flags(manifest: Mapping[str, Any]) -> list[str]:
    """The flags of a run that change what its numbers mean, each as a sentence."""
    given = manifest.get("flags") or []
    if isinstance(given, Mapping):
        pairs = [(str(k), v) for k, v in given.items() if v not in (False, None)]
    else:
        pairs = [(str(f), True) for f in (given if isinstance(given, list) else [given])]
    said = []
    for name, value in pairs:
        known = _FLAGS.get(name.partition(":")[0].lstrip("-").replace("-", "_"))
        said.append(known or (name if value is True else f"{name}: {value}"))
    return said


_SILENT = "A link that is cut keeps its carrier here, as behind a switch: its routers learn of it from {} alone."
_DETECTIONS = {
    "carrier": "Routers learn of a failure by the loss of carrier alone.",
    "bfd-3x50": _SILENT.format("BFD (3 × 50 ms)"),
    "bfd-3x300": _SILENT.format("BFD (3 × 300 ms)"),
    "dead-timer": _SILENT.format("OSPF's dead timer"),
}


@dataclass(frozen=True, slots=True)
class TimersInEffect:
    """The protocol timers that a bundle's routers ran with. `values`: the IGP's and BFD's, "" in a bundle that does
    not tell; `changed`: where they differ from the profile, and why, "" where they do not; `detection`: what was asked
    for of spec.scenario.Detection."""

    profile: str
    bfd: str
    values: str
    changed: str
    detection: str = ""

    @property
    def brief(self) -> str:
        """`fast, BFD 3 × 300 ms`."""
        return ", ".join(filter(None, (self.profile, self.bfd, self.detection and f"detection by {self.detection}")))

    @property
    def sentence(self) -> str:
        values = f" ({self.values})" if self.values else ""
        changed = f", with {self.changed}" if self.changed else ""
        detection = f" {_DETECTIONS[self.detection]}" if self.detection in _DETECTIONS else ""
        return f"Protocol timers are of the profile “{self.profile}”{values}{changed}.{detection}"


def timers(scenario: Scenario, manifest: Mapping[str, Any]) -> TimersInEffect:
    """The timers that were in effect, in words."""
    told = manifest.get("timers")
    told = told if isinstance(told, Mapping) else {}
    ospf, bfd = told.get("ospf"), told.get("bfd")
    watched = "no BFD" if "bfd" in told else ""
    if isinstance(bfd, Mapping):
        watched = f"BFD {bfd.get('multiplier')} × {bfd.get('interval')} ms"
    hellos = f"OSPF hello {ospf.get('hello')} s, dead {ospf.get('dead')} s" if isinstance(ospf, Mapping) else ""
    return TimersInEffect(
        scenario.timers,
        watched,
        "; ".join(filter(None, (hellos, watched))),
        str(told.get("changed", "")),
        scenario.detection or "",
    )


def threats(study: Study) -> list[str]:
    """What could make these numbers wrong or misleading, as far as the scenario and the runs show it."""
    topology = study.scenario.topology
    machine = study.bundle.manifest.get("machine")
    cores = machine.get("cores") if isinstance(machine, Mapping) else None
    on = f" ({plural(cores, 'core')})" if isinstance(cores, int) else ""
    said = [
        f"All routers, hosts and the harness share one machine{on}: they take CPU time from each other. "
        "The fidelity table says how much was left; runs without enough are invalid. After a fault the routers compute "
        "their routes at the same time, on these cores one after the other: the more routers on a core, the longer an "
        "outage.",
        "Links are emulated (veth pairs, software shaping). Line cards, optics and their failure detection are not; "
        "an administrative cut shows carrier loss at once, where a real fibre may take longer to be noticed.",
        "FRR's forwarding state goes into the Linux kernel: programming hardware tables takes longer.",
        "The model is synthetic: incompressible, every block different; nothing but bytes and their digests is like a "
        "real one.",
        "One transport was used in every scheme; its repairs are part of every delivery time.",
    ]
    if any(scheme.name == "unicast" for scheme in study.scenario.schemes):
        said[-1] = ("Unicast is another transport too (HTTP over TCP, each site's connection paced at its share of the "
                    "sending rate): a delivery time is that of scheme and transport together.")  # fmt: skip
    if topology.defaults.link.delay == 0 and not any(link.delay for link in topology.links):
        said.insert(2, "No link has a propagation delay. On a wide area network flooding, joins and repairs each take "
                    "round trips that are missing here.")  # fmt: skip
    used = timers(study.scenario, study.bundle.manifest)
    if used.changed or used.profile != "default":
        said.append(f"{used.sentence} Others give other outages.")
    if any(not counts(r) for r in study.bundle.runs):
        said.append("Some runs were left out; if what made them invalid depends on the scheme, the rest is biased.")
    return said


METHOD = (
    ("Delivery time", "from the sync's start to the last byte of the model verified at the site."),
    ("Goodput", "verified bytes × 8 ÷ delivery time. Bytes that fail verification count for nothing."),
    ("Delivered", "every block of the model arrived and has the digest that the manifest gives it."),
    ("Outage", "a hole in the probe stream, sent as the sync's data are, as received at the site. Its length is the "
     "time from the last probe before to the first probe after, less one probe interval; what is shorter goes unseen."),
    ("The IGP's repair", "of a site's path after a fault: the moment when the last router on the site's new shortest "
     "path had the kernel route that the path needs. For PIM that is the route to the source, which its Joins follow "
     "(RPF); for a scheme that sends towards the sites, unicast too, the route to the site. 0 ms: all of them had it "
     "before. A change is stamped when the monitor hears of it, which on a busy machine may be a little late."),
    ("Beyond the IGP", "the part of a site's outage that lies after the IGP's repair of its path: what the scheme "
     "itself took, at the worst site. None: packets were back before the repair was seen, so that nothing waited for "
     "more than the IGP: the scheme went ahead of it, or the monitor was late to see it. The first packet's own "
     "way to the site, with its delays and queues, is part of the figure."),
    ("Lost, duplicates", "probes by their numbers: sent and never received; received more than once."),
    ("Ideal tree", "the bytes that a shortest path tree carrying each packet once over each of its links would put on "
     "them, before any fault. A ratio above 1 is detours, repairs, duplicates and probes; with unicast, copies."),
    ("Stages", "times after the fault was injected, on one clock (CLOCK_MONOTONIC) for all nodes: the first router "
     "that noticed (its kernel lost the carrier, or its BFD session or adjacency went); the last adjacency that went "
     "or came; the last router-LSA originated, and the last that a router on the path had to hear; the kernel's "
     "routes; the scheme's own state (the kernel's multicast routes for PIM, the forwarders' BIFTs for BIER) as "
     "changed last on the path before packets were back; the first packet. What FRR does is known by its log lines, "
     "in every scheme alike; their stamps are FRR's, in microseconds, brought to the one clock."),
    ("What the outage went to", "the outage of the site that had the longest, cut at the moments when one had to wait "
     "for another. Where a controller had to switch the root to another tree, these are read backwards from that "
     "message: each was sent when the last router of the level below had confirmed. Messages go through the network "
     "that has just been broken: what one took beyond the fastest between the two in that run, it was held up (lost "
     "and sent again, waiting for the network to heal or for its reader). Else the IGP has told when the "
     "scheme's agent had heard (for PIM and unicast: when the kernel had the route), and from there it is the "
     "routers'."),
    ("Set up on demand", "all that makes a sync's packets reach its sites (flow, tree, joins) begins at its start, and "
     "its times count from there. Hosts join by IGMP, and Linux sends the report two ticks of its clock after the join "
     "(4 to 8 ms at 250 Hz), in every scheme with groups."),
    ("Control traffic", "what the daemons and agents count as sent, all routers together. An interface that went down "
     "begins at 0 again, so that OSPF's figures lack what the cut link's ends had sent before. Bytes are known of "
     "BIER's own messages only; an LSA received was flooded at least that often."),
    ("Median and spread", "the median of the runs that count; with six or more, its exact order-statistic confidence "
     "interval (at least 95 %), else the range. No distribution is assumed."),
    ("Runs that count", "passed, or failed because a site did not get the model. Invalid runs (the host was the "
     "bottleneck), interrupted and unsupported ones are shown and never averaged."),
)  # fmt: skip
