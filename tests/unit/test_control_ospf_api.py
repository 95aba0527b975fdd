"""The OSPF API's client against an ospfd that does whatever ospfd might do, in whatever order."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
from fake_ospfd import ROUTER, FakeOspfd

from testbed.control.lsdb import Change, Lsdb
from testbed.control.ospf_api import Event, Lost, LsaEvent, Notice, OspfApi, OspfApiError
from testbed.packet.error import PacketError
from testbed.packet.ospf_api import (
    BACKBONE,
    NO_INTERFACE,
    DeleteRequest,
    ErrorCode,
    LsaDelete,
    LsaUpdate,
    Message,
    NeighbourState,
    NsmChange,
    OriginateRequest,
    ReadyNotify,
    RouterIdChange,
    SyncRouterId,
)
from testbed.packet.ospf_lsa import MAX_AGE, Lsa, LsaKey, LsaType, opaque_lsa_id

DEADLINE_S = 30.0 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))
OTHER = IPv4Address("10.255.0.2")
ONE, TWO, THREE = b"body", b"other body..", b"a third "


def router_lsa(sequence: int, body: bytes = ONE, router: IPv4Address = OTHER, age: int = 1) -> Lsa:
    return Lsa(LsaType.ROUTER, router, router, body, sequence, age)


KEY = router_lsa(1).key
OWN = LsaKey(LsaType.OPAQUE_AREA, opaque_lsa_id(200, 1), ROUTER)


@pytest.fixture
def ospfd() -> Iterator[FakeOspfd]:
    fake = FakeOspfd()
    yield fake
    fake.close()


@pytest.fixture
def api(ospfd: FakeOspfd) -> Iterator[OspfApi]:
    client = OspfApi(port=ospfd.port, timeout=DEADLINE_S)
    yield client
    client.close()


def gather(api: OspfApi, condition: Callable[[list[Event]], object]) -> list[Event]:
    """Process, when there is something to, until the events so far are as wanted; returns them."""
    events, end = api.process(), time.monotonic() + DEADLINE_S
    while not condition(events):
        assert time.monotonic() < end, events
        select.select(api.filenos(), [], [], 0.1)
        events += api.process()
    return events


def changes(events: list[Event], key: LsaKey = KEY) -> list[Change]:
    return [event.change for event in events if isinstance(event, LsaEvent) and event.lsa.key == key]


def up_to_date(api: OspfApi, ospfd: FakeOspfd) -> list[Event]:
    """All events until ospfd has said all that it had to."""
    mark = NsmChange(OTHER, OTHER, OTHER, NeighbourState.FULL)
    ospfd.say(mark)
    events = gather(api, lambda events: any(isinstance(each, Notice) and each.message == mark for each in events))
    asked = sum(isinstance(each, SyncRouterId) for each in ospfd.requests)
    assert asked < 100, "it asks without end"
    return events


@pytest.mark.parametrize("piecemeal", [False, True])
@pytest.mark.parametrize("reply_first", [False, True])
def test_connect_returns_with_the_whole_lsdb(
    ospfd: FakeOspfd, api: OspfApi, reply_first: bool, piecemeal: bool
) -> None:
    lsas = [router_lsa(7, router=IPv4Address(number)) for number in range(1, 200)]
    ospfd.lsdb = {lsa.key: lsa for lsa in lsas}
    ospfd.reply_first, ospfd.piecemeal = reply_first, piecemeal
    before = time.monotonic()
    api.connect()
    assert list(api.lsdb.values()) == lsas
    assert api.router_id == ROUTER
    assert api.connected
    assert len(api.filenos()) == 2
    events = api.process()
    assert [event.lsa for event in events if isinstance(event, LsaEvent)] == lsas
    assert before <= events[0].t <= events[-1].t <= time.monotonic()
    assert api.process() == []


def test_no_ospfd_is_an_error_and_nothing_else() -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        api = OspfApi(port=port)
        with pytest.raises(OspfApiError, match=f"no OSPF API at 127.0.0.1:{port}"):
            api.connect()
    assert not api.connected
    assert api.filenos() == ()
    assert api.process() == []


def test_change_refresh_and_resynchronization_are_told_apart(ospfd: FakeOspfd, api: OspfApi) -> None:
    api.connect()
    for lsa in (router_lsa(1), router_lsa(2), router_lsa(3, TWO)):
        ospfd.install(lsa)
    ospfd.say(LsaUpdate(NO_INTERFACE, BACKBONE, False, router_lsa(3, TWO, age=30)))  # nothing new
    events = up_to_date(api, ospfd)
    assert changes(events) == [Change.ADDED, Change.REFRESHED, Change.CHANGED]
    last = [event for event in events if isinstance(event, LsaEvent)][-1]
    assert (last.lsa, last.before) == (router_lsa(3, TWO), router_lsa(2))
    assert api.lsdb[KEY].body == TWO


def test_a_deletion_is_believed_when_no_update_follows(ospfd: FakeOspfd, api: OspfApi) -> None:
    ospfd.lsdb = {KEY: router_lsa(1)}
    api.connect()
    api.process()
    ospfd.flush(KEY)
    (event,) = gather(api, len)
    assert isinstance(event, LsaEvent)
    assert (event.change, event.lsa, event.before) == (Change.DELETED, router_lsa(1), router_lsa(1))
    assert KEY not in api.lsdb
    ospfd.say(LsaDelete(NO_INTERFACE, BACKBONE, False, router_lsa(1, age=MAX_AGE)))  # once more, from FRR
    assert changes(up_to_date(api, ospfd)) == []


def test_a_deletion_read_before_the_update_that_it_belongs_to_is_none(ospfd: FakeOspfd, api: OspfApi) -> None:
    """The update is on its way, but not yet here, when the deletion is handled."""
    ospfd.lsdb = {KEY: router_lsa(1)}
    api.connect()
    api.process()

    def before_the_echo(message: Message) -> None:
        if isinstance(message, SyncRouterId):
            ospfd.say(LsaUpdate(NO_INTERFACE, BACKBONE, False, router_lsa(2, TWO)))

    ospfd.on_request = before_the_echo
    ospfd.say(LsaDelete(NO_INTERFACE, BACKBONE, False, router_lsa(1)))
    events = gather(api, len)
    ospfd.on_request = lambda _: None
    events += up_to_date(api, ospfd)
    assert changes(events) == [Change.CHANGED]


def test_max_age_is_a_deletion_too(ospfd: FakeOspfd, api: OspfApi) -> None:
    flushed = router_lsa(5, router=IPv4Address("10.255.0.9"), age=MAX_AGE)
    ospfd.lsdb = {KEY: router_lsa(1), flushed.key: flushed}
    api.connect()
    assert list(api.lsdb) == [KEY], "one that is being flushed is not there"
    ospfd.say(LsaUpdate(NO_INTERFACE, BACKBONE, False, router_lsa(1, age=MAX_AGE)))
    events = up_to_date(api, ospfd)
    assert changes(events) == [Change.ADDED, Change.DELETED]
    assert changes(events, flushed.key) == []


def test_other_news_are_handed_on(ospfd: FakeOspfd, api: OspfApi) -> None:
    api.connect()
    down = NsmChange(ROUTER, OTHER, OTHER, NeighbourState.DOWN)
    ospfd.say(down, RouterIdChange(IPv4Address("10.255.0.7")), ReadyNotify(10, 200, IPv4Address(5)))
    events = up_to_date(api, ospfd)
    assert next(event.message for event in events if isinstance(event, Notice)) == down
    assert api.router_id == IPv4Address("10.255.0.7")


class TestOwnLsas:
    def test_originate_change_and_withdraw(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        ospfd.lsdb = {KEY: router_lsa(1)}
        api.connect()
        api.register(200)
        api.originate(200, 1, ONE)
        api.originate(200, 1, ONE)
        api.originate(200, 1, TWO)
        events = up_to_date(api, ospfd)
        assert changes(events, OWN) == [Change.ADDED, Change.REFRESHED, Change.CHANGED]
        api.withdraw(200, 1)
        assert ospfd.requests[-2] == DeleteRequest(BACKBONE, LsaType.OPAQUE_AREA, 200, 0, 1)
        assert changes(api.process(), OWN) == [Change.DELETED]
        ospfd.flush(OWN)  # a minute later
        assert changes(up_to_date(api, ospfd), OWN) == []
        api.withdraw(200, 1)
        assert ospfd.originations() == [ONE, ONE, TWO]

    def test_all_that_is_wanted_is_said_again_after_a_loss(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        ospfd.lsdb = {KEY: router_lsa(1)}
        api.register(200)
        api.originate(200, 1, ONE)
        api.connect()
        assert ospfd.originations() == [ONE]
        ospfd.hang_up()
        events = gather(api, lambda events: not api.connected)
        assert isinstance(events[-1], Lost)
        assert api.filenos() == ()
        assert KEY in api.lsdb, "what was known is kept"
        api.originate(200, 1, TWO)
        ospfd.lsdb = {}
        api.connect()
        assert ospfd.originations() == [ONE, TWO]
        events = up_to_date(api, ospfd)
        assert changes(events) == [Change.DELETED], "the synchronization tells what is different"
        assert changes(events, OWN) == [Change.DELETED, Change.ADDED]
        assert api.lsdb[OWN].body == TWO

    def test_a_loss_during_a_request_is_an_event_and_the_wish_is_kept(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        api.register(200)
        api.connect()

        def die(message: Message) -> None:
            if isinstance(message, OriginateRequest):
                ospfd.hang_up()

        ospfd.on_request = die
        api.originate(200, 1, ONE)
        assert [type(event) for event in api.process()][-1] is Lost
        ospfd.on_request = lambda _: None
        ospfd.lsdb = {}
        api.connect()
        assert ospfd.originations() == [ONE, ONE]

    def test_it_waits_to_be_ready(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        ospfd.ready = False
        api.register(200)
        api.connect()
        api.originate(200, 1, ONE)
        up_to_date(api, ospfd)
        assert ospfd.originations() == []
        ospfd.become_ready()
        gather(api, lambda _: ospfd.originations() == [ONE])

    @pytest.mark.parametrize("code", [ErrorCode.NOT_READY, ErrorCode.NO_SUCH_AREA])
    def test_not_ready_waits_for_the_next_notification(self, ospfd: FakeOspfd, api: OspfApi, code: ErrorCode) -> None:
        ospfd.lsdb = {KEY: router_lsa(1)}
        api.register(200)
        ospfd.on_request = lambda message: code if isinstance(message, OriginateRequest) else None
        api.originate(200, 1, ONE)
        api.connect()
        up_to_date(api, ospfd)
        assert ospfd.originations() == [ONE], "tried once, not again and again"
        ospfd.on_request = lambda _: None
        ospfd.become_ready()
        gather(api, lambda _: ospfd.originations() == [ONE, ONE])

    def test_a_notification_that_overtakes_not_ready_is_not_missed(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        ospfd.lsdb = {KEY: router_lsa(1)}
        api.register(200)
        refusals = [ErrorCode.NOT_READY]

        def refuse_and_be_ready(message: Message) -> ErrorCode | None:
            if isinstance(message, OriginateRequest) and refusals:
                ospfd.become_ready()  # is read before the reply, which is written after it
                return refusals.pop()
            return None

        ospfd.on_request = refuse_and_be_ready
        api.originate(200, 1, ONE)
        api.connect()
        gather(api, lambda _: ospfd.originations() == [ONE, ONE])

    def test_what_ospfd_puts_in_its_place_is_put_right(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        """After a restart, FRR refreshes what its neighbours kept of us, with its old contents."""
        ospfd.lsdb = {KEY: router_lsa(1)}
        api.register(200)
        api.connect()
        api.originate(200, 1, TWO)
        ospfd.install(Lsa(*OWN, ONE, sequence=9), is_self=True)
        gather(api, lambda _: ospfd.originations() == [TWO, TWO])
        ospfd.flush(OWN)
        gather(api, lambda _: ospfd.originations() == [TWO, TWO, TWO])
        up_to_date(api, ospfd)
        assert api.lsdb[OWN].body == TWO
        assert len(ospfd.originations()) == 3, "and that is that"

    def test_what_was_originated_alone_is_refreshed_with_the_first_neighbour(
        self, ospfd: FakeOspfd, api: OspfApi
    ) -> None:
        api.register(200)
        api.originate(200, 1, ONE)
        api.connect()
        up_to_date(api, ospfd)
        assert ospfd.originations() == [ONE]
        ospfd.install(router_lsa(1))
        ospfd.become_ready()
        gather(api, lambda _: ospfd.originations() == [ONE, ONE])
        ospfd.become_ready()
        up_to_date(api, ospfd)
        assert ospfd.originations() == [ONE, ONE], "not with every other neighbour"

    def test_refusals(self, ospfd: FakeOspfd, api: OspfApi) -> None:
        api.connect()
        with pytest.raises(OspfApiError, match="opaque type 200 is not registered"):
            api.originate(200, 1, ONE)
        ospfd.on_request = lambda _: ErrorCode.OPAQUE_TYPE_IN_USE
        with pytest.raises(OspfApiError, match="opaque type in use"):
            api.register(7)
        ospfd.on_request = lambda _: None
        api.register(200)
        ospfd.on_request = lambda _: ErrorCode.NO_MEMORY
        with pytest.raises(OspfApiError, match=r"the LSA 200\.0\.0\.1: no memory"):
            api.originate(200, 1, ONE)
        ospfd.on_request = lambda _: None
        up_to_date(api, ospfd)
        assert ospfd.originations() == [ONE], "not tried again"
        for body in (bytes(3), bytes(2000)):
            with pytest.raises(PacketError):
                api.originate(200, 1, body)


def test_silence_and_nonsense_end_the_connection(ospfd: FakeOspfd) -> None:
    speak = threading.Event()
    ospfd.on_request = lambda message: None if speak.wait(DEADLINE_S) else ErrorCode.ERROR
    api = OspfApi(port=ospfd.port, timeout=0.01)
    with pytest.raises(OspfApiError, match=r"did not answer within 0\.01 s"):
        api.connect()
    assert not api.connected
    speak.set()
    api = OspfApi(port=ospfd.port, timeout=DEADLINE_S)
    api.connect()
    assert ospfd._sockets is not None
    ospfd._sockets[1].sendall(b"\x02" + bytes(7))
    (event,) = gather(api, len)
    assert isinstance(event, Lost)
    assert "ospf_api.version" in event.why


def test_lsdb() -> None:
    lsdb = Lsdb()
    assert lsdb.put(router_lsa(1)) is Change.ADDED
    assert lsdb.put(router_lsa(1, age=9)) is None
    assert lsdb.put(router_lsa(2)) is Change.REFRESHED
    assert lsdb.put(router_lsa(3, TWO)) is Change.CHANGED
    assert lsdb.of_type(LsaType.ROUTER) == (router_lsa(3, TWO),)
    assert lsdb.of_type(LsaType.NETWORK) == ()
    assert lsdb.put(router_lsa(4, TWO, age=MAX_AGE)) is Change.DELETED
    assert lsdb.put(router_lsa(4, TWO, age=MAX_AGE)) is None
    assert len(lsdb) == 0


def test_it_needs_nothing_but_python() -> None:
    """Agents begin in a moment, in namespaces of which nothing else is known."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import testbed.control.ospf_api"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
