"""The BIFTs of one router, kept in step with routes and BFR-ids (RFC 8279 sections 6.3, 6.4, 6.7.2).

What the agent learns goes in, lines of the forwarder's control language come out: only those that changed. Pure; the
agent owns the sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.packet import Encapsulation

LOCAL = 0  # the index of the path for the router's own bit; next hops count from 1
NO_TUNNEL = IPv4Address(0)
DROP = 65535  # that of the path for BFERs that are known and cannot be reached: a null next hop


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """A BFR-NBR as a route names it: the interface, and the neighbour's address on it; behind a router that is no BFR,
    the BFR-prefix of the BFR to which a tunnel leads through there."""

    port: str
    via: IPv4Address
    tunnel: IPv4Address = NO_TUNNEL

    @property
    def bfr(self) -> IPv4Address:
        """The address that says which BFR it is."""
        return self.via if self.tunnel == NO_TUNNEL else self.tunnel

    def line(self, number: int) -> str:
        """The next hop in the forwarder's control language."""
        tunnel = "" if self.tunnel == NO_TUNNEL else f" tunnel {self.tunnel}"
        return f"nexthop {number} port {self.port} via {self.via}{tunnel}"


@dataclass(frozen=True, slots=True)
class Domain:
    """One sub-domain as this router takes part in it. `bfr_id` 0: it has none (RFC 8279 section 2), and only transits.

    `first_bift_id`: of SI 0, the others follow; with MPLS it is this router's own label base. `context`: of the flows
    at a BFER. `mtu`: of a BIER packet, 0 if nothing is known of it. `ways`: how many BIFTs share the load by entropy.
    """

    sd: int
    bsl: int
    encapsulation: Encapsulation
    first_bift_id: int
    bfr_id: int = 0
    context: int = 0
    mtu: int = 0
    ways: int = 1


