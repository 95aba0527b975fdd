"""The seeds of the forwarder's fuzzer: well-formed packets of every kind, the RFCs' walks, and each a little wrong.

    .venv/bin/python testbed/forwarder/corpus/make.py [FOLDER]     writes FOLDER (seeds/ beside this file) anew

The form of an input is that of testbed/forwarder/src/fuzz.c, the tables that it may start from those of fuzz_tables.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from testbed.packet import (
    Bier,
    BitString,
    Ethernet,
    Ethertype,
    Gre,
    Icmpv6Echo,
    IPv4,
    IPv6,
    Protocol,
    Srh,
    SrhTlv,
    encode_stack,
    h_encaps,
    label_stack,
    multicast_mac,
    udp_packet,
)
from testbed.packet.checksum import internet_checksum, pseudo_header

SEPARATOR = b"\xa5\x5a\xa5"
SETS = ("bier", "mpls", "srv6", "nested", "none")
PORTS = ("in", "out1", "out2", "out3", "host", "fib")  # of every set but the last
CHECKSUM_MISSING, TO_US, MEND_IPV4, MEND_ECHO, HELD = (1 << bit for bit in range(5))

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
AROUND4, AROUND6 = IPv4Address("232.9.9.9"), IPv6Address("ff3e::9")  # set "nested" and its like lead these on
HOST = "02:00:00:00:ff:01"
HOP_BY_HOP, TCP, FRAGMENT, NO_NEXT, DESTINATION = 0, 6, 44, 59, 60  # next headers

Seeds = Iterator[tuple[str, bytes]]


# -- records -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A frame for a port, as a record. `mend` is where a checksum is mended, counted from the end of the data."""

    data: bytes
    flags: int = TO_US
    mend: int = 0
    pad: int = 0
    port: str = "in"

    def record(self, ports: Iterable[str]) -> bytes:
        return b"F" + struct.pack("!BBHH", port_row(self.port, ports), self.flags, self.mend, self.pad) + self.data


def port_row(port: str, ports: Iterable[str] = PORTS) -> int:
    """Where a port is in their table, which is in the order of 32-bit words in the host's byte order."""
    return sorted(ports, key=lambda name: struct.unpack("<4I", name.encode().ljust(16, b"\0"))).index(port)


def interface(port: str, *, up: bool = True, mtu: int = 1500) -> bytes:
    return b"I" + struct.pack("!BBH", port_row(port), up, mtu)


def seed(tables: str, *records: Frame | bytes, rows: Iterable[str] = ()) -> bytes:
    """An input. `rows` replace the set's tables, and their ports are those that frames come to."""
    rows = list(rows)
    ports = [row.split()[1] for row in rows if row.startswith("port ")] if rows else PORTS
    start = [b"R" + "\n".join(rows).encode()] if rows else []
    parts = start + [each.record(ports) if isinstance(each, Frame) else each for each in records]
    assert not any(SEPARATOR in part for part in parts)
    return bytes([SETS.index(tables)]) + SEPARATOR.join(parts)


def ethernet(kind: int, packet: bytes, dst: str = HOST) -> bytes:
    return Ethernet(dst, HOST, kind).encode(packet)


def ip(packet: bytes, flags: int = 0) -> Frame:
    """An IP packet to a group, from outside."""
    if packet[0] >> 4 == 4:
        dst = multicast_mac(IPv4Address(packet[16:20]))
        return Frame(ethernet(Ethertype.IPV4, packet, dst), flags | MEND_IPV4, mend=len(packet))
    return Frame(ethernet(Ethertype.IPV6, packet, multicast_mac(IPv6Address(packet[24:40]))), flags)


def datagram(group: IPv4Address | IPv6Address = G4, ttl: int = 64, data: bytes = b"data") -> bytes:
    return udp_packet(A4 if group.version == 4 else A6, group, 4, 2, data, ttl)


def around(kind: int, header: bytes, inner: bytes) -> Frame:
    """A frame of a tree: the checksum of an IPv4 packet in it is mended."""
    v4 = inner[:1] and inner[0] >> 4 == 4
    return Frame(ethernet(kind, header + inner), TO_US | MEND_IPV4 if v4 else TO_US, mend=len(inner))


# -- BIER --------------------------------------------------------------------------------------------------------------

GOLDEN = (  # read by Wireshark: BSL 256, bits 1, 27 and 235
    "00064140 50312345 00040007 00000400 00000000 00000000 00000000 00000000 00000000 00000000 04000001"
)
ETHERTYPE = {"ethernet": Ethertype.BIER, "mpls": Ethertype.MPLS}


def bier(encap: str, bift: int, bits: Iterable[int], bsl: int = 64, inner: bytes = b"", **fields: Any) -> Frame:
    inner = inner or datagram()
    header = Bier(bift_id=bift, bits=BitString.of(bits, bsl), proto=inner[0] >> 4, bfir_id=4)
    return around(ETHERTYPE[encap], replace(header, **fields).encode(), inner)


