"""An ospfd of a test's own: its OSPF API on a loopback port, doing what the test says, when it says it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from testbed.packet.ospf_api import (
    BACKBONE,
    NO_INTERFACE,
    ErrorCode,
    Frames,
    LsaDelete,
    LsaUpdate,
    Message,
    OriginateRequest,
    ReadyNotify,
    RegisterOpaqueType,
    Reply,
    RouterIdChange,
    SyncLsdb,
    SyncRouterId,
    frame,
)
from testbed.packet.ospf_lsa import Lsa, LsaKey

ROUTER = IPv4Address("10.255.0.1")
Says = tuple[Message, int]


class FakeOspfd:
    """One client at a time. What it does to a request can be replaced: `on_request(message)` is called first, and
    its reply's code is taken if it is not None. `piecemeal`: every octet travels on its own."""

    def __init__(self, port: int = 0, router: IPv4Address = ROUTER) -> None:
        self.router = router
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.lsdb: dict[LsaKey, Lsa] = {}
        self.requests: list[Message] = []
        self.on_request: Callable[[Message], ErrorCode | None] = lambda _: None
        self.ready = True
        self.piecemeal = False
        self.reply_first = False
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join()
        self._listener.close()

    def hang_up(self) -> None:
        """End the connection, as a daemon does that is killed."""
        with self._lock:
            for each in self._sockets or ():
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def say(self, *messages: Message, sequence: int = 0) -> None:
        """On the connection for notifications."""
        assert self._sockets is not None
        self._write(self._sockets[1], [(message, sequence) for message in messages])

    def install(self, lsa: Lsa, *, is_self: bool = False) -> None:
        """A new instance, told as FRR does: the one that it replaces is deleted first."""
        old = self.lsdb.get(lsa.key)
        self.lsdb[lsa.key] = lsa
        before = [LsaDelete(NO_INTERFACE, BACKBONE, is_self, old)] if old else []
        self.say(*before, LsaUpdate(NO_INTERFACE, BACKBONE, is_self, lsa))  # at once, so that no echo comes between

    def flush(self, key: LsaKey) -> None:
        """An LSA leaves the LSDB."""
        lsa = self.lsdb.pop(key)
        self.say(LsaDelete(NO_INTERFACE, BACKBONE, key.advertising_router == self.router, lsa))

    def become_ready(self) -> None:
        self.ready = True
        for opaque_type in self.registered:
            self.say(ReadyNotify(10, opaque_type, BACKBONE))

    @property
    def registered(self) -> set[int]:
        return {each.opaque_type for each in self.requests if isinstance(each, RegisterOpaqueType)}

    def originations(self) -> list[bytes]:
        return [each.lsa.body for each in self.requests if isinstance(each, OriginateRequest)]

    def _serve(self) -> None:
        while True:
            try:
                requests, (host, port) = self._listener.accept()
            except OSError:
                return
            try:
                notifications = socket.create_connection((host, port + 1))
            except OSError:  # the client has given up waiting
                requests.close()
                continue
            with requests, notifications:
                with self._lock:
                    self._sockets = requests, notifications
                for each in self._sockets:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                frames = Frames()
                with contextlib.suppress(OSError):
                    while data := requests.recv(65536):
                        for each in frames.feed(data):
                            message = each.message()
                            assert message is not None
                            self._answer(requests, message, each.sequence)
                with self._lock:
                    self._sockets = None

    def _answer(self, requests: socket.socket, message: Message, sequence: int) -> None:
        self.requests.append(message)
        code = self.on_request(message)
        reply = [(Reply(ErrorCode.OK if code is None else code), sequence)]
        if self.reply_first:
            self._write(requests, reply)
        if code is None:
            self._do(message, sequence)
        if not self.reply_first:
            self._write(requests, reply)

    def _do(self, message: Message, sequence: int) -> None:
        match message:
            case SyncLsdb():
                for lsa in list(self.lsdb.values()):
                    is_self = lsa.advertising_router == self.router
                    self.say(LsaUpdate(NO_INTERFACE, BACKBONE, is_self, lsa), sequence=sequence)
            case SyncRouterId():
                self.say(RouterIdChange(self.router), sequence=sequence)
            case RegisterOpaqueType() if self.ready:
                self.become_ready()
            case OriginateRequest():
                old = self.lsdb.get(LsaKey(message.lsa.type, message.lsa.id, self.router))
                sequence_number = old.sequence + 1 if old else message.lsa.sequence
                lsa = Lsa(message.lsa.type, message.lsa.id, self.router, message.lsa.body, sequence_number)
                self.install(lsa, is_self=True)

    def _write(self, to: socket.socket, messages: Iterable[Says]) -> None:
        octets = b"".join(frame(message, sequence) for message, sequence in messages)
        for piece in (bytes([octet]) for octet in octets) if self.piecemeal else (octets,):
            to.sendall(piece)
