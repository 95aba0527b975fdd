"""The BIER agent of one router: from OSPF's link state database and the kernel's routes to the forwarder's BIFTs.

    python -m testbed.control.bier_agent CONFIG.json

It advertises the router's BFR-id through ospfd (RFC 8444's TLVs in a private-use opaque LSA), learns everybody else's
the same way, takes next hops from the kernel, and reprograms the forwarder when either changes. Nothing else tells it
of failures: BIER converges with the IGP because it hangs on the IGP. Flows come by command (RFC 8279 section 4.3), or
from what the hosts join. It runs in the router's namespaces, and ends with SIGTERM.

After a failure, the routes are what packets wait for: they are programmed before anything else is looked at. LSAs wait
until the routes are quiet, or lead to somebody who is not known yet; where tunnels lead around routers that are no BFRs
they tell more than the routes do, and do not wait.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType
from typing import Any

from testbed.control import bier_memory, tally
from testbed.control.bfrs import Bfrs, advertisement
from testbed.control.bier_config import COMMANDS, OPAQUE_TYPE, OVERLAY_IN, OVERLAY_OUT, BierConfig
from testbed.control.bier_flows import BierFlows
from testbed.control.bift import Bifts, Domain, NextHops
from testbed.control.commands import Answer, CommandServer
from testbed.control.joins import Joins
from testbed.control.membership import Membership
from testbed.control.ospf_api import Lost, LsaEvent, OspfApi, OspfApiError
from testbed.control.routes import Routes
from testbed.control.tunnels import Tunnels
from testbed.errors import ForwarderError
from testbed.forwarder.client import Forwarder
from testbed.forwarder.tables import Tables
from testbed.packet import Encapsulation
from testbed.packet.ospf_bier_accept import Ignored
from testbed.packet.ospf_lsa import LsaType

FAREWELL = 8.0  # seconds that a farewell may take
OSPF_PATIENCE = 2.0  # seconds for ospfd to answer: nothing else is served meanwhile
RETRY = 0.2  # seconds between attempts to reach an ospfd or a forwarder that is not there
QUIET = 0.02  # seconds without a change of routes that LSAs wait for
PATIENCE = 0.2  # seconds that they wait at most


class Agent:
    """Everything that one router's agent knows, and the loop that keeps it true."""

    def __init__(self, config: BierConfig) -> None:
        self.config = config
        mpls = config.encapsulation == "mpls"
        encapsulation = Encapsulation.MPLS if mpls else Encapsulation.NON_MPLS
        domain = Domain(
            config.sd,
            config.bsl,
            encapsulation,
            config.first_bift_id,
            bfr_id=config.bfr_id,
            context=OVERLAY_OUT,
            mtu=config.mtu,
            ways=config.ways,
        )
        self.nexthops = NextHops()
        self.bifts = Bifts(domain, self.nexthops)
        self.bfrs = Bfrs(config.sd, config.bsl, config.hold, None if mpls else config.first_bift_id)
        self.routes = Routes()
        self.tunnels = Tunnels(config.prefix)
        self.membership = Membership(list(config.lans))
        self.flows = BierFlows(config)
        self.joins = Joins(config.bfr_id, self.bfrs.router_of)
        self.api = OspfApi(timeout=OSPF_PATIENCE)
        self.forwarder = Forwarder(Path(config.forwarder))
        self.programmed = False
        self.learned = False  # whether there ever was an ospfd: until then the forwarder's tables are better than ours
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._watched: tuple[int, ...] = ()
        self._conversation: socket.socket | None = None
        self._events = open(config.events, "a", buffering=1)  # noqa: SIM115  (as long as the agent)
        self._known: dict[IPv4Address, int] = {}
        self._near: dict[IPv4Address, int] = {}
        self._ignored: tuple[Ignored, ...] = ()
        self._claims: bool | None = None  # whether the BFR-id is advertised as ours; None: nothing is advertised yet
        self.tally: Counter[str] = Counter()  # control messages, and their bytes
        self._since: float | None = None  # when the oldest change came that the forwarder does not know yet
        self._cause = ""  # what that was
        self._routes_at = 0.0  # when they last changed
        self._lsas_at: float | None = None  # since when there are LSAs to be read

    def run(self) -> None:
        """Serve until SIGTERM; then say farewell, so that nobody waits for this router."""
        wake, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a signal ends the waiting, whenever it comes
        signal.set_wakeup_fd(signalled)
        self._selector.register(wake, selectors.EVENT_READ, lambda: None)
        self._selector.register(self.routes, selectors.EVENT_READ, self._routes_changed)
        self._selector.register(self.membership, selectors.EVENT_READ, self._members_changed)
        CommandServer(self._selector, (self.config.loopback, COMMANDS), lambda command, _: self._command(command))
        self.api.register(OPAQUE_TYPE)
        self._adopt()
        for prefix, hops in self.routes.current().items():
            self.tunnels.set_route(prefix, hops)
        frozen = False
        while not self.stopping:
            self._connect()
            self._program()
            self._watch_forwarder()
            if self.programmed and not frozen:
                gc.collect()
                gc.freeze()  # what is here now stays: no collection has to look at it again when time matters
                frozen = True
            ready: list[Callable[[], None]] = [key.data for key, _ in self._selector.select(self._timeout())]
            if self._routes_changed in ready:
                ready.remove(self._routes_changed)
                self._routes_changed()
                self._program()
            for callback in ready:
                callback()
            self._look_at_the_time()
        self._farewell()

    def stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    # -- what is heard -----------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Be connected to ospfd, if it is there; watch what is to be watched."""
        try:
            if not self.api.connected:
                self._watch(())  # before there are new ones with the old numbers
                self.api.connect()
                self.learned = True
                self._report("ospf-connected", {})
                self._read_lsas()
            if self.api.connected and not self._claims:
                self._advertise()
        except OspfApiError:
            pass
        self._watch(self.api.filenos() if self._lsas_at is None else ())  # what waits would wake us all the while

    def _watch(self, fds: tuple[int, ...]) -> None:
        """Hear of LSAs by these, and by no others."""
        if fds != self._watched:
            for fd in self._watched:
                self._selector.unregister(fd)
            self._watched = fds
            for fd in self._watched:
                self._selector.register(fd, selectors.EVENT_READ, self._lsas_changed)

    def _lsas_changed(self) -> None:
        self._lsas_at = time.monotonic()
        if self.tunnels.in_use:  # whose ends LSAs tell, and no route
            self._read_lsas()

    def _read_lsas(self) -> None:
        matters, self._lsas_at, since = False, None, self._lsas_at
        for event in self.api.process():
            if isinstance(event, LsaEvent):
                self.tally.update(tally.of_lsa(event, self.api.router_id))
                if self.tunnels.update(event.change, event.lsa):
                    self._note(since or event.t, "lsa")
                if self.bfrs.update(event.t, event.change, event.lsa):
                    matters = True
                    self._note(since or event.t, "lsa")
            elif isinstance(event, Lost):
                self._report("ospf-lost", {"why": event.why})
        if matters:
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
            self._report("bfrs", {"bfers": sum(1 for bfr_id in known.values() if bfr_id), "ignored": ignored})
        self._ignored = self.bfrs.ignored
        self._known, self._near = known, near
        self.tunnels.set_bfrs(bfrs, near, time.monotonic())

    def _routes_changed(self) -> None:
        t = time.monotonic()
        changed = self.routes.changed()
        if not changed:
            return
        for prefix, hops in changed.items():
            self.tunnels.set_route(prefix, hops)
        self._routes_at = t
        self._note(t, "route")
        if self._lsas_at is not None and any(hop.via not in self._near for hops in changed.values() for hop in hops):
            self._read_lsas()  # which say who that is

    def _look_at_the_time(self) -> None:
        """Do what is to be done now, though nothing has happened."""
        now = time.monotonic()
        if (due := self._lsas_due()) is not None and due <= now:
            self._read_lsas()
        if self.bfrs.expire(now):
            self._bfrs_changed()
        if self.membership.expire(now):
            self._members_are()

    def _lsas_due(self) -> float | None:
        """When the LSAs that wait are to be read, None: there are none."""
        if self._lsas_at is None:
            return None
        return min(max(self._lsas_at, self._routes_at) + QUIET, self._lsas_at + PATIENCE)

    def _members_changed(self) -> None:
        if self.membership.changed():
            self._members_are()

    def _members_are(self) -> None:
        self.flows.set_members(self.membership.members)
        self._note(time.monotonic(), "members")
        if self.config.signalling == "igmp":
            self.joins.want({(m.source, m.group) for m in self.membership.members})

    def _command(self, command: Answer) -> Answer:
        """See docs/bier.md: flow, join, leave, state."""
        what = command["op"]
        self.tally.update(tally.of_command(command))
        if what == "flow":
            source = IPv4Address(command["source"]) if command.get("source") else None
            bfers = frozenset(int(bfr_id) for bfr_id in command["bfers"])
            self.flows.set_flow(source, IPv4Address(command["group"]), bfers)
        elif what in ("join", "leave"):
            source = IPv4Address(command["source"]) if command.get("source") else None
            self.flows.change(source, IPv4Address(command["group"]), int(command["bfr_id"]), joins=what == "join")
        elif what == "state":
            return {
                "connected": self.api.connected,
                "programmed": self.programmed,
                "bfers": sum(1 for bfr_id in self._known.values() if bfr_id),
                "entries": self.bifts.entries,
                "flows": self.flows.count,
                "members": len(self.membership.members),
                "control": dict(self.tally),
            }
        else:
            raise ValueError(f"unknown op {what!r}: flow, join, leave, state")
        self._remember()
        self._note(time.monotonic(), "flow")
        self._program()
        return {"ok": True, "t": time.monotonic(), "programmed": self.programmed}

    # -- what follows ------------------------------------------------------------------------------------------------

    def _program(self) -> None:
        """Bring the forwarder up to date, in one transaction."""
        if not self.learned:
            return
        try:
            if not self.programmed:
                self.bifts.forget()
                self.nexthops.forget()
                self.flows.forget()
                self.forwarder.replace(Tables.parse("\n".join(self._static() + self._changes())))
                self.programmed = True
                self._report_bift(-1)
            elif lines := self._changes():
                self.forwarder.update(lines)
                self._report_bift(len(lines))
            self._since = None
        except ForwarderError as error:
            if self.programmed:  # else it is known already, and tried again
                self._report("forwarder-error", {"why": str(error)})
            self.programmed = False

    def _watch_forwarder(self) -> None:
        """A forwarder that ends is noticed by its hanging up, not by the next change."""
        connection = self.forwarder.connection if self.programmed else None
        if connection is self._conversation:
            return
        if self._conversation is not None:
            self._selector.unregister(self._conversation)
        self._conversation = connection
        if connection is not None:
            self._selector.register(connection, selectors.EVENT_READ, self._forwarder_gone)

    def _forwarder_gone(self) -> None:
        self._report("forwarder-gone", {})
        self.programmed = False
        self._watch_forwarder()
        self.forwarder.close()

    def _changes(self) -> list[str]:
        for prefix, hops in self.tunnels.changes(time.monotonic()):
            self.bifts.set_route(prefix, hops)
        bifts = self.bifts.changes()
        return [*self.nexthops.changes(), *bifts, *self.flows.changes(self.bifts.sets)]

    def _static(self) -> list[str]:
        lines = [f"node tunnel {self.config.loopback}"]
        lines += [f"port {name} transport" for name in self.config.transport]
        return lines + [f"port {name} context {OVERLAY_IN}" for name in self.config.lans]

    def _adopt(self) -> None:
        """A predecessor's flows, from a forwarder that went on without him; else those that he remembered."""
        with contextlib.suppress(ForwarderError):
            self.membership.adopt(self.flows.adopt(self.forwarder.tables()), time.monotonic())
        if not self.flows.count and self.config.state:
            try:
                for (source, group), bfers in bier_memory.read(Path(self.config.state)).items():
                    self.flows.set_flow(source, group, bfers)
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                self._report("state-lost", {"why": str(error)})

    def _remember(self) -> None:
        try:
            if self.config.state:
                bier_memory.write(Path(self.config.state), self.flows.bfers)
        except OSError as error:  # the forwarder has it, and that is what counts
            self._report("state-not-written", {"why": str(error)})

    def _advertise(self) -> None:
        """Say what this router is. A BFR-id that another router has already is not claimed as long as it has it: RFC
        8279 section 5 spares those who were first. Once claimed, it is never given back for that reason."""
        others = self.bfrs.holders(self.config.bfr_id) - {self.config.prefix} if self.config.bfr_id else set()
        if self._claims is None or not others:
            self._claims = not others
            self.api.originate(OPAQUE_TYPE, self.config.sd, self._advertisement(0 if others else self.config.bfr_id))
            if others:
                detail = {"bfr_id": self.config.bfr_id, "by": sorted(map(str, others))}
                self._report("bfr-id-taken", detail)
            self._read_lsas()  # what came while ospfd was asked

    def _advertisement(self, bfr_id: int) -> bytes:
        label = self.config.first_bift_id if self.config.encapsulation == "mpls" else None
        config = self.config
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
                    self._report("farewell", {})
                    return
                select.select(self.api.filenos(), (), (), end - time.monotonic())
        except OspfApiError as error:
            self._report("farewell-failed", {"why": str(error)})

    def _timeout(self) -> float | None:
        """How long to wait for something to happen: for ever, but for what is to be tried again."""
        waits = [RETRY] if not self.api.connected or not self.programmed else []
        expiries = (self._lsas_due(), self.bfrs.next_expiry(), self.membership.confirm_by, self.tunnels.due)
        waits += [max(0.0, expiry - time.monotonic()) for expiry in expiries if expiry is not None]
        return min(waits, default=None)

    def _note(self, t: float, cause: str) -> None:
        if self._since is None:
            self._since, self._cause = t, cause

    def _report_bift(self, lines: int) -> None:
        cause = self._cause if self._since is not None else ""
        self._report("bift", {"lines": lines, "since": self._since, "cause": cause})

    def _report(self, kind: str, detail: dict[str, Any]) -> None:
        self._events.write(json.dumps({"t": time.monotonic(), "kind": kind, "detail": detail}) + "\n")


def main() -> None:
    agent = Agent(BierConfig.read(Path(sys.argv[1])))
    signal.signal(signal.SIGTERM, agent.stop)
    agent.run()


if __name__ == "__main__":
    main()
