"""What the agents of a router have in common: the loop that follows ospfd, the kernel's routes and the hosts' joins,
answers commands and keeps the forwarder up to date.

After a failure, the routes are what packets wait for: they are programmed before anything else is looked at. LSAs wait
until the routes are quiet, or until what a route leads to can be told by nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType
from typing import Any

from testbed.control.bift import Hop
from testbed.control.commands import Answer, CommandServer, Peer
from testbed.control.membership import Membership
from testbed.control.ospf_api import Event, Lost, LsaEvent, OspfApi, OspfApiError
from testbed.control.programmer import Programmer
from testbed.control.routes import Routes

OSPF_PATIENCE = 2.0  # seconds for ospfd to answer: nothing else is served meanwhile
RETRY = 0.2  # seconds between attempts to reach an ospfd or a forwarder that is not there
QUIET = 0.02  # seconds without a change of routes that LSAs wait for
PATIENCE = 0.2  # seconds that they wait at most


class RouterAgent(ABC):
    """One router's agent. A subclass says what follows from what is heard; it is the `Source` of the forwarder's rows.

    Made, and run, in the router's namespaces. Until it has heard from ospfd for the first time it leaves the forwarder
    alone, whose tables of a predecessor's time are better than none.
    """

    def __init__(
        self, *, forwarder: str, events: str, lans: Iterable[str], commands: tuple[str, int], follow_routes: bool = True
    ) -> None:
        """`forwarder`: its control socket; `events`: the file to report to; `commands`: where to listen for those.
        `follow_routes`: whether its rows hang on routes; else it is spared them, and LSAs wait longer."""
        self._events = open(events, "a", buffering=1)  # noqa: SIM115  (as long as the agent)
        self._selector = selectors.DefaultSelector()
        self.routes = Routes() if follow_routes else None
        self.membership = Membership(list(lans))
        self.api = OspfApi(timeout=OSPF_PATIENCE)
        self.programmer = Programmer(Path(forwarder), self, self._selector, self.report)
        self.learned = False  # whether there ever was an ospfd
        self.server = CommandServer(self._selector, commands, self.answer)
        self._stopping = False
        self._watched: tuple[int, ...] = ()
        self._since: float | None = None  # when the oldest change came that the forwarder does not know yet
        self._cause = ""  # what that was
        self._routes_at = 0.0  # when they last changed
        self._lsas_at: float | None = None  # since when there are LSAs to be read

    # -- what a subclass says ----------------------------------------------------------------------------------------

    @abstractmethod
    def everything(self) -> list[str]:
        """All rows for the forwarder; `changes` are those that come later."""

    @abstractmethod
    def changes(self) -> list[str]:
        """The lines of an update, to be sent, and to be sent only once."""

    @abstractmethod
    def routes_changed(self, changed: Mapping[IPv4Address, tuple[Hop, ...]]) -> bool:
        """Routes to these addresses lead elsewhere; whether that cannot be understood without the LSAs that wait."""

    def lsas_are_urgent(self) -> bool:
        """Whether what LSAs tell at present can be told by no route, so that they must not wait for those."""
        return False

    def speak(self) -> None:  # noqa: B027  (some have said it all before)
        """Say what is to be said to ospfd, which is connected: asked each time something was heard. Raises
        OspfApiError."""

    @abstractmethod
    def lsa_changed(self, event: LsaEvent) -> bool:
        """Take an LSA in; whether it matters."""

    @abstractmethod
    def lsas_changed(self) -> None:
        """Some of the LSAs mattered: draw conclusions."""

    @abstractmethod
    def members_changed(self) -> None:
        """`membership.members` is another."""

    @abstractmethod
    def answer(self, command: Answer, peer: Peer) -> Answer:
        """A command. Raises ValueError, KeyError for one that is refused."""

    @abstractmethod
    def reprogrammed(self, lines: int, since: float | None, cause: str) -> None:
        """The forwarder has confirmed what began to change at `since`: "route", "lsa", "members" or other."""

    @abstractmethod
    def next_deadline(self) -> float | None:
        """When `look_at_the_time` has something to do (CLOCK_MONOTONIC), None: never."""

    @abstractmethod
    def look_at_the_time(self, now: float) -> None:
        """Do what is due, though nothing has happened."""

    # -- what it has -------------------------------------------------------------------------------------------------

    @property
    def programmed(self) -> bool:
        return self.programmer.programmed

    def run(self) -> None:
        """Serve until SIGTERM."""
        wake, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a signal ends the waiting, whenever it comes
        signal.set_wakeup_fd(signalled)
        signal.signal(signal.SIGTERM, self._stop)
        self._selector.register(wake, selectors.EVENT_READ, lambda: None)
        self._selector.register(self.membership, selectors.EVENT_READ, self._read_members)
        if self.routes is not None:
            self._selector.register(self.routes, selectors.EVENT_READ, self._read_routes)
            self.routes_changed(self.routes.current())
        frozen = False
        while not self._stopping:
            self._follow_ospfd()
            self.program()
            if self.programmed and not frozen:
                gc.collect()
                gc.freeze()  # what is here now stays: no collection has to look at it again when time matters
                frozen = True
            ready: list[Callable[[], None]] = [key.data for key, _ in self._selector.select(self._timeout())]
            if self._read_routes in ready:
                ready.remove(self._read_routes)
                self._read_routes()
                self.program()
            for callback in ready:
                callback()
            self._do_what_is_due()

    def program(self) -> None:
        """Bring the forwarder up to date, in one transaction."""
        if not self.learned:
            return
        before = self.programmed
        lines = self.programmer.program()
        if self.programmed:
            if lines or not before:
                self.reprogrammed(lines, self._since, self._cause if self._since is not None else "")
            self._since = None

    def note(self, t: float, cause: str) -> None:
        """Something has changed that the forwarder will have to know."""
        if self._since is None:
            self._since, self._cause = t, cause

    def report(self, kind: str, detail: dict[str, Any]) -> None:
        """An event, for whoever reads the file."""
        self._events.write(json.dumps({"t": time.monotonic(), "kind": kind, "detail": detail}) + "\n")

    # -- what is heard -----------------------------------------------------------------------------------------------

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _follow_ospfd(self) -> None:
        """Be connected to ospfd, if it is there; watch what is to be watched."""
        try:
            if not self.api.connected:
                self._watch(())  # before there are new ones with the old numbers
                self.api.connect()
                self.learned = True
                self.report("ospf-connected", {})
                self.read_lsas()
            if self.api.connected:
                self.speak()
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
                self._selector.register(fd, selectors.EVENT_READ, self._lsas_came)

    def _lsas_came(self) -> None:
        self._lsas_at = time.monotonic()
        if self.lsas_are_urgent():
            self.read_lsas()

    def read_lsas(self) -> None:
        """Take in what ospfd has said, and what follows from it."""
        matters, since, self._lsas_at = False, self._lsas_at, None
        for event in self._heard():
            if isinstance(event, LsaEvent):
                if self.lsa_changed(event):
                    matters = True
                    self.note(since or event.t, "lsa")
            elif isinstance(event, Lost):
                self.report("ospf-lost", {"why": event.why})
        if matters:
            self.lsas_changed()

    def _heard(self) -> list[Event]:
        try:
            return self.api.process()
        except OspfApiError as error:  # it does not take an LSA of ours; what it says of others is worth hearing
            self.report("ospf-refused", {"why": str(error)})
            return self.api.process()

    def _read_routes(self) -> None:
        assert self.routes is not None
        t = time.monotonic()
        changed = self.routes.changed()
        if changed:
            self._routes_at = t
            self.note(t, "route")
            if self.routes_changed(changed) and self._lsas_at is not None:
                self.read_lsas()

    def _read_members(self) -> None:
        if self.membership.changed():
            self._members_are()

    def _members_are(self) -> None:
        self.note(time.monotonic(), "members")
        self.members_changed()

    # -- what time it is ---------------------------------------------------------------------------------------------

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if (due := self._lsas_due()) is not None and due <= now:
            self.read_lsas()
        if self.membership.expire(now):
            self._members_are()
        self.look_at_the_time(now)

    def _lsas_due(self) -> float | None:
        """When the LSAs that wait are to be read, None: there are none."""
        if self._lsas_at is None:
            return None
        if self.routes is None:
            return self._lsas_at + PATIENCE
        return min(max(self._lsas_at, self._routes_at) + QUIET, self._lsas_at + PATIENCE)

    def _timeout(self) -> float | None:
        """How long to wait for something to happen: for ever, but for what is to be tried again."""
        waits = [RETRY] if not self.api.connected or not self.programmed else []
        deadlines = (self._lsas_due(), self.membership.confirm_by, self.next_deadline())
        waits += [max(0.0, deadline - time.monotonic()) for deadline in deadlines if deadline is not None]
        return min(waits, default=None)