def bier_seeds() -> Seeds:
    for encap, one, other in (("ethernet", 1, 2), ("mpls", 100, 200)):
        yield f"bier-{encap}-all", seed("bier", bier(encap, one, range(1, 65)))
        for ttl in (0, 1, 2, 255):
            yield f"bier-{encap}-ttl-{ttl}", seed("bier", bier(encap, one, {1, 2, 3, 5, 9}, ttl=ttl))
        wrong: dict[str, dict[str, Any]] = {
            "version": {"ver": 1},
            "nibble": {"nibble": 4},
            "not-bottom": {"s": 0},
            "proto": {"proto": 5},
            "fields": {"tc": 7, "oam": 3, "rsv": 3, "dscp": 63, "entropy": 0xFFFFF, "bfir_id": 65535},
        }
        for name, fields in wrong.items():
            yield f"bier-{encap}-{name}", seed("bier", bier(encap, one, {1, 2, 3}, **fields))
        yield f"bier-{encap}-none", seed("bier", bier(encap, one, ()))
        yield f"bier-{encap}-unknown", seed("bier", bier(encap, 999, {1}))
        yield f"bier-{encap}-ipv6", seed("bier", bier(encap, one, {3}, inner=datagram(G6)))
        yield (
            f"bier-{encap}-not-multicast",
            seed("bier", bier(encap, one, {3}, inner=datagram(IPv4Address("10.0.0.1")))),
        )
        yield f"bier-{encap}-link-local", seed("bier", bier(encap, one, {3}, inner=datagram(IPv4Address("224.0.0.5"))))
        six_in_four = bier(encap, one, {3}, inner=datagram(G6), proto=4)
        yield f"bier-{encap}-not-what-proto-says", seed("bier", six_in_four)
        yield f"bier-{encap}-not-ipv6-multicast", seed("bier", bier(encap, one, {3}, inner=datagram(A6)))
        yield f"bier-{encap}-back-in", seed("bier", bier(encap, one, {1, 3}, inner=datagram(AROUND4)))
        whole = bier(encap, one, {1, 2, 3})
        for size in (13, 17, 25, 33, 40):
            yield f"bier-{encap}-cut-{size}", seed("bier", replace(whole, data=whole.data[:size], mend=0))
        other_bsl = bytearray(whole.data)
        other_bsl[19] ^= 0x30
        yield f"bier-{encap}-bsl", seed("bier", replace(whole, data=bytes(other_bsl)))
        for entropy in range(4):
            frame = bier(encap, other, {1, 2, 65, 127, 129, 200, 256}, 256, entropy=entropy, inner=datagram(G6))
            yield f"bier-{encap}-ecmp-{entropy}", seed("bier", frame)
    yield "bier-ethernet-4096", seed("bier", bier("ethernet", 0, {1, 4095, 4096}, 4096))
    yield "bier-mpls-4096", seed("bier", bier("mpls", 1048575, {1, 64, 2048, 2049, 4096}, 4096))
    below = bier("mpls", 100, {1, 2, 3})
    for labels in ((30,), (30, 30, 31), (31,)):
        stack = encode_stack(label_stack(labels, bottom=False))
        yield (
            f"bier-below-{len(labels)}-{labels[-1]}",
            seed("bier", replace(below, data=below.data[:14] + stack + below.data[14:])),
        )
    yield (
        "bier-golden",
        seed(
            "none",
            Frame(ethernet(Ethertype.BIER, bytes.fromhex(GOLDEN) + datagram()), port="p"),
            rows=[
                "port p transport",
                "nexthop 1 port p mac 02:00:00:01:00:01",
                "bift ethernet 100 bsl 256",
                f"path ethernet 100 0 0 fbm {'f' * 64} nexthop 1",
            ],
        ),
    )


HERE, THERE = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.10")  # ends of the sets' tunnel


def tunnelled(carried: Frame, gre: dict[str, Any] | None = None, **fields: Any) -> Frame:
    """A frame in a tunnel that ends here: the checksum of the outer header is mended."""
    kind = int.from_bytes(carried.data[12:14], "big")
    outer = replace(IPv4(THERE, HERE, Protocol.GRE, df=True), **fields)
    packet = outer.encode(Gre(kind, **gre or {}).encode(carried.data[14:]))
    return Frame(ethernet(Ethertype.IPV4, packet), TO_US | MEND_IPV4, mend=len(packet))


