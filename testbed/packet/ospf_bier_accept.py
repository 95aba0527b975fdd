"""Which of the BIER advertisements in OSPF count: the rules of RFC 8444 section 2 that have others ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

from testbed.packet.bitstring import LENGTHS
from testbed.packet.mpls import MAX_LABEL
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation

_MAX_MT_ID = 127  # 128 to 255 are invalid (RFC 4915)


class Reason(Enum):
    """Why something does not count, and what it is that does not."""

    REPEATED_PREFIX = "the router advertised this prefix before (RFC 7684 2.1): this Extended Prefix TLV"
    NOT_A_HOST = "a BFR-prefix is an address (RFC 8279 2), this prefix is more: this Extended Prefix TLV"
    LABELS_OVERLAP = "label ranges of this router overlap (RFC 8444 2.2): all its BIER Sub-TLVs"
    REPEATED_SUB_DOMAIN = "the router advertised this sub-domain more than once (RFC 8444 2.1): all of them"
    INVALID_TOPOLOGY = "the MT-ID is none (RFC 8444 2.1): this BIER Sub-TLV"
    OTHER_TOPOLOGY = "the sub-domain has another MT-ID here (RFC 8444 2.1): this BIER Sub-TLV"
    OTHER_ALGORITHM = "the sub-domain has another BAR or IPA here (RFC 8444 2.1): this BIER Sub-TLV"
    REPEATED_LENGTH = "a BitString length comes more than once (RFC 8444 2.2): this BIER Sub-TLV"
    INVALID_LENGTH = "no BitString length of RFC 8296 (RFC 8444 2.2): this encapsulation"
    LABEL_TOO_HIGH = "the last label exceeds 20 bits (RFC 8444 2.2): this encapsulation"
    DUPLICATE_BFR_ID = "several routers advertise this BFR-id (RFC 8279 5): the BFR-id, for all of them"


@dataclass(frozen=True, slots=True)
class SubDomain:
    """How a sub-domain is configured on the router that judges."""

    mt_id: int = 0
    bar: int = 0
    ipa: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What counts of one BIER Sub-TLV: `bier` has lost the encapsulations, and perhaps the BFR-id, that do not."""

    router: IPv4Address
    prefix: IPv4Network
    bier: BierSubTlv


@dataclass(frozen=True, slots=True)
class Ignored:
    router: IPv4Address
    prefix: IPv4Network
    what: ExtendedPrefix | BierSubTlv | MplsEncapsulation
    reason: Reason

    def __str__(self) -> str:
        return f"{self.router}, {self.prefix}: {self.reason.value}; {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    accepted: tuple[Accepted, ...]
    ignored: tuple[Ignored, ...]


def accept(advertised: Mapping[IPv4Address, Iterable[ExtendedPrefix]], local: Mapping[int, SubDomain]) -> Verdict:
    """Judge what every router advertises, one's own included, so that a BFR-id taken twice is seen.

    `advertised`: by advertising router, in the order of Opaque IDs, then of TLVs. A prefix that an area border router
    passes on counts as an advertisement of the router behind it: give it a key of its own, its BFR-prefix say.
    `local`: by sub-domain-id; sub-domains that are not here are accepted with any topology and algorithm.
    """
    return together(judge(router, advertised[router], local) for router in sorted(advertised))


def judge(router: IPv4Address, prefixes: Iterable[ExtendedPrefix], local: Mapping[int, SubDomain]) -> Verdict:
    """One router's advertisements, taken alone; `together` then gives what `accept` does."""
    ignored: list[Ignored] = []
    said = [
        _valid_encapsulations(Accepted(router, prefix.prefix, bier), ignored)
        for prefix in _bfr_prefixes(router, prefixes, ignored)
        for bier in prefix.bier
    ]
    # Both count what was advertised, whether or not some of it is ignored for another reason.
    overlap = _overlap(encapsulation for each in said for encapsulation in each.bier.encapsulations)
    sub_domains = Counter(each.bier.sub_domain for each in said)
    accepted = []
    for each in said:
        if overlap:
            reason: Reason | None = Reason.LABELS_OVERLAP
        elif sub_domains[each.bier.sub_domain] > 1:
            reason = Reason.REPEATED_SUB_DOMAIN
        else:
            reason = _fault(each.bier, local.get(each.bier.sub_domain))
        if reason:
            ignored.append(Ignored(router, each.prefix, each.bier, reason))
        else:
            accepted.append(each)
    return Verdict(tuple(accepted), tuple(ignored))


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Those of all routers, by router. A BFR-id that several have is nobody's; their labels and prefixes still count
    (RFC 8279 section 5)."""
    verdicts = tuple(verdicts)
    ignored = [each for verdict in verdicts for each in verdict.ignored]
    accepted = [each for verdict in verdicts for each in verdict.accepted]
    owners = Counter((each.bier.mt_id, each.bier.sub_domain, each.bier.bfr_id) for each in accepted)
    for place, each in enumerate(accepted):
        bier = each.bier
        if bier.bfr_id and owners[bier.mt_id, bier.sub_domain, bier.bfr_id] > 1:
            ignored.append(Ignored(each.router, each.prefix, bier, Reason.DUPLICATE_BFR_ID))
            accepted[place] = replace(each, bier=replace(bier, bfr_id=0))
    return Verdict(tuple(accepted), tuple(ignored))


def _bfr_prefixes(
    router: IPv4Address, prefixes: Iterable[ExtendedPrefix], ignored: list[Ignored]
) -> Iterator[ExtendedPrefix]:
    seen: set[IPv4Network] = set()
    for each in prefixes:
        if each.prefix in seen:
            ignored.append(Ignored(router, each.prefix, each, Reason.REPEATED_PREFIX))
        elif each.bier and each.prefix.prefixlen != each.prefix.max_prefixlen:
            ignored.append(Ignored(router, each.prefix, each, Reason.NOT_A_HOST))
        else:
            yield each
        seen.add(each.prefix)


def _valid_encapsulations(said: Accepted, ignored: list[Ignored]) -> Accepted:
    valid = []
    for each in said.bier.encapsulations:
        if each.bsl not in LENGTHS:
            ignored.append(Ignored(said.router, said.prefix, each, Reason.INVALID_LENGTH))
        elif each.labels[-1] > MAX_LABEL:
            ignored.append(Ignored(said.router, said.prefix, each, Reason.LABEL_TOO_HIGH))
        else:
            valid.append(each)
    return replace(said, bier=replace(said.bier, encapsulations=tuple(valid)))


def _overlap(encapsulations: Iterable[MplsEncapsulation]) -> bool:
    ranges = sorted((each.labels for each in encapsulations), key=lambda labels: labels.start)
    return any(after.start < before.stop for before, after in pairwise(ranges))


def _fault(bier: BierSubTlv, here: SubDomain | None) -> Reason | None:
    if bier.mt_id > _MAX_MT_ID:
        return Reason.INVALID_TOPOLOGY
    if here and bier.mt_id != here.mt_id:
        return Reason.OTHER_TOPOLOGY
    if here and (bier.bar, bier.ipa) != (here.bar, here.ipa):
        return Reason.OTHER_ALGORITHM
    if len({each.bsl for each in bier.encapsulations}) < len(bier.encapsulations):
        return Reason.REPEATED_LENGTH
    return None
