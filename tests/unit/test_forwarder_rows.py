"""Rows and tables: what is written is what is read, by Python and by the forwarder's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

import pytest
from forwarder_sim import Router, running
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from testbed.forwarder.rows import (
    Action,
    BierAction,
    Bift,
    Branch,
    Context,
    End,
    Flow,
    Label,
    MplsBranch,
    NextHop,
    Node,
    Path,
    Pop,
    PopTo,
    Port,
    PortAction,
    Replicate,
    Role,
    Row,
    Segment,
    SegmentAction,
    Sid,
    Srv6Branch,
    Swap,
    parse_row,
)
from testbed.forwarder.state import State
from testbed.forwarder.tables import Tables, difference
from testbed.packet import BitString, Encapsulation
from testbed.packet.bitstring import LENGTHS

T = TypeVar("T")
ETHERNET, MPLS = Encapsulation.NON_MPLS, Encapsulation.MPLS
PATIENT = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60
)

# -- tables that a forwarder accepts ---------------------------------------------------------------------------------

names = st.from_regex(r"[!-~]{1,15}", fullmatch=True)
macs = st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))
addresses = st.ip_addresses()
addresses6 = st.ip_addresses(v=6)
tunnel_ends = st.ip_addresses(v=4).filter(lambda address: address.packed[0] not in (0, 127, *range(224, 256)))
numbers = st.integers(0, 2**32 - 2)
contexts = st.integers(1, 65535)
mtus = st.integers(1, 65535)
labels = st.integers(16, 2**20 - 1)
small = st.integers(0, 65535)
octets = st.integers(0, 255)
groups = st.one_of(st.ip_addresses(network="224.0.0.0/4"), st.ip_addresses(network="ff00::/8"))


def maybe(values: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | values


def some(values: st.SearchStrategy[T], most: int = 4) -> st.SearchStrategy[list[T]]:
    return st.lists(values, max_size=most, unique=True)


def bits(length: int) -> st.SearchStrategy[BitString]:
    dense = st.integers(1, 2**length - 1)
    sparse = st.integers(0, length - 1).map(lambda bit: 1 << bit)
    return (dense | sparse).map(lambda value: BitString(value, length))


@st.composite
def bifts(draw: st.DrawFn, encapsulation: Encapsulation, number: int) -> Bift:
    bsl, si, bfr_id = draw(st.sampled_from(LENGTHS)), draw(octets), draw(maybe(st.integers(1, 65535)))
    if bfr_id is not None and draw(st.booleans()):
        si = min((bfr_id - 1) // bsl, 255)  # the SI of its own bit
    known = {"sd": draw(octets), "context": draw(maybe(contexts)), "mtu": draw(maybe(mtus))}
    return Bift(encapsulation, number, bsl=bsl, si=si, bfr_id=bfr_id, **known)


def segments(number: int) -> st.SearchStrategy[Segment]:
    roles = st.sampled_from(Role)
    return st.builds(Segment, st.just(number), roles, threshold=octets, context=maybe(contexts), mtu=maybe(mtus))


@st.composite
def paths(draw: st.DrawFn, bift: Bift, hop: st.SearchStrategy[int]) -> list[Path]:
    """The own bit, if there is one, is local once in each way and in no other path."""
    bit = draw(st.integers(1, bift.bsl)) if bift.bfr_id is None else bift.bfr_id - bift.si * bift.bsl
    own = BitString(0, bift.bsl)
    if 1 <= bit <= bift.bsl and draw(st.booleans()):
        own = BitString.of({bit}, bift.bsl)
    found = []
    for way in range(draw(st.integers(0, 3))):
        indices = draw(st.lists(small, min_size=1, max_size=3, unique=True))
        if own:
            found.append(Path(bift.encapsulation, bift.id, way, indices.pop(), fbm=own, to=End.LOCAL))
        for index in indices:
            to = draw(st.just(End.DROP) | hop)
            as_id = None if isinstance(to, End) else draw(maybe(labels))
            if fbm := draw(bits(bift.bsl)) - own:
                found.append(Path(bift.encapsulation, bift.id, way, index, fbm=fbm, to=to, as_id=as_id))
    return found


@st.composite
def branch(draw: st.DrawFn, segment: Segment, index: int, plane: str, hop: st.SearchStrategy[int]) -> Branch:
    if plane == "mpls":
        return MplsBranch(
            segment.id, index, draw(st.lists(labels, min_size=1, max_size=8).map(tuple)), draw(maybe(hop))
        )
    steer = "srh" if segment.role is Role.HEAD and draw(st.booleans()) else "encaps"
    stack = {steer: draw(st.lists(addresses6, max_size=8).map(tuple))}
    return Srv6Branch(segment.id, index, draw(addresses6), draw(hop), **stack)


def operations(hop: st.SearchStrategy[int], segments: list[int]) -> st.SearchStrategy[Swap | PopTo | Pop | Replicate]:
    replicate = [st.builds(Replicate, st.sampled_from(segments))] if segments else []
    return st.one_of(st.builds(Swap, labels, hop), st.builds(PopTo, hop), st.builds(Pop, maybe(contexts)), *replicate)


def behaviours(segments: list[int]) -> st.SearchStrategy[Replicate | Context]:
    context = st.builds(Context, contexts)
    return context | st.builds(Replicate, st.sampled_from(segments)) if segments else context


@st.composite
def flows(draw: st.DrawFn, ports: list[str], bifts: list[Bift], segments: list[int]) -> list[Flow]:
    found: dict[tuple[object, ...], Flow] = {}
    for _ in range(draw(st.integers(0, 3))):
        group = draw(maybe(groups))
        source = None
        if group is not None:
            source = draw(maybe(st.ip_addresses(v=group.version).filter(lambda address: not address.is_unspecified)))
        actions: list[Action] = [PortAction(port) for port in draw(some(st.sampled_from(ports)))]
        actions += [BierAction(row.encapsulation, row.id, draw(bits(row.bsl))) for row in draw(subset(bifts))]
        actions += [SegmentAction(number) for number in draw(subset(segments))]
        flow = Flow(draw(contexts), source, group, tuple(draw(st.permutations(actions))))
        found[flow.key] = flow
    return list(found.values())


def subset(values: list[T]) -> st.SearchStrategy[list[T]]:
    return some(st.sampled_from(values)) if values else st.just([])


@st.composite
def all_tables(draw: st.DrawFn) -> Tables:
    """Tables with every kind of row, whose references lead somewhere."""
    ports = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    hops = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
    hop = st.sampled_from(hops)
    end = draw(maybe(tunnel_ends))
    ttl, fib = draw(st.integers(1, 255)), draw(maybe(hop))
    rows: list[Row] = [Node(source=draw(addresses6), ttl=ttl, tunnel=end, fib=fib)]
    rows += [Port(port, transport=draw(st.booleans()), context=draw(maybe(contexts))) for port in ports]
    rows += [NextHop(number, draw(st.sampled_from(ports)), draw(addresses | macs)) for number in hops]
    tunnels = draw(some(numbers.filter(lambda number: number not in hops), 2)) if end else []
    for number in tunnels:
        far_end = draw(tunnel_ends.filter(lambda address: address != end))
        rows.append(NextHop(number, draw(st.sampled_from(ports)), draw(addresses | macs), tunnel=far_end))

    taken = draw(some(labels, 3))  # a label is a BIFT's or does something else
    tables = [draw(bifts(draw(st.sampled_from(Encapsulation)), number)) for number in taken]
    rows += tables
    for bift in tables:
        rows += draw(paths(bift, st.sampled_from(hops + tunnels)))

    trees = [draw(segments(number)) for number in draw(some(numbers, 3))]
    rows += trees
    planes: dict[str, list[int]] = {"mpls": [], "srv6": []}
    for segment in trees:
        plane = draw(st.sampled_from(sorted(planes)))
        planes[plane].append(segment.id)
        if segment.role is not Role.LEAF:
            rows += [draw(branch(segment, index, plane, hop)) for index in draw(some(small, 3))]
    rows += [Label(label, draw(operations(hop, planes["mpls"]))) for label in draw(some(labels)) if label not in taken]
    rows += [Sid(sid, draw(behaviours(planes["srv6"]))) for sid in draw(some(addresses6))]
    rows += draw(flows(ports, [bift for bift in tables if bift.bfr_id], [segment.id for segment in trees]))
    return Tables(rows)


# -- the forwarder's parser ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with running() as sim:
        yield Router(sim, "r1")


def told(router: Router) -> Tables:
    return Tables.parse("\n".join(router.tables()))


@PATIENT
@given(all_tables())
def test_a_row_is_read_from_its_own_line(tables: Tables) -> None:
    assert [parse_row(row.line()) for row in tables] == list(tables)
    assert Tables.parse(tables.text()) == tables


@PATIENT
@given(all_tables())
def test_the_forwarder_reads_what_is_written_and_writes_what_is_read(router: Router, tables: Tables) -> None:
    assert router.change("replace", tables.text().splitlines()) == []
    assert told(router) == tables
    assert State.parse(json.dumps(router.state())).tables() == tables


@PATIENT
@given(all_tables(), all_tables())
def test_a_difference_turns_the_forwarders_tables_into_the_others(router: Router, old: Tables, new: Tables) -> None:
    assert router.change("replace", old.text().splitlines()) == []
    assert router.change("update", difference(old, new)) == []
    assert told(router) == new


@PATIENT
@given(all_tables(), st.data())
def test_a_difference_says_only_what_changes(router: Router, tables: Tables, data: st.DataObject) -> None:
    alone = [row for row in tables if isinstance(row, Branch | Label | Sid | Flow)]  # nothing refers to these
    assume(alone)
    row = data.draw(st.sampled_from(alone))
    less = Tables(other for other in tables if other != row)
    assert difference(less, tables) == (row.line(),)
    assert difference(tables, less) == (row.delete_line(),)
    assert router.change("replace", less.text().splitlines()) == []
    assert router.change("update", [row.line()]) == []
    assert told(router) == tables
    assert router.change("update", [row.delete_line()]) == []
    assert told(router) == less


# -- examples --------------------------------------------------------------------------------------------------------

LINES: dict[str, Row] = {
    "node source :: ttl 64": Node(),
    "node source 2001:db8::1 ttl 255 fib 9": Node(source=IPv6Address("2001:db8::1"), ttl=255, fib=9),
    "node source :: ttl 64 tunnel 10.0.0.1": Node(tunnel=IPv4Address("10.0.0.1")),
    "port r1-r2": Port("r1-r2"),
    "port r1-r2 transport context 7": Port("r1-r2", transport=True, context=7),
    "nexthop 1 port r1-r2 mac 02:00:00:00:00:01": NextHop(1, "r1-r2", "02:00:00:00:00:01"),
    "nexthop 1 port r1-r2 via 10.0.0.1": NextHop(1, "r1-r2", IPv4Address("10.0.0.1")),
    "nexthop 1 port r1-r2 via 10.0.0.1 tunnel 10.255.0.7": NextHop(
        1, "r1-r2", IPv4Address("10.0.0.1"), tunnel=IPv4Address("10.255.0.7")
    ),
    "nexthop 1 port r1-r2 via fe80::1": NextHop(1, "r1-r2", IPv6Address("fe80::1")),
    "bift ethernet 5 sd 0 si 0 bsl 64": Bift(ETHERNET, 5, bsl=64),
    "bift mpls 500 sd 1 si 2 bsl 256 bfr-id 3 context 7 mtu 1500": Bift(
        MPLS, 500, sd=1, si=2, bsl=256, bfr_id=3, context=7, mtu=1500
    ),
    "path ethernet 5 0 1 fbm 0000000004000001 nexthop 2": Path(ETHERNET, 5, 0, 1, fbm=BitString.of({1, 27}, 64), to=2),
    "path ethernet 5 0 1 fbm 0000000000000001 nexthop 2 as 6": Path(
        ETHERNET, 5, 0, 1, fbm=BitString.of({1}, 64), to=2, as_id=6
    ),
    "path mpls 500 1 0 fbm 0000000000000001 local": Path(MPLS, 500, 1, 0, fbm=BitString.of({1}, 64), to=End.LOCAL),
    "path mpls 500 1 0 fbm 0000000000000003 drop": Path(MPLS, 500, 1, 0, fbm=BitString.of({1, 2}, 64), to=End.DROP),
    "label 16001 swap 16002 nexthop 3": Label(16001, Swap(16002, 3)),
    "label 16001 pop nexthop 3": Label(16001, PopTo(3)),
    "label 16001 pop": Label(16001, Pop()),
    "label 16001 pop context 7": Label(16001, Pop(context=7)),
    "label 16001 replicate 4": Label(16001, Replicate(4)),
    "sid 2001:db8::1 replicate 4": Sid(IPv6Address("2001:db8::1"), Replicate(4)),
    "sid 2001:db8::1 context 7": Sid(IPv6Address("2001:db8::1"), Context(7)),
    "segment 4 transit": Segment(4, Role.TRANSIT),
    "segment 4 bud threshold 10 context 7 mtu 9000": Segment(4, Role.BUD, threshold=10, context=7, mtu=9000),
    "branch 4 0 labels 16001": MplsBranch(4, 0, (16001,)),
    "branch 4 0 labels 16001,17001 nexthop 3": MplsBranch(4, 0, (16001, 17001), 3),
    "branch 4 1 sid 2001:db8::2 nexthop 9": Srv6Branch(4, 1, IPv6Address("2001:db8::2"), 9),
    "branch 4 1 sid 2001:db8::2 encaps ::1,::2 nexthop 9": Srv6Branch(
        4, 1, IPv6Address("2001:db8::2"), 9, encaps=(IPv6Address("::1"), IPv6Address("::2"))
    ),
    "branch 4 1 sid 2001:db8::2 srh ::1 nexthop 9": Srv6Branch(
        4, 1, IPv6Address("2001:db8::2"), 9, srh=(IPv6Address("::1"),)
    ),
    "flow 7 * *": Flow(7, None, None),
    "flow 7 10.0.0.1 232.0.0.1 segment 4 port r1-s1": Flow(
        7, IPv4Address("10.0.0.1"), IPv4Address("232.0.0.1"), (PortAction("r1-s1"), SegmentAction(4))
    ),
    "flow 7 * ff3e::1 bier mpls 500 8000000000000000": Flow(
        7, None, IPv6Address("ff3e::1"), (BierAction(MPLS, 500, BitString.of({64}, 64)),)
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_as_documented(line: str) -> None:
    assert LINES[line].line() == line
    assert parse_row(line) == LINES[line]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("bift ethernet 5 bsl 64 si 1", Bift(ETHERNET, 5, si=1, bsl=64)),
        ("  port\tr1-r2   context 7 transport ", Port("r1-r2", transport=True, context=7)),
        ("path mpls 500 0 0 as 500 nexthop 1 fbm F", Path(MPLS, 500, 0, 0, fbm=BitString(15, 64), to=1)),
        ("branch 4 1 nexthop 9 sid ::2", Srv6Branch(4, 1, IPv6Address("::2"), 9)),
    ],
)
def test_what_the_forwarder_would_read_is_read(line: str, row: Row) -> None:
    assert parse_row(line) == row


@pytest.mark.parametrize(
    "line",
    [
        "",
        "gate 5",
        "port",
        "port r1-r2 transports",
        "port r1-r2 context seven",
        "nexthop 1 port r1-r2",
        "nexthop 1 mac 02:00:00:00:00:01",
        "nexthop 1 port r1-r2 mac 02:00:00:00:00",
        "nexthop 1 port r1-r2 mac 02:00:00:00:00:01 via ::1",
        "bift ether 5 bsl 64",
        "bift mpls 500 sd 1",
        "path mpls 500 0 0 fbm 1",
        "path mpls 500 0 0 fbm 1 local drop",
        "path mpls 500 0 0 fbm 0x1 local",
        "path mpls 500 0 0 local",
        "label 16001 push 5",
        "label 16001 swap 5",
        "label 16001 pop context 7 nexthop 3",
        "label 16001 replicate 4 5",
        "sid 10.0.0.1 context 7",
        "sid ::1",
        "segment 4 root",
        "segment 4 leaf context +7",
        "branch 4 0",
        "branch 4 0 labels 16001 sid ::1",
        "branch 4 0 labels 16001,,16002",
        "branch 4 0 sid ::1",
        "branch 4 0 sid ::1 nexthop 9 encaps ::1 srh ::1",
        "flow 7 *",
        "flow 7 0.0.0.0 232.0.0.1",
        "flow 7 * 232.0.0.1 bier mpls 500",
        "flow 7 * 232.0.0.1 host 3",
    ],
)
def test_no_row_is_made_of_anything_else(line: str) -> None:
    with pytest.raises(ValueError, match="is no row: "):
        parse_row(line)


@pytest.mark.parametrize("name", ["", "r1 transport", "r1\ncommit", "a" * 16, "é"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(ValueError, match="interface name"):
        Port(name)
    with pytest.raises(ValueError, match="interface name"):
        NextHop(1, name, "02:00:00:00:00:01")
    with pytest.raises(ValueError, match="interface name"):
        PortAction(name)


@pytest.mark.parametrize("mac", ["10.0.0.1", "02:00:00:00:00:0A", "02:00:00:00:00:01 "])
def test_a_mac_address_is_written_as_linux_does(mac: str) -> None:
    with pytest.raises(ValueError, match="MAC address"):
        NextHop(1, "r1-r2", mac)


def test_what_a_row_cannot_say() -> None:
    own = BitString.of({1}, 64)
    with pytest.raises(ValueError, match="another BIFT-id"):
        Path(MPLS, 500, 0, 0, fbm=own, to=End.LOCAL, as_id=501)
    with pytest.raises(ValueError, match="either way"):
        Srv6Branch(4, 0, IPv6Address("::2"), 9, encaps=(IPv6Address("::1"),), srh=(IPv6Address("::1"),))
    with pytest.raises(ValueError, match="is None"):
        Flow(7, IPv6Address("::"), IPv6Address("ff3e::1"))


def test_the_order_of_actions_means_nothing() -> None:
    one, other = PortAction("a"), PortAction("b")
    assert Flow(7, None, None, (one, other)) == Flow(7, None, None, (other, one))


class TestTables:
    bift = Bift(MPLS, 500, bsl=64)
    path = Path(MPLS, 500, 0, 0, fbm=BitString.of({1}, 64), to=End.LOCAL)
    segment = Segment(4, Role.HEAD)
    branch = MplsBranch(4, 0, (16001,))

    def test_they_are_values(self) -> None:
        one, other = Tables([self.path, self.bift]), Tables([self.bift, self.path, Node()])
        assert one == other
        assert hash(one) == hash(other)
        assert one != Tables([self.bift])
        assert list(one) == [Node(), self.bift, self.path]
        assert self.path in one
        assert self.branch not in one
        assert len(one) == 3

    def test_rows_are_sorted_by_value(self) -> None:
        flows = (
            Flow(7, None, None),
            Flow(7, IPv4Address("2.0.0.1"), IPv4Address("232.0.0.1")),
            Flow(7, IPv4Address("10.0.0.1"), IPv4Address("232.0.0.1")),
            Flow(7, IPv6Address("::1"), IPv6Address("ff3e::1")),
        )
        ordered = [*(Label(number, Pop()) for number in (99, 100, 1000)), *flows]
        assert list(Tables(reversed(ordered)))[1:] == ordered

    def test_a_key_is_given_once(self) -> None:
        with pytest.raises(ValueError, match=r"two rows of one key: branch 4 0 .* and branch 4 0 "):
            Tables([self.branch, Srv6Branch(4, 0, IPv6Address("::2"), 9)])

    def test_put_replaces_rows_of_the_same_key(self) -> None:
        longer = Path(MPLS, 500, 0, 0, fbm=BitString.of({1, 2}, 64), to=3)
        tables = Tables([self.bift, self.path]).put(longer, self.segment)
        assert tables == Tables([self.bift, longer, self.segment])

    def test_one_kind_of_row(self) -> None:
        tables = Tables([self.segment, self.branch, self.bift])
        assert tables.all(Branch) == (self.branch,)
        assert tables.all(Bift) == (self.bift,)

    def test_bit_strings_are_as_long_as_their_bifts(self) -> None:
        with pytest.raises(ValueError, match="256 bits where the BIFT has 64"):
            Tables([self.bift, Path(MPLS, 500, 0, 0, fbm=BitString.of({1}), to=End.LOCAL)])
        with pytest.raises(ValueError, match="256 bits where the BIFT has 64"):
            Tables([self.bift, Flow(7, None, None, (BierAction(MPLS, 500, BitString.of({1})),))])

    def test_read_bit_strings_are_as_long_as_their_bifts(self) -> None:
        text = "# comment\n\npath mpls 500 0 0 fbm ffffffffffffffff drop\nbift mpls 500 bsl 4096\n"
        (path,) = Tables.parse(text).all(Path)
        assert path.fbm == BitString(2**64 - 1, 4096)
        with pytest.raises(ValueError, match="bitstring"):
            Tables.parse("path mpls 500 0 0 fbm 10000000000000000 drop\nbift mpls 500 bsl 64\n")

    def test_no_difference(self) -> None:
        assert difference(Tables([self.bift]), Tables([self.bift, Node()])) == ()

    def test_children_are_deleted_with_their_parents(self) -> None:
        full = Tables([self.bift, self.path, self.segment, self.branch])
        assert difference(full, Tables()) == ("del bift mpls 500", "del segment 4")
        assert difference(full, Tables([self.bift, self.segment])) == ("del path mpls 500 0 0", "del branch 4 0")

    def test_a_child_without_its_parent_is_left_to_the_forwarder_to_refuse(self) -> None:
        lines = difference(Tables([self.bift, self.path]), Tables([self.path]))
        assert lines == ("del bift mpls 500", self.path.line())