def tunnel_seeds() -> Seeds:
    for encap, one in (("ethernet", 1), ("mpls", 100)):
        carried = bier(encap, one, {1, 2, 3, 11, 12})
        yield f"tunnel-{encap}-in", seed("bier", bier(encap, one, {11, 12}), bier(encap, one, {1, 11}, dscp=46, tc=5))
        yield f"tunnel-{encap}-out", seed("bier", tunnelled(carried), tunnelled(bier(encap, one, {11}, ttl=1)))
        yield f"tunnel-{encap}-checksum", seed("bier", tunnelled(carried, {"checksum": True}))
        yield f"tunnel-{encap}-back-in", seed("bier", tunnelled(bier(encap, one, {3}, inner=datagram(AROUND4))))
        whole = tunnelled(carried)
        for size in (33, 34, 37, 38, 45, 60):
            yield f"tunnel-{encap}-cut-{size}", seed("bier", replace(whole, data=whole.data[:size], mend=size - 14))
    carried = bier("ethernet", 1, {1, 2, 3, 11})
    for name, fields in (
        ("elsewhere", {"dst": IPv4Address("198.51.100.2")}),
        ("options", {"options": bytes(8)}),
        ("fragment", {"mf": True}),
        ("last-fragment", {"fragment_offset": 8}),
    ):
        yield f"tunnel-{name}", seed("bier", tunnelled(carried, **fields))
    for name, gre in (("key", {"key": 7}), ("sequence", {"sequence": 7}), ("version", {"version": 1})):
        yield f"tunnel-gre-{name}", seed("bier", tunnelled(carried, gre))
    wrong = tunnelled(carried, {"checksum": True})
    yield "tunnel-gre-bad-checksum", seed("bier", replace(wrong, data=wrong.data[:-1] + b"?"))
    cut = tunnelled(replace(carried, data=carried.data[:14]), {"checksum": True})
    short = cut.data[:16] + b"\x00\x18" + cut.data[18:38]
    yield "tunnel-gre-cut-checksum", seed("bier", replace(cut, data=short, mend=24))
    yield "tunnel-payload", seed("bier", tunnelled(ip(datagram())), tunnelled(replace(ip(datagram(G6)))))
    for name, at, value in (("version", 14, 0x65), ("ihl", 14, 0x44), ("long", 16, 0xFF), ("total", 17, 0x10)):
        odd = bytearray(whole.data)
        odd[at] = value
        yield f"tunnel-ip-{name}", seed("bier", replace(whole, data=bytes(odd)))
    data = whole.data[:24] + b"??" + whole.data[26:]
    yield "tunnel-ip-checksum", seed("bier", replace(whole, data=data, flags=TO_US))
    yield "tunnel-mpls-label", seed("mpls", tunnelled(labelled(1000)), tunnelled(labelled(16)), tunnelled(labelled(99)))
    yield "tunnel-4096", seed("bier", bier("mpls", 1048575, {1, 64, 1024, 2048}, 4096), ip(datagram(G6)))
    yield "tunnel-none", seed("bier", b"Udel path ethernet 1\ndel nexthop 10\nnode", tunnelled(carried))
    wide = [interface(port, mtu=0xFFFF) for port in PORTS]
    yield "tunnel-giant", seed("bier", *wide, replace(bier("ethernet", 1, {11}), pad=0xFFB0))
    frame = bier("ethernet", 1, {11})
    for less in (0, 1):
        yield f"tunnel-mtu-{less}-short", seed("bier", interface("out1", mtu=len(frame.data) + 10 - less), frame)


# RFC 8279 figures 1 and 5: neighbours, and for each bit of a BIFT F-BM and BFR-NBR. The RFC gives A's, B's and C's.
NEIGHBOURS = {"A": "B", "B": "ACE", "C": "BDF", "D": "C", "E": "B", "F": "C"}
BFR_ID = {"D": 1, "F": 2, "E": 3, "A": 4}
BIFTS = {
    "A": ("0111 B", "1000 A"),
    "B": ("0011 C", "0100 E", "1000 A"),
    "C": ("0001 D", "0010 F", "1100 B"),
    "D": ("0001 D", "1110 C"),
    "E": ("1011 B", "0100 E"),
    "F": ("1101 C", "0010 F"),
}


def bier_walk(name: str, encap: str) -> bytes:
    """A router of the figure: as BFIR of 6.6.1 and 6.6.2, and what may reach it from elsewhere."""
    bift = {other: 77 if encap == "ethernet" else 1000 + ord(other) for other in NEIGHBOURS}
    rows = ["port in transport context 1", "port host", "flow 2 * * port host"]
    bfr_id = f" bfr-id {BFR_ID[name]}" if name in BFR_ID else ""
    rows.append(f"bift {encap} {bift[name]} sd 0 si 0 bsl 64{bfr_id} context 2")
    for other in NEIGHBOURS[name]:
        rows += [f"port {other} transport", f"nexthop {ord(other)} port {other} mac 02:00:00:01:00:{ord(other):x}"]
    for k, (fbm, other) in enumerate(map(str.split, BIFTS[name])):
        where = "local" if other == name else f"nexthop {ord(other)} as {bift[other]}"
        rows.append(f"path {encap} {bift[name]} 0 {k} fbm {int(fbm, 2):x} {where}")
    if bfr_id:
        rows += ["flow 1 * 232.1.2.3 " + f"bier {encap} {bift[name]} 1", f"flow 1 * * bier {encap} {bift[name]} 5"]
    frames = [bier(encap, bift[name], BitString(value, 64)) for value in (0b0001, 0b0101, 0b0110, 0b1111)]
    return seed("none", *frames, ip(datagram()), ip(datagram(G6)), rows=rows)


