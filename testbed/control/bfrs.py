"""Which routers are BFRs, as the link state database has it: RFC 8444's advertisements, judged and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.control.bier_config import OPAQUE_TYPE
from testbed.control.lsdb import Change
from testbed.packet.error import PacketError
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation, decode_prefixes, encode_prefixes
from testbed.packet.ospf_bier_accept import Ignored, Reason, SubDomain, Verdict, judge, together
from testbed.packet.ospf_lsa import LinkType, Lsa, LsaKey, LsaType, RouterLink, RouterLsa

_ONE_ADDRESS = IPv4Address("255.255.255.255")  # as a mask


@dataclass(frozen=True, slots=True)
class Bfr:
    """A BFR of the sub-domain. `first_bift_id`: what it calls the BIFT of SI 0 (its label base with MPLS)."""

    router: IPv4Address
    prefix: IPv4Address
    bfr_id: int
    first_bift_id: int


def advertisement(
    prefix: IPv4Address, sd: int, bfr_id: int, label: int | None = None, bsl: int = 256, max_si: int = 0
) -> bytes:
    """The body of this router's opaque LSA: its BFR-prefix with a BIER Sub-TLV, and its labels if there are any.

    Without MPLS nothing is said of encapsulation: the extension for that is a draft without code points.
    """
    encapsulations = (MplsEncapsulation(label, bsl, max_si),) if label is not None else ()
    bier = BierSubTlv(sd, bfr_id, encapsulations=encapsulations)
    return encode_prefixes([ExtendedPrefix(IPv4Network(prefix), (bier,))])


class Bfrs:
    """What is advertised in one sub-domain. Of an LSA that comes, only its own router's part is judged anew.

    An advertisement that goes without a farewell (one with BFR-id 0) is remembered for `hold` seconds: ospfd flushes it
    when the agent dies, and the router goes on forwarding. Whoever is really gone has no route any more.
    """

    def __init__(self, sd: int, bsl: int, hold: float, common_bift_id: int | None) -> None:
        """`common_bift_id`: what the whole domain calls the BIFT of SI 0, None with MPLS."""
        self._sd, self._bsl, self._hold, self._common = sd, bsl, hold, common_bift_id
        self._bodies: dict[IPv4Address, dict[LsaKey, tuple[ExtendedPrefix, ...]]] = {}  # by advertising router
        self._verdicts: dict[IPv4Address, Verdict] = {}  # on each router alone
        self._accepted: list[Bfr] | None = None  # None: not known at present
        self._doomed: dict[LsaKey, float] = {}
        self._interfaces: dict[IPv4Address, frozenset[IPv4Address]] = {}
        self._stubs: dict[IPv4Address, tuple[RouterLink, ...]] = {}
        self.ignored: tuple[Ignored, ...] = ()

    def update(self, t: float, change: Change, lsa: Lsa) -> bool:
        """Take an LSA over; whether it may matter. `t`: CLOCK_MONOTONIC."""
        if change is Change.REFRESHED:
            return False
        if lsa.type == LsaType.ROUTER:
            return self._router(change, lsa)
        if lsa.type != LsaType.OPAQUE_AREA or lsa.opaque_type != OPAQUE_TYPE:
            return False
        if change is Change.DELETED:
            known = self._bodies.get(lsa.advertising_router, {}).get(lsa.key)
            if any(bier.bfr_id for prefix in known or () for bier in prefix.bier):
                self._doomed[lsa.key] = t + self._hold
                return False
            return self._put(lsa.key, None)
        self._doomed.pop(lsa.key, None)
        try:
            return self._put(lsa.key, decode_prefixes(lsa.body))
        except PacketError:
            return self._put(lsa.key, None)

    def expire(self, t: float) -> bool:
        """Forget those whose time is over; whether there were any."""
        over = [key for key, end in self._doomed.items() if end <= t]
        for key in over:
            del self._doomed[key]
            self._put(key, None)
        return bool(over)

    def next_expiry(self) -> float | None:
        return min(self._doomed.values(), default=None)

    def accepted(self) -> list[Bfr]:
        """Every BFR of the sub-domain that RFC 8444's rules leave, this router included."""
        if self._accepted is None:
            verdict = together(self._verdicts[router] for router in sorted(self._verdicts))
            self.ignored = verdict.ignored
            self._accepted = []
            for one in verdict.accepted:
                first = self._common
                if first is None:
                    first = next((e.label for e in one.bier.encapsulations if e.bsl == self._bsl), None)
                if one.bier.sub_domain == self._sd and first is not None:
                    self._accepted.append(Bfr(one.router, one.prefix.network_address, one.bier.bfr_id, first))
        return self._accepted

    def holders(self, bfr_id: int) -> set[IPv4Address]:
        """The routers that advertise a BFR-id in the sub-domain: several, if it is nobody's (RFC 8279 section 5)."""
        found = {bfr.router for bfr in self.accepted() if bfr.bfr_id == bfr_id}
        twice = [each for each in self.ignored if each.reason is Reason.DUPLICATE_BFR_ID]
        return found | {
            each.router
            for each in twice
            if isinstance(each.what, BierSubTlv) and (each.what.sub_domain, each.what.bfr_id) == (self._sd, bfr_id)
        }

    def neighbours(self, bfrs: Iterable[Bfr]) -> Mapping[IPv4Address, int]:
        """Interface address or BFR-prefix -> what its router calls the BIFT of SI 0, for every BFR."""
        return {
            address: bfr.first_bift_id
            for bfr in bfrs
            for address in (bfr.prefix, *self._interfaces.get(bfr.router, ()))
        }

    def router_of(self, address: IPv4Address) -> IPv4Address | None:
        """The router whose stub network an address is in: a source's first hop."""
        wanted = int(address)
        for router, stubs in tuple(self._stubs.items()):  # asked by another thread than that which learns
            if any((wanted ^ int(stub.id)) & int(stub.data) == 0 for stub in stubs):
                return router
        return None

    def _put(self, key: LsaKey, prefixes: tuple[ExtendedPrefix, ...] | None) -> bool:
        """What an LSA says now, None: nothing; whether that is something else than before."""
        router = key.advertising_router
        bodies = self._bodies.setdefault(router, {})
        if bodies.get(key) == prefixes:
            return False
        if prefixes is None:
            del bodies[key]
        else:
            bodies[key] = prefixes
        said = [prefix for key in sorted(bodies) for prefix in bodies[key]]
        self._verdicts[router] = judge(router, said, {self._sd: SubDomain()})
        self._accepted = None
        return True

    def _router(self, change: Change, lsa: Lsa) -> bool:
        router = lsa.advertising_router
        if change is Change.DELETED:
            self._stubs.pop(router, None)
            return self._interfaces.pop(router, None) is not None
        try:
            links = RouterLsa.decode(lsa.body).links
        except PacketError:
            return False
        addresses = frozenset(link.data for link in links if link.type in (LinkType.POINT_TO_POINT, LinkType.TRANSIT))
        self._stubs[router] = tuple(link for link in links if link.type == LinkType.STUB and link.data != _ONE_ADDRESS)
        changed = self._interfaces.get(router) != addresses
        self._interfaces[router] = addresses
        return changed
