"""The messages of FRR ospfd's OSPF API: how a program beside ospfd reads its LSDB and originates opaque LSAs.

    version (1) = 1   type (1)   length (2), of the body   sequence (4)
    body, in network order

There is no RFC; FRR's ospf_api.h is the definition, the same in FRR 8.4 and 10.3. Requests go to ospfd's TCP port
2607 and are answered there by a `Reply` of the same sequence number. Everything else comes on a second connection,
which ospfd opens back to the client's port + 1: with the sequence number of the request that asked for it, or 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Any, ClassVar, Self

from testbed.packet.error import PacketError
from testbed.packet.ospf_lsa import HEADER_SIZE as LSA_HEADER_SIZE
from testbed.packet.ospf_lsa import Lsa
from testbed.packet.wire import unsigned

PORT = 2607
VERSION = 1
HEADER_SIZE = 8  # octets
LARGEST_LSA = 1484  # octets with its header; as tried: of longer ones, ospfd floods or tells nothing

BACKBONE = IPv4Address(0)
NO_INTERFACE = IPv4Address(0)
ALL_TYPES = frozenset(range(1, 17))


class MessageType(IntEnum):
    REGISTER_OPAQUE_TYPE = 1
    UNREGISTER_OPAQUE_TYPE = 2
    REGISTER_EVENT = 3
    SYNC_LSDB = 4
    ORIGINATE_REQUEST = 5
    DELETE_REQUEST = 6
    SYNC_REACHABLE = 7
    SYNC_ISM = 8
    SYNC_NSM = 9
    REPLY = 10
    READY_NOTIFY = 11
    LSA_UPDATE_NOTIFY = 12
    LSA_DELETE_NOTIFY = 13
    NEW_IF = 14
    DEL_IF = 15
    ISM_CHANGE = 16
    NSM_CHANGE = 17
    REACHABLE_CHANGE = 18
    SYNC_ROUTER_ID = 19
    ROUTER_ID_CHANGE = 20


class ErrorCode(IntEnum):
    """What a `Reply` says."""

    OK = 0
    NO_SUCH_INTERFACE = -1
    NO_SUCH_AREA = -2
    NO_SUCH_LSA = -3
    ILLEGAL_LSA_TYPE = -4
    OPAQUE_TYPE_IN_USE = -5
    OPAQUE_TYPE_NOT_REGISTERED = -6
    NOT_READY = -7
    NO_MEMORY = -8
    ERROR = -9
    UNDEFINED = -10


class Origin(IntEnum):
    """Whose LSAs a filter lets through."""

    OTHERS = 0
    SELF = 1
    ANY = 2


class NeighbourState(IntEnum):
    """RFC 2328 section 10.1, numbered as FRR does."""

    DELETED = 1
    DOWN = 2
    ATTEMPT = 3
    INIT = 4
    TWO_WAY = 5
    EXSTART = 6
    EXCHANGE = 7
    LOADING = 8
    FULL = 9


class Message:
    """One of those below. `FORMAT` is struct's, for the fields in their order; an address is 4s there.

    A field `lsa` comes last and takes the rest of the body; the LSA's checksum is not looked at: a request has none
    yet, and ospfd verified that of what it notifies.
    """

    __slots__ = ()
    TYPE: ClassVar[MessageType]
    FORMAT: ClassVar[str]

    def encode(self) -> bytes:
        """The body. Raises PacketError if a value does not fit into its field."""
        values = [getattr(self, each.name) for each in fields(self)]  # type: ignore[arg-type]
        rest = values.pop().encode() if values and isinstance(values[-1], Lsa) else b""
        return self._pack(values) + rest

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Raises PacketError."""
        values, rest = cls._unpack(body)
        if "lsa" in (each.name for each in fields(cls)):  # type: ignore[arg-type]
            values.append(Lsa.decode(rest, verify=False))
        elif rest:
            raise PacketError("ospf_api.length", len(body), str(len(body) - len(rest)), len(body) - len(rest))
        return cls(*values)

    @classmethod
    def _pack(cls, values: Sequence[Any]) -> bytes:
        octets = (each.packed if isinstance(each, IPv4Address) else each for each in values)
        try:
            return struct.pack(f"!{cls.FORMAT}", *octets)
        except struct.error as error:
            raise PacketError(f"ospf_api.{cls.TYPE.name.lower()}", values, str(error)) from None

    @classmethod
    def _unpack(cls, body: bytes) -> tuple[list[Any], bytes]:
        size = struct.calcsize(f"!{cls.FORMAT}")
        if len(body) < size:
            raise PacketError("ospf_api.length", len(body), f"at least {size}", len(body))
        values = struct.unpack_from(f"!{cls.FORMAT}", body)
        return [IPv4Address(each) if isinstance(each, bytes) else each for each in values], body[size:]


# Requests of the client


