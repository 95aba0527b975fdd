"""Messages of the OSPF API: octets as FRR 8.4's ospfd took and sent them, then round trips and bounds."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.packet import PacketError
from testbed.packet.ospf_api import (
    ALL_TYPES,
    BACKBONE,
    LARGEST_LSA,
    MESSAGES,
    NO_INTERFACE,
    DeleteRequest,
    DelInterface,
    ErrorCode,
    Frame,
    Frames,
    IsmChange,
    LsaDelete,
    LsaUpdate,
    Message,
    MessageType,
    NeighbourState,
    NewInterface,
    NsmChange,
    Origin,
    OriginateRequest,
    ReachableChange,
    ReadyNotify,
    RegisterEvent,
    RegisterOpaqueType,
    Reply,
    RouterIdChange,
    SyncIsm,
    SyncLsdb,
    SyncNsm,
    SyncReachable,
    SyncRouterId,
    UnregisterOpaqueType,
    frame,
)
from testbed.packet.ospf_lsa import Lsa, LsaType, opaque_lsa_id

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine too
A = IPv4Address
ANY = A(0)
OUR_LSA = Lsa(LsaType.OPAQUE_AREA, opaque_lsa_id(200, 0x010203), ANY, bytes.fromhex("01020304"))
THEIR_LSA = Lsa(
    LsaType.OPAQUE_AREA, opaque_lsa_id(200, 0), A("10.255.0.1"), b"11111111", sequence=-(2**31) + 1, age=1, options=0x42
)

REQUESTS = {  # as ospfd took them
    "0101 0004 00000001  0a c8 0000": RegisterOpaqueType(10, 200),
    "0103 0004 00000001  ffff 02 00": RegisterEvent(),
    "0104 0004 00000001  ffff 02 00": SyncLsdb(),
    "0105 0020 00000001  00000000 00000000  0000 00 0a c8010203 00000000 80000001 dea4 0018 01020304": OriginateRequest(
        NO_INTERFACE, BACKBONE, OUR_LSA
    ),
    "0106 000c 00000001  00000000 0a c8 00 00 0000004d": DeleteRequest(BACKBONE, 10, 200, 0, 77),
    "0107 0004 00000001  00000000": SyncReachable(),
    "0108 0004 00000001  00000000": SyncIsm(),
    "0109 0004 00000001  00000000": SyncNsm(),
    "0113 0004 00000001  00000000": SyncRouterId(),
}
ANSWERS = {  # as it sent them
    "010a 0004 00000001  00 000000": Reply(ErrorCode.OK),
    "010a 0004 00000001  fb 000000": Reply(ErrorCode.OPAQUE_TYPE_IN_USE),
    "010b 0008 00000001  0a c8 0000 00000000": ReadyNotify(10, 200, BACKBONE),
    "010c 0028 00000001  00000000 00000000 00 000000  0001 42 0a c8000000 0aff0001 80000001 b008 001c"
    "3131313131313131": LsaUpdate(NO_INTERFACE, BACKBONE, False, THEIR_LSA),
    "0110 000c 00000001  0a000002 00000000 04 000000": IsmChange(A("10.0.0.2"), BACKBONE, 4),
    "0111 0010 00000001  0a000002 0a000001 0aff0001 09 000000": NsmChange(
        A("10.0.0.2"), A("10.0.0.1"), A("10.255.0.1"), NeighbourState.FULL
    ),
    "0112 000c 00000001  0002 0000 0aff0001 0aff0003": ReachableChange((A("10.255.0.1"), A("10.255.0.3"))),
    "0114 0004 00000001  0aff0002": RouterIdChange(A("10.255.0.2")),
}
OTHERS = {  # by the layout
    "0102 0004 00000001  0b 07 0000": UnregisterOpaqueType(11, 7),
    "0103 000c 00000001  0201 01 02 00000001 00000002": RegisterEvent(
        frozenset({LsaType.ROUTER, LsaType.OPAQUE_AREA}), Origin.SELF, (A(1), A(2))
    ),
    "0106 000c 00000001  00000001 0a c8 00 01 00ffffff": DeleteRequest(A(1), 10, 200, 1, 0xFFFFFF),
    "010d 0028 00000001  01020304 00000000 01 000000  0001 42 0a c8000000 0aff0001 80000001 b008 001c"
    "3131313131313131": LsaDelete(A("1.2.3.4"), BACKBONE, True, THEIR_LSA),
    "010e 0008 00000001  0a000002 00000001": NewInterface(A("10.0.0.2"), A(1)),
    "010f 0004 00000001  0a000002": DelInterface(A("10.0.0.2")),
    "0112 000c 00000001  0001 0001 0aff0001 0aff0003": ReachableChange((A("10.255.0.1"),), (A("10.255.0.3"),)),
}
GOLDEN = {bytes.fromhex(octets): message for octets, message in (REQUESTS | ANSWERS | OTHERS).items()}

ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
ROUTERS = st.lists(ADDRESSES, max_size=4).map(tuple)
U8 = st.integers(0, 255)
LSAS = st.builds(
    Lsa, U8, ADDRESSES, ADDRESSES, st.binary(max_size=40).map(lambda body: body + bytes(-len(body) % 4)), age=U8
)
FILTERS = (st.frozensets(st.integers(1, 16)), U8, ROUTERS)
MESSAGE = st.one_of(
    st.builds(RegisterOpaqueType, U8, U8),
    st.builds(UnregisterOpaqueType, U8, U8),
    st.builds(RegisterEvent, *FILTERS),
    st.builds(SyncLsdb, *FILTERS),
    st.builds(OriginateRequest, ADDRESSES, ADDRESSES, LSAS),
    st.builds(DeleteRequest, ADDRESSES, U8, U8, U8, st.integers(0, 2**32 - 1)),
    st.builds(SyncReachable),
    st.builds(SyncIsm),
    st.builds(SyncNsm),
    st.builds(SyncRouterId),
    st.builds(Reply, st.integers(-128, 127)),
    st.builds(ReadyNotify, U8, U8, ADDRESSES),
    st.builds(LsaUpdate, ADDRESSES, ADDRESSES, st.booleans(), LSAS),
    st.builds(LsaDelete, ADDRESSES, ADDRESSES, st.booleans(), LSAS),
    st.builds(NewInterface, ADDRESSES, ADDRESSES),
    st.builds(DelInterface, ADDRESSES),
    st.builds(IsmChange, ADDRESSES, ADDRESSES, U8),
    st.builds(NsmChange, ADDRESSES, ADDRESSES, ADDRESSES, U8),
    st.builds(ReachableChange, ROUTERS, ROUTERS),
    st.builds(RouterIdChange, ADDRESSES),
)


@pytest.mark.parametrize(
    ("octets", "message"), GOLDEN.items(), ids=lambda v: "" if isinstance(v, bytes) else v.TYPE.name
)
def test_golden_octets(octets: bytes, message: Message) -> None:
    assert frame(message, 1) == octets
    (received,) = Frames().feed(octets)
    assert received == Frame(message.TYPE, 1, octets[8:])
    assert received.message() == message


def test_every_type_of_message_is_here() -> None:
    assert {each.TYPE for each in MESSAGES} == set(MessageType) == {each.TYPE for each in GOLDEN.values()}


@PATIENT
@given(MESSAGE, st.integers(0, 2**32 - 1))
def test_round_trip(message: Message, sequence: int) -> None:
    (received,) = Frames().feed(frame(message, sequence))
    assert (received.message(), received.sequence) == (message, sequence)


@PATIENT
@given(st.lists(st.tuples(MESSAGE, st.integers(0, 9)), max_size=6), st.data())
def test_frames_in_any_pieces(messages: list[tuple[Message, int]], data: st.DataObject) -> None:
    stream = b"".join(frame(message, sequence) for message, sequence in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    frames = Frames()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found = [(each.message(), each.sequence) for piece in pieces for each in frames.feed(piece)]
    assert found == messages


@PATIENT
@given(st.sampled_from(MESSAGES), st.binary(max_size=60))
def test_any_octets(kind: type[Message], body: bytes) -> None:
    with suppress(PacketError):
        Frame(kind.TYPE, 0, body).message()


def test_filter_bits_begin_with_type_1() -> None:
    assert RegisterEvent(frozenset({1})).encode()[:2] == b"\x00\x01"
    assert RegisterEvent(frozenset({16})).encode()[:2] == b"\x80\x00"
    assert RegisterEvent(ALL_TYPES).encode()[:2] == b"\xff\xff"


def test_what_a_newer_ospfd_may_say() -> None:
    assert Frame(99, 1, b"whatever").message() is None
    assert Reply(-77).text == "error -77"
    assert Reply(ErrorCode.NOT_READY).text == "not ready"


def test_another_version_is_refused() -> None:
    with pytest.raises(PacketError, match=r"ospf_api.version at octet 12: found 2"):
        Frames().feed(frame(Reply(0)) + b"\x02" + bytes(7))


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (MessageType.REPLY, "00", "ospf_api.length"),
        (MessageType.REPLY, "00 000000 00", "ospf_api.length"),
        (MessageType.REACHABLE_CHANGE, "0001 0000", "ospf_api.addresses"),
        (MessageType.REGISTER_EVENT, "ffff 02 01 000000", "ospf_api.addresses"),
        (MessageType.LSA_UPDATE_NOTIFY, "00000000 00000000 00000000", "lsa.age"),
        (MessageType.LSA_UPDATE_NOTIFY, f"{'00' * 12} 0001 42 0a c8000000 0aff0001 80000001 b008 001c", "lsa.length"),
    ],
)
def test_what_is_malformed(kind: MessageType, body: str, field: str) -> None:
    with pytest.raises(PacketError) as caught:
        Frame(kind, 0, bytes.fromhex(body)).message()
    assert caught.value.field == field


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegisterOpaqueType(10, 256).encode(),
        lambda: RegisterEvent(frozenset({0})).encode(),
        lambda: RegisterEvent(frozenset({17})).encode(),
        lambda: Reply(128).encode(),
        lambda: frame(Reply(0), 1 << 32),
        lambda: frame(ReachableChange((ANY,) * 16384)),
        lambda: OriginateRequest(ANY, ANY, Lsa(10, ANY, ANY, bytes(5))),
        lambda: OriginateRequest(ANY, ANY, Lsa(10, ANY, ANY, bytes(LARGEST_LSA - 16))),
    ],
)
def test_what_cannot_be_built(make: object) -> None:
    assert callable(make)
    with pytest.raises(PacketError):
        make()