def figure_6() -> bytes:
    """RFC 8279 section 6.7: B has two ways to F."""
    rows = ["port A transport", "port C transport", "port E transport", "bift ethernet 77 bsl 64"]
    rows += [f"nexthop {k} port {name} mac 02:00:00:01:00:0{k}" for k, name in ((1, "A"), (2, "C"), (3, "E"))]
    rows += [f"path ethernet 77 0 {to} fbm {fbm} nexthop {to}" for fbm, to in ((3, 2), (6, 3), (8, 1))]
    frames = [bier("ethernet", 77, bits, entropy=k) for bits in ({2}, {2, 3}, {1, 2, 3}) for k in (1, 2)]
    return seed("none", *(replace(each, port="A") for each in frames), rows=rows)


# -- Replication segments ----------------------------------------------------------------------------------------------


def labelled(*labels: int, ttl: int = 64, inner: bytes = b"", tc: int = 0) -> Frame:
    return around(Ethertype.MPLS, encode_stack(label_stack(labels, ttl=ttl, tc=tc)), inner or datagram())


def mpls_seeds() -> Seeds:
    for labels in (
        *((label,) for label in (16, 20, 21, 22, 23, 24, 1000, 1001, 1002, 1003, 1004, 1005, 15, 77)),
        *((16, 99), (20, 21), (22, 22, 23), (22, 16), (1000, 24), (1001, 24), (1002, 24), (1002, 1001), (22, 100)),
    ):
        name = "-".join(map(str, labels))
        yield f"mpls-{name}", seed("mpls", labelled(*labels))
    for label in (16, 20, 1001, 1002):
        for ttl in (0, 1, 2):
            yield f"mpls-{label}-ttl-{ttl}", seed("mpls", labelled(label, ttl=ttl, tc=5))
    yield "mpls-20-ipv6", seed("mpls", labelled(20, inner=datagram(G6)))
    yield "mpls-20-nothing", seed("mpls", Frame(ethernet(Ethertype.MPLS, encode_stack(label_stack((20,))))))
    yield "mpls-20-no-ip", seed("mpls", labelled(20, inner=b"\x50"))
    yield (
        "mpls-no-bottom",
        seed("mpls", Frame(ethernet(Ethertype.MPLS, encode_stack(label_stack((22, 20), bottom=False))))),
    )
    yield "mpls-cut", seed("mpls", Frame(ethernet(Ethertype.MPLS, b"\0\1")))
    yield "mpls-back-in", seed("mpls", labelled(1001, inner=datagram(AROUND4)))
    yield "mpls-below-a-leaf", seed("mpls", labelled(1002, 100, inner=bytes(40)))
    for group in (G4, G6, IPv4Address("232.5.5.5")):
        yield f"mpls-head-{group.packed.hex()[-4:]}", seed("mpls", ip(datagram(group)))
    yield "mpls-unresolved", seed("mpls", b"N\x02\x07", labelled(21), b"N\x02\x00", labelled(21), labelled(1000))
    yield "mpls-ingress-mtu", seed("mpls", ip(datagram(data=bytes(1290))))


def mpls_walk() -> Seeds:
    """RFC 9524 A.1."""
    ports = ["port in transport context 1", "port out", "nexthop 2 port out mac 02:00:00:01:00:02"]
    head = [
        *ports,
        "flow 1 * * segment 1",
        "segment 1 head",
        "branch 1 0 labels 17002 nexthop 2",
        "branch 1 1 labels 16106,17006",
        "branch 1 2 labels 16104,24047,17007",
        "label 16104 swap 16204 nexthop 2",
        "label 16106 swap 16206 nexthop 2",
    ]
    yield "rfc9524-a1-r1", seed("none", ip(datagram()), rows=head)
    leaf = [*ports, "flow 9 * * port out", "label 17002 replicate 1", "segment 1 leaf context 9"]
    transit = ["label 16204 pop nexthop 2", "label 16206 swap 16306 nexthop 2", "label 24047 pop nexthop 2"]
    stacks = ((17002,), (16206, 17006), (16204, 24047, 17007), (24047, 17007))
    yield "rfc9524-a1-r2", seed("none", *(labelled(*each) for each in stacks), rows=[*leaf, *transit])


def sid(node: int, function: str) -> IPv6Address:
    """RFC 9524 A.2."""
    return IPv6Address(f"2001:db8:cccc:{node}:{function}::")


def srv6(dst: str | IPv6Address, inner: bytes, kind: int = 0, hop_limit: int = 64) -> Frame:
    """To a Replication-SID. What is mended: the inner IPv4 header, or the message of an echo."""
    kind = kind or (Protocol.IPV4 if inner[0] >> 4 == 4 else Protocol.IPV6)
    packet = IPv6(A6, IPv6Address(dst), kind, hop_limit).encode(inner)
    mended = MEND_IPV4 if kind == Protocol.IPV4 else MEND_ECHO if kind == Protocol.ICMPV6 else 0
    return Frame(ethernet(Ethertype.IPV6, packet), TO_US | mended, mend=len(inner))


