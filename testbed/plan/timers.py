"""Named sets of protocol timers: `fast`, `default`, `rfc`. Every result names the one it was made with.

Sources
    FRR      the daemons' own defaults, as `show ip ospf`, `show ip pim interface detail` and
             `show bfd peers` print them (the same in FRR 8.4 and 10.3)
    RFC 2328 OSPFv2: appendix B (MinLSInterval, MinLSArrival), appendix C.3 (HelloInterval 10 s on a LAN,
             RouterDeadInterval 4 x hello, RxmtInterval 5 s)
    RFC 8405 SPF back-off: INITIAL 50 ms, SHORT 200 ms, LONG 5000 ms (RFC 2328 has no SPF delay)
    RFC 7761 PIM-SM: section 4.11 (hello 30 s, holdtime 3.5 times that, t_periodic 60 s)
    RFC 5340 OSPFv3: section 4 leaves OSPFv2's timers as they are. `ospf` is for ospf6d as well, which has all of them
             but `lsa_interval`: it originates at once, where `default` and `rfc` let ospfd wait for up to 5 s when
             one change follows another
    RFC 3376 IGMPv3: section 8 (query interval 125 s, query response 10 s, last member query 1 s, twice)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from testbed.errors import Problem, RequestError

# Measured with gpu-clouds-8 on two cores, a model under way: with BFD at 50 ms on its links 4 % of the cores is idle
# and sessions flap, at 300 ms 24 % and none does. Smaller networks keep their 50 ms.
BFD_LINKS = 20


@dataclass(frozen=True, slots=True)
class OspfTimers:
    """Hello, dead and retransmit interval in s; the SPF's (initial, hold, longest) delay and the LSAs' in ms."""

    hello: int
    dead: int
    retransmit: int
    spf_delay: int
    spf_hold: int
    spf_max: int
    lsa_interval: int
    lsa_min_arrival: int


@dataclass(frozen=True, slots=True)
class BfdTimers:
    """A control packet every `interval` ms; `multiplier` of them missing mean that the neighbour is gone."""

    interval: int
    multiplier: int

    @property
    def detection(self) -> float:
        """How long a silent neighbour goes unnoticed, in seconds (RFC 5880 6.8.4)."""
        return self.interval * self.multiplier / 1000


@dataclass(frozen=True, slots=True)
class PimTimers:
    """Seconds. A Join is not acknowledged: `join_prune` is how long a lost one goes unrepaired.

    The triggered hello that answers a new neighbour has no knob in FRR: it is sent within a millisecond where
    RFC 7761 4.3.1 asks for a random delay of up to 5 s.
    """

    hello: int
    hold: int
    join_prune: int


@dataclass(frozen=True, slots=True)
class IgmpTimers:
    """Query interval in s, response times in tenths of a second, as IGMPv3 carries them."""

    query_interval: int
    query_response_ds: int
    last_member_interval_ds: int
    last_member_count: int


@dataclass(frozen=True, slots=True)
class Timers:
    """One profile. `bfd` None: neighbours are watched by hellos alone. `detection`: what was asked for in its place, ""
    where the profile's own BFD is."""

    name: str
    ospf: OspfTimers
    bfd: BfdTimers | None
    pim: PimTimers
    igmp: IgmpTimers
    detection: str = ""

    @property
    def unnoticed(self) -> float:
        """How long a link may be silent before a router acts on it, in seconds."""
        return self.bfd.detection if self.bfd else self.ospf.dead

    @property
    def cold_start(self) -> float:
        """Seconds in which OSPF is up after the last daemon started, if nothing is wrong: two hellos to meet,
        then one of each delay. (Seen: a little over one hello with `fast`, two hellos with the others.)
        """
        delays = self.ospf.lsa_interval + self.ospf.lsa_min_arrival + self.ospf.spf_max
        return 2 * self.ospf.hello + self.ospf.retransmit + delays / 1000

    def on(self, links: int) -> Timers:
        """The profile as a network with `links` links between routers can bear it.

        Beyond BFD_LINKS links BFD falls back to FRR's default of 3 x 300 ms: all sessions share this machine's few
        cores, and a detection time shorter than the scheduling delay at start makes healthy neighbours flap for good.
        Who asks for a detection gets it.
        """
        if self.detection or self.bfd is None or links <= BFD_LINKS or self.bfd.interval >= 300:
            return self
        return replace(self, bfd=BfdTimers(interval=300, multiplier=3))