@dataclass(frozen=True, slots=True)
class RegisterOpaqueType(Message):
    """Asks for the right to originate opaque LSAs of this type and scope; one client at a time can have it."""

    TYPE, FORMAT = MessageType.REGISTER_OPAQUE_TYPE, "BBxx"
    lsa_type: int
    opaque_type: int


@dataclass(frozen=True, slots=True)
class UnregisterOpaqueType(Message):
    """Gives that right back; ospfd then flushes what was originated by it."""

    TYPE, FORMAT = MessageType.UNREGISTER_OPAQUE_TYPE, "BBxx"
    lsa_type: int
    opaque_type: int


@dataclass(frozen=True, slots=True)
class _Filtered(Message):
    """Which LSAs are meant; no `areas` are all areas."""

    FORMAT = "HBB"
    types: frozenset[int] = ALL_TYPES
    origin: int = Origin.ANY
    areas: tuple[IPv4Address, ...] = ()

    def encode(self) -> bytes:
        if not self.types <= ALL_TYPES:
            raise PacketError("ospf_api.types", sorted(self.types), "1 to 16")
        mask = sum(1 << each - 1 for each in self.types)
        return self._pack((mask, self.origin, len(self.areas))) + _joined(self.areas)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        (mask, origin, count), rest = cls._unpack(body)
        types = frozenset(each for each in ALL_TYPES if mask >> each - 1 & 1)
        return cls(types, origin, _addresses(rest, count))


@dataclass(frozen=True, slots=True)
class RegisterEvent(_Filtered):
    """Asks to be told of every change of these LSAs from now on."""

    TYPE = MessageType.REGISTER_EVENT


@dataclass(frozen=True, slots=True)
class SyncLsdb(_Filtered):
    """Asks for an update of each of these LSAs as it is now."""

    TYPE = MessageType.SYNC_LSDB


@dataclass(frozen=True, slots=True)
class OriginateRequest(Message):
    """Asks to originate an opaque LSA, or a new instance of it.

    Of `lsa`, ospfd takes type, id and body, and fills in the rest. `area` counts for area scope, `interface` (an
    address of its own) for link scope.
    """

    TYPE, FORMAT = MessageType.ORIGINATE_REQUEST, "4s4s"
    interface: IPv4Address
    area: IPv4Address
    lsa: Lsa

    def __post_init__(self) -> None:
        # ospfd replies OK to anything, and its neighbours then ignore what is not like this.
        if (size := LSA_HEADER_SIZE + len(self.lsa.body)) > LARGEST_LSA or size % 4:
            raise PacketError("ospf_api.lsa", f"{size} octets", f"a multiple of 4, at most {LARGEST_LSA}")


@dataclass(frozen=True, slots=True)
class DeleteRequest(Message):
    """Asks to flush an opaque LSA of our own. `flags` 1: without its body.

    `area` is the interface's address where the scope is a link.
    """

    TYPE, FORMAT = MessageType.DELETE_REQUEST, "4sBBxBI"
    area: IPv4Address
    lsa_type: int
    opaque_type: int
    flags: int
    opaque_id: int


@dataclass(frozen=True, slots=True)
class _Question(Message):
    """Four octets that mean nothing: ospfd cannot read a message without a body."""

    FORMAT = "4x"


@dataclass(frozen=True, slots=True)
class SyncReachable(_Question):
    """Asks for a `ReachableChange` that adds all routers reachable now, and for every change from now on."""

    TYPE = MessageType.SYNC_REACHABLE


@dataclass(frozen=True, slots=True)
class SyncIsm(_Question):
    """Asks for an `IsmChange` for each interface."""

    TYPE = MessageType.SYNC_ISM


@dataclass(frozen=True, slots=True)
class SyncNsm(_Question):
    """Asks for an `NsmChange` for each neighbour."""

    TYPE = MessageType.SYNC_NSM


@dataclass(frozen=True, slots=True)
class SyncRouterId(_Question):
    """Asks for a `RouterIdChange`."""

    TYPE = MessageType.SYNC_ROUTER_ID


# What ospfd says


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """The answer to a request: an ErrorCode, or a number that it does not have."""

    TYPE, FORMAT = MessageType.REPLY, "bxxx"
    code: int

    @property
    def text(self) -> str:
        names = {int(code): code.name.lower().replace("_", " ") for code in ErrorCode}
        return names.get(self.code, f"error {self.code}")


@dataclass(frozen=True, slots=True)
class ReadyNotify(Message):
    """From now on LSAs of this registered type can be originated. `address` is the area's, or the interface's."""

    TYPE, FORMAT = MessageType.READY_NOTIFY, "BBxx4s"
    lsa_type: int
    opaque_type: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class _LsaNotify(Message):
    FORMAT = "4s4s?xxx"
    interface: IPv4Address
    area: IPv4Address
    is_self: bool
    lsa: Lsa


