"""What nobody should send or write, sent and written: counted or refused with a reason, and nothing else happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from forwarder_sim import Outcome, Router, Sim, frame, port_mac, ports, running
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from testbed.packet import (
    Bier,
    BitString,
    Ethertype,
    Icmpv6Echo,
    IPv6,
    LabelStackEntry,
    Srh,
    encode_stack,
    label_stack,
    multicast_mac,
    udp_packet,
)

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
ME = port_mac("", "p1")
BUD, LEAF, CONTEXT = map(IPv6Address, ("2001:db8:cccc:1:f1::", "2001:db8:cccc:1:f2::", "2001:db8:cccc:1:d2::"))
OTHER = IPv6Address("2001:db8:cccc:2:f2::")

EVERYTHING = [
    "node source 2001:db8::1 ttl 64 tunnel 198.51.100.1 fib 3",
    *ports(3),
    "port in context 1",
    "port host",
    "nexthop 9 port p2 via 2001:db8::99",
    "nexthop 8 port p2 mac 02:00:00:01:00:02 tunnel 198.51.100.8",
    "bift ethernet 100 sd 0 si 0 bsl 64 bfr-id 3 context 2 mtu 1400",
    "path ethernet 100 0 0 fbm 9 nexthop 2",
    "path ethernet 100 0 1 fbm 2 nexthop 3",
    "path ethernet 100 0 2 fbm 4 local",
    "path ethernet 100 0 3 fbm ff00 drop",
    "path ethernet 100 0 4 fbm ff0000 nexthop 8 as 101",
    "bift mpls 100 sd 0 si 0 bsl 256 bfr-id 3 context 2",
    "path mpls 100 0 0 fbm 1b nexthop 2 as 1000",
    "path mpls 100 0 1 fbm 12 nexthop 3 as 1001",
    "path mpls 100 0 2 fbm 4 local",
    "path mpls 100 1 0 fbm 12 nexthop 3 as 1001",
    "path mpls 100 1 1 fbm 4 local",
    "label 16 pop",
    "label 17 pop context 2",
    "label 18 swap 19 nexthop 2",
    "label 19 pop nexthop 3",
    "label 20 replicate 1",
    "label 21 replicate 2",
    f"sid {BUD} replicate 3",
    f"sid {LEAF} replicate 4",
    f"sid {CONTEXT} context 2",
    "segment 1 bud context 2",
    "branch 1 0 labels 200 nexthop 2",
    "branch 1 1 labels 18,201",
    "segment 2 leaf context 2",
    "segment 3 bud context 2 threshold 5",
    f"branch 3 0 sid {OTHER} nexthop 2",
    f"branch 3 1 sid {OTHER} nexthop 3 encaps 2001:db8::7,2001:db8::8",
    "segment 4 leaf context 2",
    "segment 5 head mtu 1400",
    "branch 5 0 labels 300,301 nexthop 2",
    f"branch 5 1 sid {OTHER} nexthop 3 srh 2001:db8::7,2001:db8::8",
    f"flow 1 {A4} {G4} bier ethernet 100 b segment 5 port host",
    f"flow 1 * {G6} bier mpls 100 17",
    "flow 2 * * port host",
]
V4, V6 = udp_packet(A4, G4, 1, 2, b"data"), udp_packet(A6, G6, 1, 2, b"data")


def bier_header(bsl: int = 64, proto: int = 4) -> Bier:
    return Bier(bift_id=100, bits=BitString.of({1, 2, 3}, bsl), proto=proto, bfir_id=9)


def outer(dst: IPv6Address, next_header: int, inner: bytes) -> bytes:
    return IPv6(A6, dst, next_header).encode(inner)


OPTIONS = b"\x3c\x00\x01\x04" + bytes(4) + b"\x04\x00" + bytes(6)  # hop by hop, then for the destination


def labelled(*labels: int, inner: bytes, bottom: bool = True) -> bytes:
    return frame(ME, Ethertype.MPLS, encode_stack(label_stack(labels, bottom=bottom), inner))


def segment(dst: IPv6Address, next_header: int, inner: bytes) -> bytes:
    return frame(ME, Ethertype.IPV6, outer(dst, next_header, inner))


FRAMES = {
    "bier": ("p1", frame(ME, Ethertype.BIER, bier_header().encode(V4))),
    "bier in mpls": ("p1", frame(ME, Ethertype.MPLS, bier_header(256, 6).encode(V6))),
    "bier in a tunnel": ("p1", labelled(16, inner=bier_header(256).encode(V4), bottom=False)),
    "swap": ("p1", labelled(18, 99, inner=V4)),
    "pop": ("p1", labelled(19, inner=V6)),
    "bud": ("p1", labelled(16, 20, 17, inner=V4)),
    "leaf": ("p1", labelled(21, inner=V6)),
    "sid of a bud": ("p1", segment(BUD, 4, V4)),
    "sid of a leaf, srh": ("p1", segment(LEAF, 43, Srh(41, (CONTEXT, LEAF), 1).encode(V6))),
    "options": ("p1", segment(LEAF, 0, OPTIONS + V4)),
    "echo": ("p1", segment(LEAF, 58, Icmpv6Echo(1, 2).encode(b"ping", A6, LEAF))),
    "IPv4": ("in", frame(multicast_mac(G4), Ethertype.IPV4, V4)),
    "IPv6": ("in", frame(multicast_mac(G6), Ethertype.IPV6, V6)),
}
each_frame = pytest.mark.parametrize("name", FRAMES)


def quick(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with running() as sim:
        yield sim


@pytest.fixture(scope="module")
def router(sim: Sim) -> Router:
    """One that does everything. No test here changes what it knows."""
    router = Router(sim, "").load(*EVERYTHING)
    for port in ("in", "host"):
        router.interface(port, "02:00:00:00:ff:02", 1500)
    return router


@pytest.fixture(autouse=True)
def unchanged(router: Router) -> Iterator[None]:
    before = router.tables()
    yield
    assert router.tables() == before


class TestFrames:
    @each_frame
    def test_the_good_ones_are_good(self, router: Router, name: str) -> None:
        outcome = router.judge(*FRAMES[name])
        assert outcome.sent
        assert not outcome.drops

    @each_frame
    def test_cut_anywhere(self, router: Router, name: str) -> None:
        """Counted at every length, but for what might be the kernel's."""
        port, whole = FRAMES[name]
        for size in range(1, len(whole)):
            outcome = router.judge(port, whole[:size])
            silent = "sid" in name or name in ("options", "echo")
            if size < 14:
                assert outcome == Outcome([], Counter(short=1)), size
            elif silent:
                assert outcome == Outcome([], Counter(short=1) if size >= 14 + 40 else Counter()), size
            elif port == "in":
                assert outcome == Outcome([], Counter({"ip-header": 1})), size
            elif name in ("swap", "pop"):
                assert bool(outcome.sent) != bool(outcome.drops), size
            else:
                assert outcome.drops, size
                assert not [each for each in outcome.ports if each == "host"], size

    @pytest.mark.parametrize(
        ("name", "header"), [("bier", 12 + 8), ("bier in mpls", 12 + 32), ("bier in a tunnel", 4 + 12 + 32)]
    )
    def test_a_bier_header_that_is_cut(self, router: Router, name: str, header: int) -> None:
        port, whole = FRAMES[name]
        for size in range(14, 14 + header):
            outcome = router.judge(port, whole[:size])
            assert not outcome.sent
            assert set(outcome.drops) <= {"short", "label-bottom"}
        outcome = router.judge(port, whole[: 14 + header])
        assert outcome.drops == {"ip-header": 1}, "nothing is left for the BFER, others get what there is"
        assert outcome.ports

    @pytest.mark.parametrize("labels", [(), (16,), (16, 16), (16,) * 100, (16, 20), (20,), (21,), (21, 16)])
    def test_a_stack_without_a_bottom(self, router: Router, labels: tuple[int, ...]) -> None:
        stack = b"".join(LabelStackEntry(label).encode() for label in labels)
        for rest in (b"", b"\0", b"\0\1\2"):
            outcome = router.judge("p1", frame(ME, Ethertype.MPLS, stack + rest))
            assert set(outcome.drops) == {"label-bottom" if labels else "short"}
            assert "host" not in outcome.ports

    @pytest.mark.parametrize("size", [9000, 65_536, 200_000])
    @each_frame
    def test_oversized(self, router: Router, name: str, size: int) -> None:
        """Longer than any link: nothing that long goes out, what has a length of its own is cut to it."""
        port, whole = FRAMES[name]
        for _, copy in router.judge(port, whole + bytes(size - len(whole))).sent:
            assert len(copy) <= 9014

    @pytest.mark.parametrize("name", ["sid of a bud", "sid of a leaf, srh", "options", "echo"])
    def test_a_payload_length_that_lies(self, router: Router, name: str) -> None:
        port, whole = FRAMES[name]
        true = len(whole) - 54
        for length in (*range(true + 1, true + 20), 32768, 65535):
            outcome = router.judge(port, whole[:18] + length.to_bytes(2, "big") + whole[20:])
            assert outcome == Outcome([], Counter(short=1))
        for length in range(true):
            outcome = router.judge(port, whole[:18] + length.to_bytes(2, "big") + whole[20:])
            assert "host" not in outcome.ports
            assert outcome.drops

    def test_every_srh(self, router: Router) -> None:
        """All combinations of Hdr Ext Len, Last Entry and Segments Left, against the text of RFC 8754 4.3.1.1."""
        body = CONTEXT.packed * 4
        values = (0, 1, 2, 3, 4, 5, 7, 127, 255)
        for size in values:
            for last in values:
                for left in values:
                    header = bytes((4, size, 4, left, last, 0, 0, 0)) + body[: 8 * size]
                    outcome = router.judge("p1", segment(LEAF, 43, header + V4))
                    whole = 8 * size <= len(body)
                    fits = last <= size // 2 - 1 and left <= last + 1
                    if not whole or (left and not fits):
                        wanted = Outcome([], Counter(srh=1))
                    elif left > 1:
                        wanted = Outcome([], Counter({"segments-left": 1}))
                    else:
                        assert outcome.ports == ["host"], (size, last, left)
                        continue
                    assert outcome == wanted, (size, last, left)

    def test_extension_headers_without_end(self, router: Router) -> None:
        for kind in (0, 43, 60):
            chain = bytes((kind, 0, 1 if kind != 43 else 4, 4 if kind != 43 else 0)) + bytes(4)
            outcome = router.judge("p1", segment(LEAF, kind, chain * 100))
            assert outcome == Outcome([], Counter({"srh" if kind == 43 else "short": 1}))

    @pytest.mark.parametrize("where", range(14, 34))
    @each_frame
    def test_one_octet_at_a_time(self, router: Router, name: str, where: int) -> None:
        """Of the first header behind the frame's, through all of its values that are one bit or all bits away."""
        port, whole = FRAMES[name]
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            data = bytearray(whole)
            data[where] ^= change
            self.check(router, port, bytes(data))

    def check(self, router: Router, port: str, data: bytes) -> None:
        """Whatever it is: it comes to something that is counted, and to no more copies than there are ways out."""
        outcome = router.judge(port, data)
        assert len(outcome.sent) <= 5
        for _, copy in outcome.sent:
            assert 14 < len(copy) <= 9014
        if (
            port == "p1"
            and data[:6] == bytes.fromhex(ME.replace(":", ""))
            and data[12:14] in (b"\xab\x37", b"\x88\x47")
        ):
            assert outcome.sent or outcome.drops

    @quick(400)
    @given(name=st.sampled_from(sorted(FRAMES)), data=st.data())
    def test_beside_what_is_good(self, router: Router, name: str, data: st.DataObject) -> None:
        port, whole = FRAMES[name]
        changed = bytearray(whole)
        for at, octet in data.draw(
            st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)
        ):
            changed[at] = octet
        size = data.draw(st.integers(1, len(whole)) | st.just(len(whole)))
        self.check(
            router, data.draw(st.sampled_from([port, port, port, "in", "p1", "p2", "host"])), bytes(changed[:size])
        )

    @quick(300)
    @given(
        data=st.binary(max_size=200),
        ethertype=st.sampled_from([0xAB37, 0x8847, 0x86DD, 0x0800, 0x0806]),
        mac=st.sampled_from([ME, multicast_mac(G4), multicast_mac(G6), "ff:ff:ff:ff:ff:ff"]),
        port=st.sampled_from(["p1", "in", "host"]),
    )
    def test_at_random(self, router: Router, data: bytes, ethertype: int, mac: str, port: str) -> None:
        self.check(router, port, frame(mac, ethertype, data))

    @quick(200)
    @given(data=st.binary(min_size=1, max_size=60))
    def test_not_even_a_frame(self, router: Router, data: bytes) -> None:
        self.check(router, "p1", data)