@dataclass(frozen=True, slots=True)
class Bfer:
    """Where a BFR-id is: BIFT by set identifier, bit from 1 (RFC 8279 section 3)."""

    si: int
    bit: int

    @classmethod
    def of(cls, bfr_id: int, bsl: int) -> Bfer:
        return cls((bfr_id - 1) // bsl, (bfr_id - 1) % bsl)


class Bifts:
    """All BIFTs of one sub-domain of one router.

    Feed it `set_bfr` (from the link-state database) and `set_route` (from the kernel); `changes()` then gives the lines
    of one update that brings the forwarder from where the last call left it to where it should be.
    """

    def __init__(self, domain: Domain, nexthops: NextHops) -> None:
        self.domain = domain
        self._nexthops = nexthops
        self._ids: dict[IPv4Address, int] = {}
        self._neighbours: dict[IPv4Address, int] = {}
        self._hops: dict[IPv4Address, tuple[Hop, ...]] = {}
        self._masks: dict[tuple[int, int, int], int] = {}  # (SI, way, index) -> F-BM
        self._dirty: set[tuple[int, int, int]] = set()
        self._told: dict[tuple[int, int, int], int] = {}
        self._renamed: set[tuple[int, int, int]] = set()  # to be told anew though their F-BM is the same
        self._bifts: set[int] = set()
        if domain.bfr_id:
            own = Bfer.of(domain.bfr_id, domain.bsl)
            for way in range(domain.ways):
                self._flip(own, way, LOCAL)

    def set_bfr(self, prefix: IPv4Address, bfr_id: int) -> None:
        """A BFR by its BFR-prefix, with its BFR-id; 0: it has none, or is none any more. Its own is not for here."""
        before = self._ids.get(prefix, 0)
        if before == bfr_id:
            return
        if before:
            self._place(prefix, before)
        if bfr_id:
            self._ids[prefix] = bfr_id
            self._place(prefix, bfr_id)
        else:
            del self._ids[prefix]

    def set_route(self, prefix: IPv4Address, hops: Iterable[Hop]) -> None:
        """The next hops of the kernel's route to a BFR-prefix; none: there is no route."""
        new = tuple(sorted(hops))
        old = self._hops.get(prefix, ())
        if new == old:
            return
        bfr_id = self._ids.get(prefix, 0)
        if bfr_id:
            self._place(prefix, bfr_id)
        if new:
            self._hops[prefix] = new
        else:
            del self._hops[prefix]
        if bfr_id:
            self._place(prefix, bfr_id)

    def set_neighbour(self, via: IPv4Address, first_bift_id: int | None) -> None:
        """What the BFR with this address or BFR-prefix calls its BIFT of SI 0: its label base with MPLS, else what the
        whole domain calls it. None: it is no BFR, and gets no packets."""
        if self._neighbours.get(via) == first_bift_id:
            return
        if first_bift_id is None:
            del self._neighbours[via]
        else:
            self._neighbours[via] = first_bift_id
        indices = {index for index, hop in self._nexthops.known() if hop.bfr == via}
        for key in self._masks:
            if key[2] in indices:
                self._dirty.add(key)
                self._renamed.add(key)

    @property
    def sets(self) -> frozenset[int]:
        """The set identifiers that the forwarder has a BIFT for, as of the last `changes()`."""
        return frozenset(self._bifts)

    def forget(self) -> None:
        """The forwarder has lost its tables: the next `changes()` are all there is."""
        self._told.clear()
        self._bifts.clear()
        self._dirty = set(self._masks)

    @property
    def entries(self) -> int:
        """Rows of the BIFTs: one a reachable BFER, one way counted."""
        return sum(mask.bit_count() for (_, way, index), mask in self._masks.items() if way == 0 and self._leads(index))

    def changes(self) -> list[str]:
        """The lines to be sent, and to be sent only once."""
        lines: list[str] = []
        wanted = {si for (si, _, _), mask in self._masks.items() if mask}
        lines += [self._bift_line(si) for si in sorted(wanted - self._bifts)]
        for key in sorted(self._dirty):
            mask = self._masks.get(key, 0)
            if not mask:
                self._masks.pop(key, None)
            if key[0] not in wanted or (self._told.get(key, 0) == mask and not (mask and key in self._renamed)):
                continue
            lines.append(self._path_line(key, mask))
            if mask:
                self._told[key] = mask
            else:
                del self._told[key]
        for si in sorted(self._bifts - wanted):
            lines.append(f"del bift {self._encap} {self._id(si)}")
            for key in [key for key in self._told if key[0] == si]:
                del self._told[key]
        self._bifts = wanted
        self._dirty.clear()
        self._renamed.clear()
        return lines

    # -- inside ------------------------------------------------------------------------------------------------------

    def _place(self, prefix: IPv4Address, bfr_id: int) -> None:
        """Put a BFER's bit where its route leads, or take it away from there: the same flip does either."""
        bfer, hops = Bfer.of(bfr_id, self.domain.bsl), self._hops.get(prefix, ())
        for way in range(self.domain.ways):
            # One neighbour a way, so that equal entropy means equal paths (RFC 8279 section 6.7.2).
            self._flip(bfer, way, self._nexthops.number(hops[way % len(hops)]) if hops else DROP)

    def _leads(self, index: int) -> bool:
        """Whether a path leads anywhere."""
        if index in (LOCAL, DROP):
            return index == LOCAL
        return self._nexthops.hop(index).bfr in self._neighbours

    def _flip(self, bfer: Bfer, way: int, index: int) -> None:
        key = (bfer.si, way, index)
        self._masks[key] = self._masks.get(key, 0) ^ 1 << bfer.bit
        self._dirty.add(key)

    @property
    def _encap(self) -> str:
        return "mpls" if self.domain.encapsulation is Encapsulation.MPLS else "ethernet"

    def _id(self, si: int) -> int:
        return self.domain.first_bift_id + si

    def _bift_line(self, si: int) -> str:
        d = self.domain
        options = [(" bfr-id", d.bfr_id), (" context", d.context), (" mtu", d.mtu)]
        rest = "".join(f"{name} {value}" for name, value in options if value)
        return f"bift {self._encap} {self._id(si)} sd {d.sd} si {si} bsl {d.bsl}{rest}"

    def _path_line(self, key: tuple[int, int, int], mask: int) -> str:
        si, way, index = key
        head = f"path {self._encap} {self._id(si)} {way} {index}"
        if not mask:
            return f"del {head}"
        if index == LOCAL:
            return f"{head} fbm {mask:x} local"
        first = self._neighbours.get(self._nexthops.hop(index).bfr) if index != DROP else None
        if first is None:
            return f"{head} fbm {mask:x} drop"
        return f"{head} fbm {mask:x} nexthop {index}" + (f" as {first + si}" if first + si != self._id(si) else "")


class NextHops:
    """Numbers for next hops, shared by all sub-domains of a router; a number is never given twice."""

    def __init__(self) -> None:
        self._numbers: dict[Hop, int] = {}
        self._hops: dict[int, Hop] = {}
        self._told = 0

    def number(self, hop: Hop) -> int:
        number = self._numbers.setdefault(hop, len(self._numbers) + 1)
        self._hops[number] = hop
        return number

    def hop(self, number: int) -> Hop:
        return self._hops[number]

    def known(self) -> Iterable[tuple[int, Hop]]:
        return self._hops.items()

    def forget(self) -> None:
        self._told = 0

    def changes(self) -> list[str]:
        """Lines for the next hops that were numbered since the last call."""
        new = [hop.line(n) for n, hop in self._hops.items() if n > self._told]
        self._told = len(self._hops)
        return new


def as_mapping(bifts: Bifts) -> Mapping[tuple[int, int, int], int]:
    """(SI, way, index) -> F-BM as it should be now; for tests and state reports."""
    return {key: mask for key, mask in bifts._masks.items() if mask}
