"""The BIER agent of one router: from OSPF's link state database and the kernel's routes to the forwarder's BIFTs.

    python -m testbed.control.bier_agent CONFIG.json

It advertises the router's BFR-id through ospfd (RFC 8444's TLVs in a private-use opaque LSA), learns everybody else's
the same way, takes next hops from the kernel, and reprograms the forwarder when either changes. Nothing else tells it
of failures: BIER converges with the IGP because it hangs on the IGP. Flows come by command (RFC 8279 section 4.3), or
from what the hosts join. It runs in the router's namespaces, and ends with SIGTERM.
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

from testbed.control import bier_memory, tally
from testbed.control.bfrs import Bfrs, advertisement
from testbed.control.bier_config import COMMANDS, OPAQUE_TYPE, OVERLAY_IN, OVERLAY_OUT, BierConfig
from testbed.control.bier_flows import BierFlows
from testbed.control.bift import Bifts, Domain, Hop, NextHops
from testbed.control.commands import Answer, Peer
from testbed.control.joins import Joins
from testbed.control.ospf_api import LsaEvent, OspfApiError
from testbed.control.router_agent import RouterAgent
from testbed.control.tunnels import Tunnels
from testbed.errors import ForwarderError
from testbed.packet import Encapsulation
from testbed.packet.ospf_bier_accept import Ignored
from testbed.packet.ospf_lsa import LsaType

FAREWELL = 8.0  # seconds that a farewell may take


class BierAgent(RouterAgent):
    """What one router knows of the BIER domain, and what follows for its BIFTs and flows."""

    def __init__(self, config: BierConfig) -> None:
        commands = (config.loopback, COMMANDS)
        super().__init__(forwarder=config.forwarder, events=config.events, lans=config.lans, commands=commands)
        self.config = config
        mpls = config.encapsulation == "mpls"
        domain = Domain(
            config.sd,
            config.bsl,
            Encapsulation.MPLS if mpls else Encapsulation.NON_MPLS,
            config.first_bift_id,
            bfr_id=config.bfr_id,
            context=OVERLAY_OUT,
            mtu=config.mtu,
            ways=config.ways,
        )
        self._nexthops = NextHops()
        self.bifts = Bifts(domain, self._nexthops)
        self.bfrs = Bfrs(config.sd, config.bsl, config.hold, None if mpls else config.first_bift_id)
        self.tunnels = Tunnels(config.prefix)
        self.flows = BierFlows(config)
        self._joins = Joins(config.bfr_id, self.bfrs.router_of)
        self._known: dict[IPv4Address, int] = {}
        self._near: dict[IPv4Address, int] = {}
        self._ignored: tuple[Ignored, ...] = ()
        self._bfrs_matter = False  # whether LSAs came that may tell other BFRs
        self._claims: bool | None = None  # whether the BFR-id is advertised as ours; None: nothing is advertised yet
        self._tally: Counter[str] = Counter()  # control messages, and their bytes
        self.api.register(OPAQUE_TYPE)
        self._adopt()

    def run(self) -> None:
        """Serve until SIGTERM; then say farewell, so that nobody waits for this router."""
        super().run()
        self._farewell()

    # -- for the forwarder ---------------------------------------------------------------------------------------------

    def everything(self) -> list[str]:
        self.bifts.forget()
        self._nexthops.forget()
        self.flows.forget()
        lines = [f"node tunnel {self.config.loopback}"]
        lines += [f"port {name} transport" for name in self.config.transport]
        lines += [f"port {name} context {OVERLAY_IN}" for name in self.config.lans]
        return lines + self.changes()

    def changes(self) -> list[str]:
        for prefix, hops in self.tunnels.changes(time.monotonic()):
            self.bifts.set_route(prefix, hops)
        bifts = self.bifts.changes()
        return [*self._nexthops.changes(), *bifts, *self.flows.changes(self.bifts.sets)]

    def reprogrammed(self, lines: int, since: float | None, cause: str) -> None:
        self.report("bift", {"lines": lines, "since": since, "cause": cause})

    # -- what is heard -------------------------------------------------------------------------------------------------

    def routes_changed(self, changed: Mapping[IPv4Address, tuple[Hop, ...]]) -> bool:
        for prefix, hops in changed.items():
            self.tunnels.set_route(prefix, hops)
        return any(hop.via not in self._near for hops in changed.values() for hop in hops)  # LSAs say who that is

    def lsas_are_urgent(self) -> bool:
        return self.tunnels.in_use  # whose ends LSAs tell, and no route

    def lsa_changed(self, event: LsaEvent) -> bool:
        self._tally.update(tally.of_lsa(event, self.api.router_id))
        tunnels = self.tunnels.update(event.change, event.lsa)
        bfrs = self.bfrs.update(event.t, event.change, event.lsa)
        self._bfrs_matter |= bfrs
        return tunnels or bfrs

    def lsas_changed(self) -> None:
        if self._bfrs_matter:
            self._bfrs_matter = False
            self._bfrs_changed()

    def _bfrs_changed(self) -> None:
        bfrs = self.bfrs.accepted()
        known = {bfr.prefix: bfr.bfr_id for bfr in bfrs if bfr.prefix != self.config.prefix}
        near = dict(self.bfrs.neighbours(bfrs))
        for prefix in self._known.keys() - known.keys():
            self.bifts.set_bfr(prefix, 0)
        for prefix in sorted(known, key=lambda each: known[each] != 0):  # ids are given up before they are taken
            self.bifts.set_bfr(prefix, known[prefix])
        for via in self._near.keys() - near.keys():
            self.bifts.set_neighbour(via, None)
        for via, first in near.items():
            self.bifts.set_neighbour(via, first)
        if known != self._known or self.bfrs.ignored != self._ignored:
            ignored = [str(each) for each in self.bfrs.ignored]
            self.report("bfrs", {"bfers": sum(1 for bfr_id in known.values() if bfr_id), "ignored": ignored})
        self._ignored = self.bfrs.ignored
        self._known, self._near = known, near
        self.tunnels.set_bfrs(bfrs, near, time.monotonic())

    def members_changed(self) -> None:
        self.flows.set_members(self.membership.members)
        if self.config.signalling == "igmp":
            self._joins.want({(m.source, m.group) for m in self.membership.members})

    def next_deadline(self) -> float | None:
        deadlines = (self.bfrs.next_expiry(), self.tunnels.due)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def look_at_the_time(self, now: float) -> None:
        if self.bfrs.expire(now):
            self._bfrs_changed()

    # -- what is commanded ---------------------------------------------------------------------------------------------

    def answer(self, command: Answer, peer: Peer) -> Answer:
        """See docs/bier.md: flow, join, leave, state."""
        what = command["op"]
        self._tally.update(tally.of_command(command))
        if what == "state":
            return self._state()
        if what not in ("flow", "join", "leave"):
            raise ValueError(f"unknown op {what!r:.60}: flow, join, leave, state")
        source = IPv4Address(command["source"]) if command.get("source") else None
        group = IPv4Address(command["group"])
        if what == "flow":
            self.flows.set_flow(source, group, frozenset(int(bfr_id) for bfr_id in command["bfers"]))
        else:
            self.flows.change(source, group, int(command["bfr_id"]), joins=what == "join")
        self._remember()
        self.note(time.monotonic(), "flow")
        self.program()
        return {"ok": True, "t": time.monotonic(), "programmed": self.programmed}

    def _state(self) -> Answer:
        return {
            "connected": self.api.connected,
            "programmed": self.programmed,
            "bfers": sum(1 for bfr_id in self._known.values() if bfr_id),
            "entries": self.bifts.entries,
            "flows": self.flows.count,
            "members": len(self.membership.members),
            "control": dict(self._tally),
        }

    # -- what is said to ospfd -----------------------------------------------------------------------------------------

    def speak(self) -> None:
        """Say what this router is. A BFR-id that another router has already is not claimed as long as it has it: RFC
        8279 section 5 spares those who were first. Once claimed, it is never given back for that reason."""
        if self._claims:
            return
        others = self.bfrs.holders(self.config.bfr_id) - {self.config.prefix} if self.config.bfr_id else set()
        if self._claims is None or not others:
            self._claims = not others
            self.api.originate(OPAQUE_TYPE, self.config.sd, self._advertisement(0 if others else self.config.bfr_id))
            if others:
                self.report("bfr-id-taken", {"bfr_id": self.config.bfr_id, "by": sorted(map(str, others))})
            self.read_lsas()  # what came while ospfd was asked

    def _advertisement(self, bfr_id: int) -> bytes:
        config = self.config
        label = config.first_bift_id if config.encapsulation == "mpls" else None
        return advertisement(config.prefix, config.sd, bfr_id, label, config.bsl, config.max_si)

    def _farewell(self) -> None:
        """Give the BFR-id up, and stay until ospfd has said so: FRR 8.4 holds a new instance of an LSA back for up to
        5 s (MinLSInterval, RFC 2328 appendix B). That the LSA itself goes with our connection is ospfd's business."""
        body = self._advertisement(0)
        end = time.monotonic() + FAREWELL
        try:
            if self.api.connected:
                self.api.originate(OPAQUE_TYPE, self.config.sd, body)
            while self.api.connected and time.monotonic() < end:
                self.api.process()
                if any(lsa.body == body for lsa in self.api.lsdb.of_type(LsaType.OPAQUE_AREA)):
                    self.report("farewell", {})
                    return
                select.select(self.api.filenos(), (), (), end - time.monotonic())
        except OspfApiError as error:
            self.report("farewell-failed", {"why": str(error)})

    # -- what outlives it ----------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """A predecessor's flows, from a forwarder that went on without him; else those that he remembered."""
        with contextlib.suppress(ForwarderError):
            members = self.flows.adopt(self.programmer.forwarder.tables())
            self.membership.adopt(members, time.monotonic())
        if not self.flows.count and self.config.state:
            try:
                for (source, group), bfers in bier_memory.read(Path(self.config.state)).items():
                    self.flows.set_flow(source, group, bfers)
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                self.report("state-lost", {"why": str(error)})

    def _remember(self) -> None:
        try:
            if self.config.state:
                bier_memory.write(Path(self.config.state), self.flows.bfers)
        except OSError as error:  # the forwarder has it, and that is what counts
            self.report("state-not-written", {"why": str(error)})


def main() -> None:
    BierAgent(BierConfig.read(Path(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