# -- the control language ----------------------------------------------------------------------------------------------

BIFT = "bift ethernet 7 bsl 64"
MALFORMED = {
    "bogus": "unknown word: bogus",
    "node bogus": "unknown word: bogus",
    "node ttl": "the TTL is missing",
    "node ttl 0": "the TTL must be a number from 1 to 255, not 0",
    "node ttl 256": "from 1 to 255",
    "node ttl -1": "from 1 to 255",
    "node ttl 1x": "from 1 to 255",
    "node ttl +1": "from 1 to 255",
    "node ttl 0x10": "from 1 to 255",
    "node ttl 18446744073709551617": "from 1 to 255",
    "node source": "an address is missing",
    "node source 192.0.2.1": "an IPv6 address is wanted, not 192.0.2.1",
    "node source fe80::1%lo": "an IPv6 address is wanted",
    "node fib 4294967295": "a next hop's number must be",
    "node tunnel": "an IPv4 address is missing",
    "node tunnel 2001:db8::1": "an IPv4 address is wanted, not 2001:db8::1",
    "node tunnel 0.0.0.0": "a tunnel ends at a unicast address, not 0.0.0.0",
    "node tunnel 232.1.2.3": "a tunnel ends at a unicast address",
    "node tunnel 127.0.0.1": "a tunnel ends at a unicast address",
    "node": "nexthop 8: a tunnel needs this router's end as well",
    "node tunnel 198.51.100.8": "nexthop 8: a tunnel from this router to itself",
    "node tunnel 198.51.100.1 fib 8": "node's fib 0: nexthop 8 is a tunnel, which is for paths of a bift only",
    "port": "the port's name is missing",
    "port abcdefghijklmnop": "an interface name has at most 15 characters",
    "port p1 context 0": "a context must be a number from 1 to 65535",
    "port p1 context 65536": "a context must be a number from 1 to 65535",
    "port p1 transport yes": "unknown word: yes",
    "nexthop 50": "a next hop needs: port NAME",
    "nexthop x port p1 mac 02:00:00:00:00:01": "a next hop's number must be",
    "nexthop 50 port p1": "a next hop needs either",
    "nexthop 50 port p1 mac 02:00:00:00:00:01 via 192.0.2.1": "a next hop needs either",
    "nexthop 50 port p1 mac 02:00:00:00:00": "a MAC address is written",
    "nexthop 50 port p1 mac 02:00:00:00:00:01:02": "a MAC address is written",
    "nexthop 50 port p1 mac 02-00-00-00-00-01": "a MAC address is written",
    "nexthop 50 port p1 mac 2:0:0:0:0:1": "a MAC address is written",
    "nexthop 50 port p1 mac 02:00:00:00:00:0g": "a MAC address is written",
    "nexthop 50 port p1 via 192.0.2": "an IP address is wanted",
    "nexthop 50 port p1 via 192.0.2.1/24": "an IP address is wanted",
    "nexthop 50 port p1 tunnel 192.0.2.1": "a next hop needs either",
    "nexthop 50 port p1 via 192.0.2.1 tunnel": "an IPv4 address is missing",
    "nexthop 50 port p1 via 192.0.2.1 tunnel 255.255.255.255": "a tunnel ends at a unicast address",
    "nexthop 50 port p1 via 192.0.2.1 tunnel 198.51.100.1": "nexthop 50: a tunnel from this router to itself",
    "label 30 swap 31 nexthop 8": "label 30: nexthop 8 is a tunnel",
    "label 30 pop nexthop 8": "label 30: nexthop 8 is a tunnel",
    "branch 1 9 labels 20 nexthop 8": "branch of segment 1: nexthop 8 is a tunnel",
    "branch 3 9 sid 2001:db8::9 nexthop 8": "branch of segment 3: nexthop 8 is a tunnel",
    "bift": "the encapsulation is missing",
    "bift udp 7 bsl 64": "the encapsulation is ethernet or mpls, not udp",
    "bift ethernet 1048576 bsl 64": "a BIFT-id must be a number from 0 to 1048575",
    "bift mpls 15 bsl 64": "a BIFT-id must be a number from 16 to 1048575",
    "bift ethernet 7": "a bift needs: bsl 64, 128",
    "bift ethernet 7 bsl 32": "the BSL must be",
    "bift ethernet 7 bsl 63": "the BSL must be",
    "bift ethernet 7 bsl 65": "a bift needs: bsl 64, 128",
    "bift ethernet 7 bsl 96": "a bift needs: bsl 64, 128",
    "bift ethernet 7 bsl 8192": "the BSL must be",
    "bift ethernet 7 bsl 64 sd 256": "the sub-domain must be a number from 0 to 255",
    "bift ethernet 7 bsl 64 si 256": "the SI must be a number from 0 to 255",
    "bift ethernet 7 bsl 64 bfr-id 0": "the BFR-id must be a number from 1 to 65535",
    "bift ethernet 7 bsl 64 bfr-id 65536": "the BFR-id must be a number from 1 to 65535",
    "bift ethernet 7 bsl 64 mtu 0": "the MTU must be",
    "path ethernet 100": "the way is missing",
    "path ethernet 100 64 0 fbm 1 drop": "the way must be a number from 0 to 63",
    "path ethernet 100 0 65536 fbm 1 drop": "the path's index must be a number from 0 to 65535",
    "path ethernet 100 0 9 fbm 10000": "a path needs one of: nexthop N, local, drop",
    "path ethernet 100 0 9 drop": "F-BM without a bit",
    "path ethernet 100 0 9 fbm 0 drop": "F-BM without a bit",
    "path ethernet 100 0 9 fbm 0x1 drop": "hexadecimal digits",
    "path ethernet 100 0 9 fbm g drop": "hexadecimal digits",
    f"path ethernet 100 0 9 fbm 1{'0' * 1024} drop": "at most 1024 hexadecimal digits",
    f"path ethernet 100 0 9 fbm 1{'0' * 16} drop": "F-BM longer than the 64 bits",
    "path ethernet 100 0 9 fbm 10000 nexthop 77": "there is no nexthop 77",
    "path ethernet 100 0 9 fbm 10000 nexthop 1 drop": "one of: nexthop N, local, drop",
    "path ethernet 100 0 9 fbm 10000 drop drop": "one of: nexthop N, local, drop",
    "path ethernet 100 0 9 fbm 30000 local": "own bit only",
    "path ethernet 100 0 9 fbm 10000 local": "own bit",
    "path ethernet 100 0 9 fbm 10004 nexthop 2": "own bit 3 is in another path too",
    "path ethernet 100 2 0 fbm 10000 drop": "ways are not numbered 0, 1, 2",
    "path ethernet 101 0 0 fbm 1 drop": "1 paths of a bift that does not exist",
    "path mpls 100 0 9 fbm 10000 nexthop 1 as 15": "a BIFT-id must be a number from 16",
    "bift ethernet 100 bsl 64 bfr-id 4 context 2": "own bit 3 is not that of BFR-id 4",
    "bift ethernet 100 bsl 64 si 1 bfr-id 3 context 2": "own bit 3 is not that of BFR-id 3",
    "label 15 pop": "a label must be a number from 16 to 1048575",
    "label 1048576 pop": "a label must be a number from 16 to 1048575",
    "label 30": "what to do with the label is missing",
    "label 30 push 5": "a label has one of: swap, pop, replicate",
    "label 30 swap 31": "nexthop N is missing",
    "label 30 swap 31 via 1": "after swap N comes: nexthop N, not via",
    "label 30 swap 3 nexthop 1": "a label must be a number from 16",
    "label 30 swap 31 nexthop 1 bottom": "the line should end, not bottom",
    "label 30 pop here": "unknown word: here",
    "label 30 pop nexthop 1 context 2": "the line should end, not context",
    "label 30 pop nexthop 77": "there is no nexthop 77",
    "label 30 replicate 77": "there is no segment 77",
    "label 30 replicate 3": "cannot branch into the other plane",
    "label 100 pop": "label 100 is a BIFT's too",
    "sid 192.0.2.1 context 1": "an IPv6 address is wanted",
    "sid 2001:db8::9": "what the SID is for is missing",
    "sid 2001:db8::9 decap": "a sid has one of: replicate N, context N",
    "sid 2001:db8::9 replicate 77": "there is no segment 77",
    "sid 2001:db8::9 replicate 1": "cannot branch into the other plane",
    "segment 1": "the node's role is missing",
    "segment 1 root": "a segment's role is one of: head, transit, leaf, bud",
    "segment 1 leaf": "a leaf has no branches",
    "segment 1 bud threshold 256": "the hop limit threshold must be",
    "branch 77 0 labels 20 nexthop 1": "1 branches of a segment that does not exist",
    "branch 1 9": "a branch needs either",
    "branch 1 9 labels": "a list is missing",
    "branch 1 9 labels 15 nexthop 1": "a label must be a number from 16 to 1048575, not 15",
    "branch 1 9 labels 20,,21 nexthop 1": "a label must be a number",
    "branch 1 9 labels 20, nexthop 1": "a label must be a number",
    "branch 1 9 labels 20,21,22,23,24,25,26,27,28 nexthop 1": "at most 8 labels or segments",
    "branch 1 9 labels 20 labels 21 nexthop 1": "unknown word: labels",
    "branch 1 9 labels 20 sid 2001:db8::9 nexthop 1": "unknown word: sid",
    "branch 1 9 labels 20 srh 2001:db8::9 nexthop 1": "unknown word: srh",
    "branch 3 9 sid 2001:db8::9": "a branch to a SID needs: nexthop N",
    "branch 3 9 sid 2001:db8::9 sid 2001:db8::8 nexthop 1": "unknown word: sid",
    "branch 3 9 encaps 2001:db8::9 nexthop 1": "a branch needs either",
    "branch 3 9 sid 2001:db8::9 nexthop 1 srh 2001:db8::7": "only a head may put the segments",
    "branch 5 9 sid 2001:db8::9 nexthop 1 srh 2001:db8::7 encaps 2001:db8::7": "unknown word: encaps",
    "branch 1 9 sid 2001:db8::9 nexthop 1": "cannot branch into the other plane",
    "branch 3 9 labels 20 nexthop 1": "cannot branch into the other plane",
    "flow": "a context is missing",
    "flow 0 * *": "a context must be",
    "flow 3 *": "the group is missing",
    "flow 3 192.0.2.1 *": "a source without a group",
    "flow 3 192.0.2.1 ff0e::1": "source and group are of two families",
    "flow 3 * 192.0.2.1": "the group is no multicast address",
    "flow 3 * 2001:db8::1": "the group is no multicast address",
    "flow 3 * * port": "the port's name is missing",
    "flow 3 * * port p9": "there is no port p9",
    "flow 3 * * segment 77": "there is no segment 77",
    "flow 3 * * bier ethernet 7 1": "there is no bift 7",
    "flow 3 * * bier ethernet 100 0": "BitString without a bit",
    f"flow 3 * * bier ethernet 100 1{'0' * 16}": "BitString longer than the 64 bits",
    "flow 3 * * port p1 port p1": "the same action twice",
    "flow 3 * * bier ethernet 100 1 bier ethernet 100 2": "the same action twice",
    "flow 3 * * drop": "unknown word: drop",
    "del": "what to delete is missing",
    "del node": "nothing of this kind can be deleted",
    "del port p9": "there is no such port",
    "del nexthop 77": "there is no such nexthop",
    "del bift mpls 77": "there is no such bift",
    "del path ethernet 100 9": "there is no such path",
    "del path ethernet 100 x": "a number is wanted, not x",
    "del label 99": "there is no such label",
    "del sid 2001:db8::9": "there is no such sid",
    "del segment 77": "there is no such segment",
    "del branch 1 9": "there is no such branch",
    "del flow 3 * *": "there is no such flow",
    "del port p1 now": "the line should end, not now",
    "del port p1": "there is no port p1",
    "del nexthop 2": "there is no nexthop 2",
    "del nexthop 3": "node's fib 0: there is no nexthop 3",
    "del bift ethernet 100": "flow: there is no bift 100",
    "del segment 5": "flow: there is no segment 5",
    "del segment 1": "label 20: there is no segment 1",
}