@dataclass(frozen=True, slots=True)
class LsaUpdate(_LsaNotify):
    """An LSA as it is in the LSDB now; not necessarily one that changed."""

    TYPE = MessageType.LSA_UPDATE_NOTIFY


@dataclass(frozen=True, slots=True)
class LsaDelete(_LsaNotify):
    """An instance of an LSA that left the LSDB."""

    TYPE = MessageType.LSA_DELETE_NOTIFY


@dataclass(frozen=True, slots=True)
class NewInterface(Message):
    """OSPF was enabled on an interface."""

    TYPE, FORMAT = MessageType.NEW_IF, "4s4s"
    address: IPv4Address
    area: IPv4Address


@dataclass(frozen=True, slots=True)
class DelInterface(Message):
    """OSPF was disabled on an interface."""

    TYPE, FORMAT = MessageType.DEL_IF, "4s"
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class IsmChange(Message):
    """The state of an interface (RFC 2328 section 9.1), numbered as FRR does: 1 is down, 4 point-to-point."""

    TYPE, FORMAT = MessageType.ISM_CHANGE, "4s4sBxxx"
    address: IPv4Address
    area: IPv4Address
    state: int


@dataclass(frozen=True, slots=True)
class NsmChange(Message):
    """The state of a neighbour: a NeighbourState, or a number that it does not have."""

    TYPE, FORMAT = MessageType.NSM_CHANGE, "4s4s4sBxxx"
    interface: IPv4Address
    neighbour: IPv4Address
    router_id: IPv4Address
    state: int


@dataclass(frozen=True, slots=True)
class ReachableChange(Message):
    """Routers that SPF began or ceased to reach, by router id."""

    TYPE, FORMAT = MessageType.REACHABLE_CHANGE, "HH"
    added: tuple[IPv4Address, ...] = ()
    removed: tuple[IPv4Address, ...] = ()

    def encode(self) -> bytes:
        return self._pack((len(self.added), len(self.removed))) + _joined((*self.added, *self.removed))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        (added, removed), rest = cls._unpack(body)
        routers = _addresses(rest, added + removed)
        return cls(routers[:added], routers[added:])


@dataclass(frozen=True, slots=True)
class RouterIdChange(Message):
    """The router id of this ospfd."""

    TYPE, FORMAT = MessageType.ROUTER_ID_CHANGE, "4s"
    router_id: IPv4Address


REQUESTS: tuple[type[Message], ...] = (
    *(RegisterOpaqueType, UnregisterOpaqueType, RegisterEvent, SyncLsdb, OriginateRequest, DeleteRequest),
    *(SyncReachable, SyncIsm, SyncNsm, SyncRouterId),
)
NOTIFICATIONS: tuple[type[Message], ...] = (
    *(ReadyNotify, LsaUpdate, LsaDelete, NewInterface, DelInterface, IsmChange, NsmChange),
    *(ReachableChange, RouterIdChange),
)
MESSAGES: tuple[type[Message], ...] = (*REQUESTS, Reply, *NOTIFICATIONS)
_BY_TYPE: dict[int, type[Message]] = {each.TYPE: each for each in MESSAGES}


@dataclass(frozen=True, slots=True)
class Frame:
    """A message as it travels, its body not looked into yet. `type` need not be a MessageType: ospfd may be newer."""

    type: int
    sequence: int
    body: bytes

    def message(self) -> Message | None:
        """None for a type that is not known here. Raises PacketError."""
        kind = _BY_TYPE.get(self.type)
        return kind.decode(self.body) if kind else None


def frame(message: Message, sequence: int = 0) -> bytes:
    """A message with its header, as octets."""
    body = message.encode()
    unsigned("ospf_api.length", len(body), 16)
    unsigned("ospf_api.sequence", sequence, 32)
    return struct.pack("!BBHI", VERSION, message.TYPE, len(body), sequence) + body


class Frames:
    """Cuts a stream of octets into frames, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises PacketError for another version of the API."""
        data = self._rest + data
        frames, at = [], 0
        while len(data) - at >= HEADER_SIZE:
            version, kind, length, sequence = struct.unpack_from("!BBHI", data, at)
            if version != VERSION:
                raise PacketError("ospf_api.version", version, str(VERSION), at)
            end = at + HEADER_SIZE + length
            if len(data) < end:
                break
            frames.append(Frame(kind, sequence, data[at + HEADER_SIZE : end]))
            at = end
        self._rest = data[at:]
        return frames


def _joined(addresses: Sequence[IPv4Address]) -> bytes:
    return b"".join(each.packed for each in addresses)


def _addresses(data: bytes, count: int) -> tuple[IPv4Address, ...]:
    if len(data) != 4 * count:
        raise PacketError("ospf_api.addresses", f"{len(data)} octets", f"{4 * count}")
    return tuple(IPv4Address(data[at : at + 4]) for at in range(0, len(data), 4))
