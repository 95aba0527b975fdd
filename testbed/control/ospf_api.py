"""A client of ospfd's OSPF API: a copy of the LSDB that follows every change, and opaque LSAs of our own.

    api = OspfApi()
    api.register(200)
    api.originate(200, 0, body)     kept in mind: sent as soon as ospfd takes it, and again whenever it must be
    api.connect()                   raises OspfApiError until ospfd is there: call it again
    while ...:                      wait until one of api.filenos() is readable
        for event in api.process():
            ...                     LsaEvent, Notice; after Lost: connect() again, api.filenos() are others then

ospfd (FRR 8.4 and 10.3, the same in both unless noted) does a few things that a client has to know, and this one does:

- Replacing an instance of an LSA is told as its deletion, then the update. So a deletion is believed only when an
  echo, asked for after it, comes first: notifications come in their order.
- An ospfd that was restarted gets its former LSAs back from its neighbours and, instead of flushing or replacing
  them, refreshes them with their old contents. So what it says of our own LSAs is compared with what we want.
- Where the former instance had the same sequence number as the new one, neighbours keep the former. So what was
  originated before the first neighbour was there is refreshed when it is.
- FRR 8.4 holds a new instance back until 5 s after the last (MinLSInterval, RFC 2328 appendix B); 10.3 heeds
  `timers throttle lsa all`.
- When the connection ends, ospfd flushes the LSAs that came by it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.control.lsdb import Change, Lsdb
from testbed.control.ospf_connection import OspfConnection
from testbed.errors import DaemonError
from testbed.packet.error import PacketError
from testbed.packet.ospf_api import (
    BACKBONE,
    NO_INTERFACE,
    PORT,
    DeleteRequest,
    ErrorCode,
    Frame,
    LsaDelete,
    LsaUpdate,
    Message,
    OriginateRequest,
    ReadyNotify,
    RegisterEvent,
    RegisterOpaqueType,
    Reply,
    RouterIdChange,
    SyncLsdb,
    SyncRouterId,
    frame,
)
from testbed.packet.ospf_lsa import Lsa, LsaKey, LsaType, opaque_lsa_id

TIMEOUT = 10.0  # seconds that ospfd may take to answer


class OspfApiError(DaemonError):
    """ospfd refused a request, or is not to be reached."""


class _Ended(OspfApiError):
    """The connection did, or is of no more use."""


@dataclass(frozen=True, slots=True)
class LsaEvent:
    """What became of an LSA. `lsa` is its newest instance, `before` the one until then; `t` is CLOCK_MONOTONIC."""

    t: float
    change: Change
    lsa: Lsa
    before: Lsa | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that ospfd said and that is not about LSAs: an NsmChange, IsmChange, ReachableChange and so on."""

    t: float
    message: Message


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended. The LSDB stays as it was; the next connect() queues what is different then."""

    t: float
    why: str


Event = LsaEvent | Notice | Lost


@dataclass(slots=True)
class _Own:
    """An opaque LSA that we want. `placed`: ospfd took it and has not said otherwise since; `alone`: it did so when
    it knew no other router."""

    body: bytes
    placed: bool = False
    alone: bool = False


class OspfApi:
    """One client; not for several threads at once. Its own LSAs have area scope, in `area`.

    Events are queued whenever something is read, also while a request waits for its reply: call `process` after the
    other methods, too. A connection that ends is an event like others, whatever method was at work.
    """

    def __init__(
        self, address: str = "127.0.0.1", port: int = PORT, *, area: IPv4Address = BACKBONE, timeout: float = TIMEOUT
    ) -> None:
        self.lsdb = Lsdb()
        self.router_id = IPv4Address(0)  # until connected
        self._place, self._area, self._timeout = (address, port), area, timeout
        self._events: list[Event] = []
        self._types: set[int] = set()
        self._own: dict[IPv4Address, _Own] = {}  # by link state id
        self._sequence = 0  # of the last request
        self._connection: OspfConnection | None = None
        self._begin_anew()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def filenos(self) -> tuple[int, ...]:
        """What to watch for being readable; nothing while not connected."""
        return self._connection.filenos() if self._connection else ()

    def connect(self) -> None:
        """Return once `lsdb` is the whole of ospfd's, and it knows our opaque types and LSAs.

        Raises OspfApiError; there is no connection then.
        """
        self.close()
        try:
            self._connection = OspfConnection(*self._place, self._timeout)
        except OSError as error:
            raise OspfApiError(f"no OSPF API at {self._place[0]}:{self._place[1]}: {error}") from error
        try:
            self._synchronize()
            for opaque_type in self._types:
                self._register(opaque_type)
            self._settle()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up: ospfd flushes our LSAs. What is wanted stays so until the next connect()."""
        if self._connection:
            self._connection.close()
            self._connection = None
        self._begin_anew()

    def process(self) -> list[Event]:
        """Handle what can be read now; returns the events since the last call, in their order.

        It waits for nothing but ospfd's replies, where something has to be originated again.
        Raises OspfApiError if ospfd refuses to originate an LSA, which is then no longer wanted.
        """
        if self._connection:
            with self._telling():
                while self._receive(0):
                    pass
                self._settle()
        events, self._events = self._events, []
        return events

    def register(self, opaque_type: int) -> None:
        """Ask for the right to originate LSAs of this opaque type, now and after every connect().

        Raises OspfApiError if another client has it, or ospfd itself (which FRR 10.3 does not check).
        """
        self._types.add(opaque_type)
        if self._connection:
            with self._telling():
                try:
                    self._register(opaque_type)
                except _Ended:
                    raise
                except OspfApiError:
                    self._types.discard(opaque_type)
                    raise

    def originate(self, opaque_type: int, opaque_id: int, body: bytes) -> None:
        """Want an LSA with this body: it is originated now, or as soon as ospfd is ready. Again: a refresh.

        Raises OspfApiError, and PacketError for a body that ospfd or its neighbours would not take.
        """
        lsa_id = opaque_lsa_id(opaque_type, opaque_id)
        if opaque_type not in self._types:
            raise OspfApiError(f"opaque type {opaque_type} is not registered")
        self._origination(lsa_id, body)
        self._own[lsa_id] = _Own(body)
        if self._connection:
            with self._telling():
                self._settle()

    def withdraw(self, opaque_type: int, opaque_id: int) -> None:
        """Want that LSA no longer; nothing happens if there is none. Raises OspfApiError."""
        lsa_id = opaque_lsa_id(opaque_type, opaque_id)
        if self._own.pop(lsa_id, None) and self._connection:
            with self._telling():
                request = DeleteRequest(self._area, LsaType.OPAQUE_AREA, opaque_type, 0, opaque_id)
                self._demand(request, or_else=ErrorCode.NO_SUCH_LSA)
                # ospfd does not tell the originator before the flushed LSA leaves the LSDB, up to a minute later.
                self._echo()
                self._drop(time.monotonic(), LsaKey(LsaType.OPAQUE_AREA, lsa_id, self.router_id))

    def _begin_anew(self) -> None:
        """Forget what was true of one connection only."""
        self._replies: dict[int, Reply | None] = {}  # to the requests that wait for theirs
        self._echoed = 0  # the sequence number of the last echo
        self._doubtful: dict[LsaKey, tuple[float, int]] = {}  # when it was said to be deleted; the echo to wait for
        self._seen: set[LsaKey] = set()  # updated since the last synchronization began
        self._ready: Counter[int] = Counter()  # how often ospfd said so, by opaque type
        for own in self._own.values():
            own.placed = False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """The end of the connection becomes an event."""
        try:
            yield
        except _Ended as error:
            self.close()
            self._events.append(Lost(time.monotonic(), str(error)))

    # What we ask

    def _synchronize(self) -> None:
        self._seen = set()
        self._demand(RegisterEvent())
        self._demand(SyncLsdb())
        self._echo()  # the reply comes another way, and may be here before the LSAs
        for key in self.lsdb.keys() - self._seen:
            self._drop(time.monotonic(), key)

    def _register(self, opaque_type: int) -> None:
        self._demand(RegisterOpaqueType(LsaType.OPAQUE_AREA, opaque_type))
        self._echo()  # whether ospfd is ready is known then, too

    def _settle(self) -> None:
        """Originate what is wanted and not placed, where ospfd is ready for it."""
        for lsa_id, own in list(self._own.items()):
            opaque_type = lsa_id.packed[0]
            while not own.placed and (ready := self._ready[opaque_type]):
                own.placed = True  # from now on, because ospfd may say otherwise before it replies
                own.alone = all(key.advertising_router == self.router_id for key in self.lsdb)
                reply = self._request(self._origination(lsa_id, own.body))
                if reply.code in (ErrorCode.NOT_READY, ErrorCode.NO_SUCH_AREA):
                    own.placed = False
                    if self._ready[opaque_type] == ready:  # else it has become ready meanwhile
                        self._ready[opaque_type] = 0
                elif reply.code != ErrorCode.OK:
                    del self._own[lsa_id]
                    raise OspfApiError(f"ospfd does not originate the LSA {lsa_id}: {reply.text}")

    def _origination(self, lsa_id: IPv4Address, body: bytes) -> OriginateRequest:
        return OriginateRequest(NO_INTERFACE, self._area, Lsa(LsaType.OPAQUE_AREA, lsa_id, self.router_id, body))

    def _demand(self, message: Message, or_else: ErrorCode = ErrorCode.OK) -> None:
        reply = self._request(message)
        if reply.code not in (ErrorCode.OK, or_else):
            raise OspfApiError(f"ospfd refuses {message}: {reply.text}")

    def _request(self, message: Message) -> Reply:
        sequence = self._send(message)
        self._replies[sequence] = None
        self._await(lambda: self._replies[sequence] is not None)
        reply = self._replies.pop(sequence)
        assert reply is not None
        return reply

    def _echo(self) -> None:
        """Return once everything is read that ospfd has said until now."""
        sequence = self._send(SyncRouterId())
        self._await(lambda: self._echoed >= sequence)

    def _send(self, message: Message) -> int:
        assert self._connection is not None
        self._sequence += 1
        try:
            self._connection.send(frame(message, self._sequence))
        except OSError as error:
            raise _Ended(str(error)) from error
        return self._sequence

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout
        while not condition():
            if (left := deadline - time.monotonic()) <= 0:
                raise _Ended(f"ospfd did not answer within {self._timeout:g} s")
            self._receive(left)

    # What it says

    def _receive(self, timeout: float) -> bool:
        """Handle what comes within `timeout`; whether there was anything."""
        assert self._connection is not None
        try:
            frames = self._connection.receive(timeout)
            for t, each in frames:
                self._handle(t, each)
        except PacketError as error:
            raise _Ended(f"ospfd said what is none of its API's messages: {error}") from error
        if self._connection.ended and not frames:
            raise _Ended(self._connection.ended)
        if unasked := [key for key, (_, echo) in self._doubtful.items() if not echo]:
            echo = self._send(SyncRouterId())
            self._doubtful |= {key: (self._doubtful[key][0], echo) for key in unasked}
        return bool(frames)

    def _handle(self, t: float, received: Frame) -> None:
        match message := received.message():
            case Reply():
                if received.sequence in self._replies:
                    self._replies[received.sequence] = message
            case LsaUpdate():
                self._update(t, message)
            case LsaDelete():
                self._doubtful.setdefault(message.lsa.key, (t, 0))
            case ReadyNotify() if message.address == self._area:
                self._be_ready(message.opaque_type)
            case RouterIdChange():
                self.router_id = message.router_id
                if received.sequence:
                    self._hear_echo(received.sequence)
                else:
                    self._events.append(Notice(t, message))
            case Message():
                self._events.append(Notice(t, message))

    def _update(self, t: float, message: LsaUpdate) -> None:
        lsa = message.lsa
        self._doubtful.pop(lsa.key, None)
        if not lsa.is_max_age:
            self._seen.add(lsa.key)
        before = self.lsdb.get(lsa.key)
        if change := self.lsdb.put(lsa):
            self._events.append(LsaEvent(t, change, lsa, before))
        if message.is_self and lsa.type == LsaType.OPAQUE_AREA and (own := self._own.get(lsa.id)):
            own.placed = own.placed and lsa.body == own.body and not lsa.is_max_age

    def _be_ready(self, opaque_type: int) -> None:
        self._ready[opaque_type] += 1
        for lsa_id, own in self._own.items():
            if own.alone and lsa_id.packed[0] == opaque_type:
                own.placed = own.alone = False

    def _hear_echo(self, sequence: int) -> None:
        self._echoed = sequence
        for key, (t, echo) in list(self._doubtful.items()):
            if 0 < echo <= sequence:
                del self._doubtful[key]
                self._drop(t, key)

    def _drop(self, t: float, key: LsaKey) -> None:
        lsa = self.lsdb.get(key)
        if lsa is not None:
            self.lsdb.drop(key)
            self._events.append(LsaEvent(t, Change.DELETED, lsa, lsa))
        own = self._own.get(key.id)
        if own and key == (LsaType.OPAQUE_AREA, key.id, self.router_id):
            own.placed = False