class TestLines:
    @pytest.mark.parametrize("line", MALFORMED)
    def test_one_bad_line_spoils_all(self, router: Router, line: str) -> None:
        """In an update among good ones, which do not happen either; the mistake says what it is."""
        before = router.state()
        mistakes = router.change("update", ["port new transport", "nexthop 60 port new via 192.0.2.9", line])
        assert any(MALFORMED[line] in each for each in mistakes), mistakes
        assert all(each.startswith("error ") for each in mistakes)
        assert router.state() == before

    def test_it_is_named(self, router: Router) -> None:
        """By its number in the transaction, empty lines and comments counted."""
        mistakes = router.change("update", ["# bad lines", "", "bogus", "port p1", "  node   ttl  0 "])
        assert mistakes == [
            "error line 3: unknown word: bogus",
            "error line 5: the TTL must be a number from 1 to 255, not 0",
        ]

    def test_every_mistake_or_how_many(self, router: Router) -> None:
        mistakes = router.change("update", ["bogus"] * 1000)
        assert 10 < len(mistakes) < 1000
        assert mistakes[-1] == f"error and {1000 - len(mistakes) + 1} more"

    def test_long_words(self, router: Router) -> None:
        for line in ("x" * 60_000, "port " + "y" * 60_000, "node ttl " + "9" * 60_000, "port" + " p" * 30_000):
            (mistake,) = router.change("update", [line])
            assert len(mistake) < 200

    def test_duplicates_in_a_replace(self, router: Router) -> None:
        """Each row once, the first line is as good as the second."""
        for row in EVERYTHING:
            mistakes = router.change("replace", [*EVERYTHING, row])
            assert [each for each in mistakes if "this row was given before" in each], row
        mistakes = router.change("replace", [*EVERYTHING, "port p1 context 7"])
        assert any("this row was given before" in each for each in mistakes)

    def test_a_transaction_that_is_too_long(self, router: Router) -> None:
        """16 MiB. Its end is refused, and what comes after it is a new one."""
        line = "# " + "x" * 65_000
        assert router.change("update", [line] * 240) == []
        assert router.change("update", ["bogus", *[line] * 260]) == ["error the transaction is longer than 16 MiB"]
        assert router.change("update", []) == []

    def test_a_row_says_all_of_itself(self, sim: Sim, router: Router) -> None:
        """What a row that is given again does not mention is not kept from the old one."""
        other = Router(sim, "again").load("node ttl 9 source 2001:db8::1 fib 1", *ports(2), "segment 1 head mtu 9")
        assert other.change("update", ["node ttl 7", "port p1 context 3", "segment 1 leaf"]) == []
        assert other.tables()[:2] == ["node ttl 7", "port p1 context 3"]
        assert other.tables()[-1] == "segment 1 leaf"
        assert other.change("update", ["node"]) == []
        assert other.tables()[0] == "node ttl 64"

    def test_lines_without_a_transaction(self, router: Router) -> None:
        sim = router.sim
        sim.at(router.name)
        for line in ("port p1", "del port p1", "show", "show x", "tables now", "state ", "replace now", "\x01", "ok"):
            good, lines = sim.ask(line)
            assert not good
            assert lines[0].startswith("error outside a transaction")
        for line in ("commit", "abort"):
            assert sim.ask(line) == (False, ["error no transaction is open"])

    def test_a_transaction_in_a_transaction(self, router: Router) -> None:
        sim = router.sim
        sim.at(router.name)
        sim.tell("update\nport new\n")
        assert sim.ask("replace") == (False, ["error a transaction is open: commit or abort it first"])
        assert sim.ask("update") == (False, ["error a transaction is open: commit or abort it first"])
        assert sim.ask("abort") == (True, [])
        sim.tell("update\ntables\nstate\nshow ports\n")
        good, lines = sim.ask("commit")
        assert not good
        assert len(lines) == 3

    def test_what_tables_says_can_be_read(self, sim: Sim, router: Router) -> None:
        other = Router(sim, "other")
        assert other.change("replace", router.tables()) == []
        assert other.tables() == router.tables()
        assert other.change("update", router.tables()) == []
        assert other.tables() == router.tables()
        assert other.change("replace", reversed(router.tables())) == []
        assert other.tables() == router.tables()

    def test_views_of_everything(self, router: Router) -> None:
        for view in ("bift", "labels", "segments", "flows", "ports", "drops"):
            assert router.show(view)

    def test_everything_can_be_deleted(self, sim: Sim, router: Router) -> None:
        """In any order, in one transaction; and nothing is left."""
        words = [row.split() for row in EVERYTHING if not row.startswith("node")]
        keys = {"port": 2, "nexthop": 2, "bift": 3, "label": 2, "sid": 2, "segment": 2, "flow": 4}
        rows = ["del " + " ".join(each[: keys[each[0]]]) for each in words if each[0] in keys]
        other = Router(sim, "deleted").load(*[row.replace(" fib 3", "") for row in EVERYTHING])
        assert other.change("update", rows) == []
        assert other.tables() == ["node ttl 64 source 2001:db8::1 tunnel 198.51.100.1"]

    def test_strange_names_in_json(self, sim: Sim, router: Router) -> None:
        """An interface may be called almost anything."""
        names = ['"', "\\", 'a"b\\c', "\x01\x1f\x7f", "\xe9\xff", "{}", "%s%n", "'"]
        other = Router(sim, "strange")
        assert other.change("replace", [f"port {name}" for name in names]) == []
        assert {port["name"] for port in other.state()["ports"]} == set(names)
        assert other.change("replace", other.tables()) == []


