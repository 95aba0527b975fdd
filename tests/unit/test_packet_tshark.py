"""Wireshark reads what the codecs write: an oracle that we did not make, used where it is installed.

`make deps` does not install it. Wireshark 4.4 knows BIER headers, 4.0 does not; neither knows RFC 8444's sub-TLVs: only
their framing is checked.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from testbed.packet import (
    Bier,
    BitString,
    Ethernet,
    Ethertype,
    Icmpv6Echo,
    IPv4,
    IPv6,
    Proto,
    Protocol,
    Srh,
    SrhTlv,
    encode_stack,
    h_encaps,
    label_stack,
    multicast_mac,
    udp_packet,
)
from testbed.packet.checksum import internet_checksum
from testbed.packet.ospf_bier import BierSubTlv, ExtendedPrefix, MplsEncapsulation, encode_prefixes

pytestmark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")

A4, G4 = IPv4Address("192.0.2.1"), IPv4Address("232.1.2.3")
A6, G6 = IPv6Address("2001:db8::1"), IPv6Address("ff3e::8000:1")
S1, S2, S3 = (IPv6Address(f"2001:db8:cccc:{k}:F{k}::") for k in (1, 2, 3))
GOOD = "1"  # a checksum's status

Fields = dict[str, list[str]]
Dissect = Callable[..., Fields]


@pytest.fixture
def dissect(tmp_path: Path) -> Dissect:
    """What tshark says of one frame: field name to values, in order of appearance."""

    def run(ethertype: int, payload: bytes, *options: str, dst: str = "02:00:00:00:00:02") -> Fields:
        frame = Ethernet(dst, "02:00:00:00:00:01", ethertype).encode(payload)
        capture = tmp_path / "frame.pcap"
        head = struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        capture.write_bytes(head + struct.pack("!IIII", 0, 0, len(frame), len(frame)) + frame)
        checks = [f"-o{name}.check_checksum:TRUE" for name in ("ip", "udp")]
        command = ["tshark", "-n", "-r", str(capture), "-T", "json", *checks, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        fields: Fields = defaultdict(list)
        _collect(json.loads(done.stdout, object_pairs_hook=tuple), fields)
        assert "_ws.malformed" not in fields, done.stdout
        assert not {"_ws.expert.message"} & fields.keys(), fields["_ws.expert.message"]
        return fields

    return run


def _collect(node: Any, fields: Fields) -> None:
    """Leaves by name. Objects come as tuples of pairs, since tshark repeats keys in them."""
    for each in node:
        if not isinstance(each, tuple):
            continue
        name, value = each if len(each) == 2 and isinstance(each[0], str) else ("", each)
        if isinstance(value, str):
            fields[name].append(value)
        elif isinstance(value, list) and all(isinstance(leaf, str) for leaf in value):
            fields[name] += value
        elif value:
            _collect(value, fields)


def test_udp_to_an_ipv4_group(dissect: Dissect) -> None:
    said = dissect(Ethertype.IPV4, udp_packet(A4, G4, 5000, 6000, b"abc", ttl=9), dst=multicast_mac(G4))
    assert said["eth.dst"] == ["01:00:5e:01:02:03"]
    assert (said["ip.src"], said["ip.dst"], said["ip.ttl"]) == (["192.0.2.1"], ["232.1.2.3"], ["9"])
    assert (said["udp.srcport"], said["udp.dstport"], said["udp.payload"]) == (["5000"], ["6000"], ["61:62:63"])
    assert said["ip.checksum.status"] == said["udp.checksum.status"] == [GOOD]


def test_every_ipv4_field(dissect: Dissect) -> None:
    header = IPv4(
        A4, G4, 253, ttl=1, tos=0xB9, identification=0xABCD, mf=True, fragment_offset=5, options=b"\x94\x04\0\0"
    )
    said = dissect(Ethertype.IPV4, header.encode(b"x" * 16))
    assert (said["ip.dsfield"], said["ip.id"], said["ip.frag_offset"]) == (["0xb9"], ["0xabcd"], ["5"])
    assert (said["ip.flags.df"], said["ip.flags.mf"], said["ip.opt.ra"]) == (["0"], ["1"], ["0"])
    assert (said["ip.hdr_len"], said["ip.len"], said["ip.checksum.status"]) == (["24"], ["40"], [GOOD])


def test_udp_to_an_ipv6_group(dissect: Dissect) -> None:
    said = dissect(Ethertype.IPV6, udp_packet(A6, G6, 5000, 6000, b"abc"), dst=multicast_mac(G6))
    assert (said["eth.dst"], said["ipv6.dst"]) == (["33:33:80:00:00:01"], ["ff3e::8000:1"])
    assert said["udp.checksum.status"] == [GOOD]


def test_every_ipv6_field(dissect: Dissect) -> None:
    header = IPv6(A6, G6, 59, hop_limit=3, traffic_class=0xB9, flow_label=0x12345)
    said = dissect(Ethertype.IPV6, header.encode())
    assert (said["ipv6.tclass"], said["ipv6.flow"]) == (["0x000000b9"], ["0x012345"])
    assert (said["ipv6.plen"], said["ipv6.nxt"], said["ipv6.hlim"]) == (["0"], ["59"], ["3"])


def test_a_label_stack(dissect: Dissect) -> None:
    packet = encode_stack(label_stack([16004, 24047, 100], ttl=63, tc=5), udp_packet(A4, G4, 1, 2))
    said = dissect(Ethertype.MPLS, packet)
    assert said["mpls.label"] == ["16004", "24047", "100"]
    assert (said["mpls.exp"], said["mpls.bottom"], said["mpls.ttl"]) == (["5"] * 3, ["0", "0", "1"], ["63"] * 3)
    assert said["ip.dst"] == ["232.1.2.3"]


@pytest.mark.parametrize("reply", [False, True])
def test_icmpv6_echo(dissect: Dissect, reply: bool) -> None:
    packet = IPv6(A6, S3, Protocol.ICMPV6).encode(Icmpv6Echo(0x1234, 7, reply=reply).encode(b"abc", A6, S3))
    said = dissect(Ethertype.IPV6, packet)
    assert said["icmpv6.type"] == ["129" if reply else "128"]
    assert (said["icmpv6.echo.identifier"], said["icmpv6.echo.sequence_number"]) == (["0x1234"], ["7"])
    assert said["icmpv6.checksum.status"] == [GOOD]


def test_a_segment_routing_header_with_an_echo_for_its_last_segment(dissect: Dissect) -> None:
    srh = Srh(Protocol.ICMPV6, (S3, S2), segments_left=2, tag=0x0102, tlvs=(SrhTlv(6, b"abc"), SrhTlv(5, bytes(38))))
    echo = Icmpv6Echo(1, 2).encode(b"", A6, S3)
    said = dissect(Ethertype.IPV6, IPv6(A6, S1, Protocol.ROUTING).encode(srh.encode(echo)))
    assert (said["ipv6.routing.type"], said["ipv6.routing.segleft"]) == (["4"], ["2"])
    assert (said["ipv6.routing.srh.last_entry"], said["ipv6.routing.srh.tag"]) == (["1"], ["01:02"])
    assert said["ipv6.routing.srh.addr"] == [str(S3), str(S2)]
    assert said["icmpv6.checksum.status"] == [GOOD], "over the last segment, not the address in the IPv6 header"


def test_reduced_encapsulation(dissect: Dissect) -> None:
    """RFC 9524 appendix A.2: (R1, R4's End.X) (R7's Replication-SID; SL=1) (A, B2)."""
    end_x = IPv6Address("2001:db8:cccc:4:C7::")
    said = dissect(Ethertype.IPV6, h_encaps(udp_packet(A4, G4, 1, 2, ttl=9), A6, [end_x, S2], reduced=True))
    assert said["ipv6.dst"][0] == str(end_x)
    assert (said["ipv6.routing.srh.addr"], said["ipv6.routing.segleft"]) == ([str(S2)], ["1"])
    assert (said["ip.ttl"], said["ip.checksum.status"], said["udp.checksum.status"]) == (["8"], [GOOD], [GOOD])


def test_bier_in_an_extended_prefix_lsa(dissect: Dissect) -> None:
    bier = BierSubTlv(0, 7, encapsulations=(MplsEncapsulation(5000), MplsEncapsulation(6000, 512)))
    one, other = (IPv4Network(f"10.255.0.{k}/32") for k in (7, 8))
    body = encode_prefixes([ExtendedPrefix(one, (bier,)), ExtendedPrefix(other, flags=0)])
    said = dissect(Ethertype.IPV4, link_state_update(body))
    assert said["ospf.tlv.extpfx.tlv_type"] == ["1", "1"]
    assert said["ospf.tlv.extpfx.flags.n"] == ["1", "0"]
    assert said["ospf.tlv_length"] == ["44", "32", "8"], "prefix, BIER in it, prefix"
    assert bytes.fromhex(said["ospf.tlv_value"][0].replace(":", "")) == bier.encode()[4:]


def link_state_update(body: bytes) -> bytes:
    """An OSPFv2 update with one Extended Prefix Opaque LSA (RFC 2328 A.3.5, RFC 7684 section 2)."""
    router = bytes((10, 255, 0, 7))
    lsa = struct.pack("!HBBB3s4sIHH", 1, 0x02, 10, 7, b"\0\0\1", router, 0x80000001, 0, 20 + len(body)) + body
    update = struct.pack("!I", 1) + lsa
    head = struct.pack("!BBH4s4s", 2, 4, 24 + len(update), router, bytes(4))
    checksum = internet_checksum(head + update)
    packet = head + struct.pack("!HHQ", checksum, 0, 0) + update
    return IPv4(IPv4Address("10.0.0.1"), IPv4Address("224.0.0.5"), 89, ttl=1).encode(packet)


class TestBier:
    @pytest.fixture(autouse=True)
    def _known(self) -> None:
        done = subprocess.run(["tshark", "-G", "protocols"], capture_output=True, text=True, timeout=60, check=True)
        if "\tbier\t" not in done.stdout.lower():
            pytest.skip("this tshark has no BIER dissector")

    @pytest.mark.parametrize(
        ("ethertype", "options"), [(Ethertype.MPLS, ()), (Ethertype.BIER, ("-d", "ethertype==0xab37,mpls"))]
    )
    @pytest.mark.parametrize(("bsl", "code"), [(64, 1), (256, 3), (4096, 7)])
    def test_a_header_and_its_payload(
        self, dissect: Dissect, ethertype: int, options: tuple[str, ...], bsl: int, code: int
    ) -> None:
        header = Bier(
            bift_id=100, bits=BitString.of({1, 27, bsl}, bsl), proto=Proto.IPV4, bfir_id=7, ttl=63,
            entropy=0x12345, oam=1, dscp=46,
        )  # fmt: skip
        said = dissect(ethertype, header.encode(udp_packet(A4, G4, 1, 2)), *options)
        assert (said["mpls.label"], said["mpls.bottom"], said["mpls.ttl"]) == (["100"], ["1"], ["63"])
        for field, value in (("nibble", 5), ("ver", 0), ("bsl", code), ("oam", 1), ("dscp", 46), ("proto", 4)):
            assert [int(each, 0) for each in said[f"bier.{field}"]] == [value], field
        assert int(said["bier.entropy"][0], 0) == 0x12345
        assert int(said["bier.bfir-id"][0], 0) == 7
        assert said["bier.bitstring"][0].replace(":", "") == header.bits.hex()
        assert (said["ip.dst"], said["udp.checksum.status"]) == (["232.1.2.3"], [GOOD])