# As quick as FRR's knobs allow while 20 routers on two cores keep their neighbours. The throttles are off because
# the lab's failures are few and scripted: there is no storm to hold back. Retransmissions come after one second,
# FRR's least, because a single LSA lost on a link that is going down would otherwise cost five.
FAST = Timers(
    name="fast",
    ospf=OspfTimers(
        hello=1, dead=4, retransmit=1, spf_delay=0, spf_hold=50, spf_max=500, lsa_interval=0, lsa_min_arrival=0
    ),
    bfd=BfdTimers(interval=50, multiplier=3),
    pim=PimTimers(hello=1, hold=4, join_prune=5),
    igmp=IgmpTimers(query_interval=5, query_response_ds=10, last_member_interval_ds=5, last_member_count=2),
)

# What an operator gets who configures FRR and turns BFD on: FRR's defaults throughout.
DEFAULT = Timers(
    name="default",
    ospf=OspfTimers(
        hello=10, dead=40, retransmit=5, spf_delay=0, spf_hold=50, spf_max=5000, lsa_interval=5000, lsa_min_arrival=1000
    ),
    bfd=BfdTimers(interval=300, multiplier=3),
    pim=PimTimers(hello=30, hold=105, join_prune=60),
    igmp=IgmpTimers(query_interval=125, query_response_ds=100, last_member_interval_ds=10, last_member_count=2),
)

# The RFCs' values, and no BFD: none of these RFCs asks for it.
RFC = Timers(
    name="rfc",
    ospf=OspfTimers(
        hello=10,
        dead=40,
        retransmit=5,
        spf_delay=50,
        spf_hold=200,
        spf_max=5000,
        lsa_interval=5000,
        lsa_min_arrival=1000,
    ),
    bfd=None,
    pim=PimTimers(hello=30, hold=105, join_prune=60),
    igmp=IgmpTimers(query_interval=125, query_response_ds=100, last_member_interval_ds=10, last_member_count=2),
)

PROFILES: Mapping[str, Timers] = MappingProxyType({t.name: t for t in (FAST, DEFAULT, RFC)})

# By what the failure of a link is noticed (spec.scenario.Detection), and the BFD that this takes.
DETECTIONS: Mapping[str, BfdTimers | None] = MappingProxyType(
    {
        "carrier": None,
        "bfd-3x50": BfdTimers(interval=50, multiplier=3),
        "bfd-3x300": BfdTimers(interval=300, multiplier=3),
        "dead-timer": None,
    }
)


def profile(name: str, detection: str | None = None) -> Timers:
    """The profile of that name, with the BFD of a detection where one is asked for. Raises RequestError."""
    problems = []
    if name not in PROFILES:
        hint = f"the profiles are {', '.join(PROFILES)}"
        problems.append(Problem(f"no timer profile is called {name!r}", where="timers", hint=hint))
    if detection is not None and detection not in DETECTIONS:
        hint = f"there are {', '.join(DETECTIONS)}"
        problems.append(Problem(f"no detection is called {detection!r}", where="detection", hint=hint))
    if problems:
        raise RequestError(problems)
    if detection is None:
        return PROFILES[name]
    return replace(PROFILES[name], bfd=DETECTIONS[detection], detection=detection)


def hides_carrier(detection: str | None) -> bool:
    """Whether a link that is cut keeps its carrier, so that only what `detection` names can notice."""
    return detection not in (None, "carrier")