NUMBERS = st.integers(-1, 20) | st.sampled_from([255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64])
WORDS = st.sampled_from(sorted({word for row in [*EVERYTHING, *MALFORMED] for word in row.split() if len(word) < 40}))
ROWS = st.lists(WORDS | NUMBERS.map(str), max_size=8).map(" ".join) | st.sampled_from([*EVERYTHING, *MALFORMED])
MUTANT = st.tuples(st.sampled_from(EVERYTHING), st.integers(0, 12), WORDS | NUMBERS.map(str)).map(
    lambda drawn: " ".join(drawn[2] if k == drawn[1] else word for k, word in enumerate(drawn[0].split()))
)
DELETIONS = st.sampled_from(EVERYTHING).map(
    lambda row: "del " + " ".join(row.split()[: 3 if row.startswith(("bift", "branch")) else 4 if row[0] == "f" else 2])
)


class TestRandomLines:
    @quick(400)
    @given(rows=st.lists(MUTANT | ROWS | DELETIONS, max_size=12), how=st.sampled_from(["replace", "update"]))
    @example(rows=[], how="replace")
    def test_all_or_nothing(self, sim: Sim, router: Router, rows: list[str], how: str) -> None:
        """Whether rows are taken or refused: taken, they can be read back; refused, nothing has changed."""
        other = Router(sim, "random").load(*EVERYTHING)
        tables, state = other.tables(), other.state()
        if other.change(how, rows):
            assert other.tables() == tables
            assert other.state() == state
        else:
            now = other.tables()
            again = Router(sim, "again")
            assert again.change("replace", now) == []
            assert again.tables() == now
            assert other.change("update", now) == []
            assert other.tables() == now
            for port, data in FRAMES.values():
                if any(line.split()[:2] == ["port", port] for line in now):
                    other.receive(port, data)

    @quick(200)
    @given(
        lines=st.lists(st.text(st.characters(max_codepoint=255, exclude_characters="\n\0"), max_size=60), max_size=5)
    )
    def test_any_text(self, sim: Sim, router: Router, lines: list[str]) -> None:
        words = {"replace", "update", "commit", "abort"}
        rows = [line for line in lines if line not in words]
        other = Router(sim, "text").load("port p1")
        if other.change("update", rows):
            assert other.tables() == ["node ttl 64", "port p1"]
        sim.at("text")
        for line in rows:
            if line and line.split(" ")[0] not in (
                "node",
                "interface",
                "neighbour",
                "frame",
                "tables",
                "state",
                "show",
            ):
                assert not sim.ask(line)[0]