def echo(dst: str | IPv6Address, by: str | IPv6Address = "", data: bytes = b"ping") -> Frame:
    """A ping of a leaf's Replication-SID, by another one perhaps: summed up for the leaf's."""
    message = Icmpv6Echo(7, 1).encode(data, A6, IPv6Address(dst))
    frame = srv6(by or dst, message, Protocol.ICMPV6)
    return replace(frame, flags=TO_US) if by else frame


def options(kind: int, *octets: int) -> bytes:
    """An extension header of options; what is missing to a multiple of 8 is padded."""
    body = bytes(octets)
    return bytes([kind, (len(body) + 9) // 8 - 1]) + body + bytes(-(len(body) + 2) % 8)


def srv6_seeds() -> Seeds:
    ours = [f"2001:db8:f::{digit}" for digit in "123456c9"]
    pinged = echo(ours[2])
    damaged = replace(pinged, flags=TO_US, data=pinged.data[:-1] + b"?")
    yield "srv6-echo", seed("srv6", pinged, damaged, b"Unode", pinged)
    cut = bytes((128, 0)) + internet_checksum(
        pseudo_header(A6, IPv6Address(ours[2]), Protocol.ICMPV6, 4) + b"\x80\0\0\0"
    ).to_bytes(2, "big")
    yield "srv6-echo-cut", seed("srv6", replace(srv6(ours[2], cut, Protocol.ICMPV6), flags=TO_US))
    for dst in ours:
        yield f"srv6-{dst[-1]}", seed("srv6", srv6(dst, datagram()), echo(dst))
    for hop_limit in (0, 1, 2, 9, 10, 255):
        yield (
            f"srv6-hop-limit-{hop_limit}",
            seed(
                "srv6", srv6(ours[0], datagram(), hop_limit=hop_limit), srv6(ours[1], datagram(G6), hop_limit=hop_limit)
            ),
        )
    context, other = IPv6Address(ours[6]), IPv6Address("2001:db8:e::1")
    for name, segments, left in (
        ("none-left", [other], 0),
        ("context", [context], 1),
        ("context-first", [context, other], 1),
        ("context-second", [other, context], 2),
        ("other", [other], 1),
        ("reduced", [context], 1),
    ):
        inner = datagram()
        srh = Srh(Protocol.IPV4, tuple(segments), left).encode(inner)
        frame = replace(srv6(ours[2], srh, Protocol.ROUTING), flags=TO_US | MEND_IPV4, mend=len(inner))
        yield f"srv6-srh-{name}", seed("srv6", frame)
    whole = Srh(Protocol.IPV4, (context,), 1, tlvs=(SrhTlv(9, b"tlv"),)).encode(datagram())
    yield "srv6-srh-tlv", seed("srv6", srv6(ours[2], whole, Protocol.ROUTING))
    beyond = Srh(Protocol.IPV4, (other,), 1).encode()
    beyond = beyond[:3] + b"\x02\x01" + beyond[5:]
    yield "srv6-srh-beyond", seed("srv6", srv6(ours[2], beyond, Protocol.ROUTING))
    for name, at, value in (("type", 2, 2), ("length", 1, 255), ("short", 1, 1), ("left", 3, 9), ("entry", 4, 9)):
        wrong = bytearray(whole)
        wrong[at] = value
        yield f"srv6-srh-{name}", seed("srv6", srv6(ours[2], bytes(wrong), Protocol.ROUTING))
    for name, header in (
        ("pad", options(Protocol.IPV4, 1, 4, 0, 0, 0, 0)),
        ("skip", options(Protocol.IPV4, 0x1E, 1, 0, 0)),
        ("discard", options(Protocol.IPV4, 0x5E, 1, 0)),
        ("overrun", options(Protocol.IPV4, 1, 200)),
        ("long", bytes((Protocol.IPV4, 255, 1, 4, 0, 0, 0, 0))),
        ("two", options(HOP_BY_HOP, 1, 4, 0, 0, 0, 0) + options(Protocol.IPV4)),
        ("srh", options(Protocol.ROUTING) + Srh(DESTINATION, (context,), 1).encode(options(Protocol.IPV4))),
    ):
        for kind in (HOP_BY_HOP, DESTINATION):
            inner = datagram()
            frame = srv6(ours[2], header + inner, kind)
            yield f"srv6-options-{kind}-{name}", seed("srv6", replace(frame, flags=TO_US | MEND_IPV4, mend=len(inner)))
    for kind in (TCP, Protocol.UDP, NO_NEXT, FRAGMENT, Protocol.ICMPV6):
        yield f"srv6-upper-{int(kind)}", seed("srv6", srv6(ours[2], bytes(20), kind))
    yield (
        "srv6-encaps",
        seed("srv6", Frame(ethernet(Ethertype.IPV6, h_encaps(datagram(G6), A6, [IPv6Address(ours[1])])))),
    )
    yield "srv6-longer-than-the-frame", seed("srv6", Frame(srv6(ours[1], datagram()).data[:-1]))
    yield "srv6-padded", seed("srv6", replace(srv6(ours[1], datagram()), pad=20))
    for group in (G4, G6, AROUND4):
        yield f"srv6-head-{group.packed.hex()[-4:]}", seed("srv6", ip(datagram(group)))
    yield "srv6-back-in", seed("srv6", srv6(ours[1], datagram(AROUND6)), srv6(ours[1], datagram(AROUND4)))
    # what an IPv6 header cannot say, even if every port carried it
    wide = [interface(port, mtu=0xFFFF) for port in PORTS]
    giant = IPv6(A6, G6, Protocol.UDP).encode(bytes(8))
    giant = giant[:4] + b"\xff\xd7" + giant[6:]
    yield "srv6-giant", seed("srv6", *wide, replace(ip(giant), pad=0xFFFF))
    giant = IPv6(A6, IPv6Address(ours[0]), Protocol.UDP).encode(bytes(8))
    frame = Frame(ethernet(Ethertype.IPV6, giant[:4] + b"\xff\xff" + giant[6:]), pad=0xFFFF)
    yield "srv6-giant-replicated", seed("srv6", *wide, frame)


def srv6_walk() -> Seeds:
    """RFC 9524 A.2 and the pings of A.2.1."""
    ports = [
        "node source 2001:db8::1 fib 9",
        "port in transport context 1",
        "port out",
        "port fib",
        "nexthop 2 port out mac 02:00:00:01:00:02",
        "nexthop 9 port fib mac 02:00:00:01:00:09",
    ]
    for steer in ("encaps", "srh"):
        head = [
            *ports,
            "flow 1 * * segment 1",
            "segment 1 head",
            f"sid {sid(1, 'F1')} replicate 1",
            f"branch 1 0 sid {sid(2, 'F2')} nexthop 2",
            f"branch 1 1 sid {sid(6, 'F6')} nexthop 9",
            f"branch 1 2 sid {sid(7, 'F7')} nexthop 9 {steer} {sid(4, 'C7')}",
        ]
        yield f"rfc9524-a2-r1-{steer}", seed("none", ip(datagram()), ip(datagram(G6)), rows=head)
    leaf = [*ports, "flow 9 * * port out", f"sid {sid(7, 'F7')} replicate 1", "segment 1 leaf context 9"]
    frames = [srv6(sid(7, "F7"), datagram()), echo(sid(7, "F7")), echo(sid(7, "F7"), data=b"")]
    yield "rfc9524-a2-r7", seed("none", *frames, rows=leaf)
    transit = [*ports, f"sid {sid(4, 'F4')} replicate 1", "segment 1 transit"]
    transit += [f"branch 1 0 sid {sid(7, 'F7')} nexthop 2"]
    yield "rfc9524-a2-r4", seed("none", echo(sid(7, "F7"), by=sid(4, "F4")), echo(sid(4, "F4")), rows=transit)


# -- the edges, and what is neither ------------------------------------------------------------------------------------


def overlay_seeds() -> Seeds:
    for name in ("bier", "mpls", "srv6", "nested"):
        frames = [ip(datagram(group)) for group in (G4, G6, AROUND4, AROUND6, IPv4Address("232.1.2.4"))]
        yield f"overlay-{name}", seed(name, *frames)
        yield f"overlay-{name}-held", seed(name, *(replace(each, flags=each.flags | HELD) for each in frames))
        yield f"overlay-{name}-second-port", seed(name, *(replace(each, port="out2") for each in frames))
    for group in (G4, G6):
        kind = f"ipv{group.version}"
        for data in (b"", b"odd", b"even", bytes(200)):
            yield (
                f"overlay-{kind}-checksum-{len(data)}",
                seed("bier", ip(datagram(group, data=data), flags=CHECKSUM_MISSING), ip(datagram(group, data=data))),
            )
        for ttl in (0, 1, 2):
            yield f"overlay-{kind}-ttl-{ttl}", seed("bier", ip(datagram(group, ttl)))
        for size in (14, 15, 33, 41, 53, 57):
            whole = ip(datagram(group))
            yield f"overlay-{kind}-cut-{size}", seed("bier", replace(whole, data=whole.data[:size], flags=0))
        yield f"overlay-{kind}-ingress-mtu", seed("bier", ip(datagram(group, data=bytes(1980))))
        yield f"overlay-{kind}-padded", seed("bier", replace(ip(datagram(group)), pad=18))
        tcp = bytes.fromhex("00010002000000000000000050020000") + bytes(4)
        header = IPv4(A4, G4, TCP) if group.version == 4 else IPv6(A6, G6, TCP)
        yield f"overlay-{kind}-tcp", seed("bier", ip(header.encode(tcp), flags=CHECKSUM_MISSING))
    plain = datagram()
    for name, at, value in (("fragment", 6, 0x20), ("options", 0, 0x47), ("ihl", 0, 0x44), ("length", 2, 0xFF)):
        wrong = bytearray(plain)
        wrong[at] = value
        yield f"overlay-ipv4-{name}", seed("bier", ip(bytes(wrong), flags=CHECKSUM_MISSING))
    for checksum in (0xFEFF, 0xFF00, 0xFFFE):  # where the TTL's part of it carries
        ident = (internet_checksum(plain[:4] + plain[6:10] + b"\0\0" + plain[12:20]) - checksum) % 0xFFFF
        yield f"overlay-ipv4-checksum-{checksum:x}", seed("bier", ip(plain[:4] + ident.to_bytes(2, "big") + plain[6:]))
    yield "overlay-ipv4-header-checksum", seed("bier", replace(ip(plain[:10] + b"\0\1" + plain[12:]), flags=0))
    yield (
        "overlay-flow-labels",
        seed("nested", ip(datagram(IPv6Address("ff0e::1"))), ip(datagram(IPv6Address("ff02::1")))),
    )


def nested_seeds() -> Seeds:
    yield "nested-bier", seed("nested", bier("ethernet", 1, {1, 2}), bier("mpls", 100, {1, 2}))
    yield "nested-mpls", seed("nested", labelled(1000), labelled(1000, 22), labelled(22))
    yield "nested-srv6", seed("nested", srv6("2001:db8:f::2", datagram()), srv6("2001:db8:f::2", datagram(G6)))


def machine_seeds() -> Seeds:
    yield "machine-down", seed("bier", interface("out1", up=False), *(bier("ethernet", 1, {k}) for k in (1, 2, 3, 9)))
    frame = bier("ethernet", 1, {2})
    for less in (0, 1, 14):
        yield f"machine-mtu-{less}-short", seed("bier", interface("out2", mtu=len(frame.data) - 14 - less), frame)
    frames = [bier("ethernet", 1, {9}), bier("mpls", 100, {9})]
    yield "machine-neighbours", seed("bier", *frames, b"N\x02\x01", b"N\x03\x01", *frames, b"N\x02\x00", *frames)
    frames = [Frame(b""), Frame(bytes(14)), Frame(ethernet(0x0806, bytes(28))), replace(frame, port="host")]
    frames.append(Frame(ethernet(Ethertype.BIER, bytes(40)), flags=0))
    yield "machine-other", seed("bier", *frames)


# -- the control language ----------------------------------------------------------------------------------------------

ROWS = """node source 2001:db8::1 ttl 9 tunnel 192.0.2.7 fib 7
port p transport context 65535
port q
nexthop 7 port p mac 02:00:00:00:00:01
nexthop 8 port q via 192.0.2.1
nexthop 9 port q via 192.0.2.1 tunnel 192.0.2.9
nexthop 4294967294 port q via 2001:db8::1
bift ethernet 5 sd 255 si 255 bsl 64 bfr-id 16321 context 1 mtu 65535
path ethernet 5 0 0 fbm fffffffffffffffe nexthop 7 as 6
path ethernet 5 0 65535 fbm 1 local
bift mpls 16 sd 1 si 2 bsl 4096
path mpls 16 0 0 fbm 1 drop
path mpls 16 1 0 fbm 00f nexthop 8
path mpls 16 1 1 fbm 0f0 nexthop 9
label 17 swap 18 nexthop 7
label 18 pop nexthop 7
label 19 pop
label 20 pop context 3
label 21 replicate 4
sid 2001:db8::2 replicate 5
sid 2001:db8::3 context 2
segment 4 bud threshold 9 context 1 mtu 1500
segment 5 transit
segment 6 head
segment 7 leaf context 9
branch 4 0 labels 17,1048575
branch 4 1 labels 30 nexthop 7
branch 5 0 sid 2001:db8::9 nexthop 7 encaps 2001:db8::a,2001:db8::b
branch 6 9 sid 2001:db8::9 nexthop 7 srh ::1
branch 6 8 labels 16,17,18,19,20,21,22,23 nexthop 8
flow 1 * * port q bier ethernet 5 3
flow 1 192.0.2.1 232.1.1.1 segment 6
flow 2 * ff3e::1 bier ethernet 5 ff segment 4 port p port q
flow 2 2001:db8::1 ff3e::1
# a comment, and an empty line
""".splitlines()

DELETIONS = """del port q
del nexthop 8
del bift ethernet 5
del path mpls 16 1 0
del path mpls 16 1
del path mpls 16
del label 21
del sid 2001:db8::3
del segment 7
del branch 4 0
del flow 1 * *
del flow 2 * ff3e::1
del flow 9 * *
del nothing
del""".splitlines()

MISTAKES = """node ttl 0
node nothing
node tunnel
node tunnel ::1
node tunnel 232.1.1.1
node
node tunnel 192.0.2.9
node tunnel 192.0.2.7 fib 9
nexthop 7 port p via ::1 tunnel
label 17 swap 18 nexthop 9
branch 4 1 labels 30 nexthop 9
port p
nexthop 7 mac 02:00:00:00:00:01
nexthop 7 nothing
nexthop 7 port p via here
bift ethernet 5 nothing
path ethernet 5 0 1 nothing
path ethernet 5 0 1 fbm 2
label 16 swap 17 to 7
label 19 pop nothing
label 21 replicate 4 nothing
sid ::1 pop
segment 4 bud nothing
branch 4 0 nothing
branch 4 0 labels
branch 4 0 nexthop 7
flow 1 * * nothing
del path mpls 16 x
port a-name-that-is-too-long
port p nothing
nexthop 7 port p
nexthop 7 port p mac 02:00 via ::1
nexthop 9 port absent mac 02:00:00:00:00:01
bift ethernet 5
bift ipv6 5 bsl 64
bift ethernet 1048576 bsl 64
bift mpls 15 bsl 64
bift ethernet 6 bsl 65
path ethernet 5 64 0 fbm 1 local
path ethernet 5 0 1 fbm xyz local
path ethernet 5 0 1 fbm 10000000000000000 local
path ethernet 5 0 1 fbm 3 local
path ethernet 5 2 1 fbm 3 nexthop 7
path ethernet 5 0 1 fbm 2 nexthop 7 drop
path ethernet 5 0 1 fbm 0 drop
path ethernet 99 0 0 fbm 1 drop
label 17 swap
label 16 pop
label 17 turn
label 21 replicate 9
label 21 replicate 5
sid 192.0.2.1 replicate 4
sid ::1 replicate 4
segment 7 root
branch 7 0 labels 16
branch 4 0 labels 15
branch 4 0 labels 16,
branch 4 0 labels 16,17,18,19,20,21,22,23,24
branch 5 0 sid ::1
branch 5 0 sid ::1 nexthop 7 srh ::2
branch 99 0 labels 16
flow 0 * * port q
flow 1 192.0.2.1 * port q
flow 1 192.0.2.1 ff3e::1 port q
flow 1 * 10.0.0.1 port q
flow 1 * 232.1.1.1 port q port q
flow 1 * 232.1.1.1 bier ethernet 5 0
flow 1 * 232.1.1.1 bier ethernet 5 10000000000000000
flow 1 * 232.1.1.1 bier mpls 16 1
flow 1 * 232.1.1.1 segment 99
flow 1 * 232.1.1.1 bier ethernet 99 1
flow 1 * 232.1.1.1 port absent""".splitlines()


def control_seeds() -> Seeds:
    def lines(kind: str, rows: Iterable[str]) -> bytes:
        return kind.encode() + "\n".join(rows).encode()

    whole = lines("R", ROWS)
    ask = b"Q"
    yield "control-replace", seed("none", whole, ask)
    yield "control-again", seed("none", whole, lines("U", ROWS), whole, ask)
    for k, row in enumerate(DELETIONS):
        yield f"control-del-{k:02}", seed("none", whole, lines("U", [row]))
    for k, row in enumerate(MISTAKES):
        yield f"control-mistake-{k:02}", seed("none", whole, lines("U", [row]))
    views = ["state", *(f"show {view}" for view in ("bift", "labels", "segments", "flows", "ports", "drops"))]
    for name in SETS[:-1]:
        yield f"control-update-{name}", seed(name, lines("U", ["node ttl 3"]), ask)
        yield f"control-show-{name}", seed(name, ip(datagram(ttl=0)), ip(datagram()), lines("L", views))
    yield (
        "control-questions",
        seed("none", lines("L", ["tables", "state", "show", "show x", "commit", "abort", "what", ""])),
    )
    yield (
        "control-transactions",
        seed("bier", lines("L", ["update", "replace", "del port host", "abort", "update", "x", "commit"])),
    )
    yield "control-twice", seed("none", lines("R", ["node ttl 1", "node ttl 1", "port p", "port p"]))
    yield "control-many-mistakes", seed("none", lines("U", [f"label {k} swap {k} nexthop {k}" for k in range(16, 140)]))
    yield (
        "control-names",
        seed("none", lines("R", ['port "', "port \\", "port {[,]}", "port \x7f\x01", "port #"]), ask),
    )
    yield (
        "control-raw",
        seed("none", b"Rport \xff\xfe\nnexthop 1 port \xff\xfe mac 02:00:00:00:00:01\n\tport\tx\n", ask),
    )
    frame = bier("ethernet", 1, {1, 2, 3, 9})
    yield (
        "control-between-frames",
        seed("bier", replace(frame, flags=frame.flags | HELD), lines("U", ["del path ethernet 1"]), frame),
    )


def all_seeds() -> Seeds:
    yield from bier_seeds()
    for name in NEIGHBOURS:
        for encap in ETHERTYPE:
            yield f"rfc8279-figure-1-{name}-{encap}", bier_walk(name, encap)
    yield "rfc8279-figure-6-B", figure_6()
    yield from tunnel_seeds()
    yield from mpls_seeds()
    yield from mpls_walk()
    yield from srv6_seeds()
    yield from srv6_walk()
    yield from overlay_seeds()
    yield from nested_seeds()
    yield from machine_seeds()
    yield from control_seeds()


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in all_seeds():
        path = folder / name
        assert not path.exists(), name
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("seeds"))
