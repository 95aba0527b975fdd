"""Codecs of the headers and TLVs that the testbed sends, receives and checks: octets in, octets out, nothing else.

A header is a frozen dataclass. `header.encode(payload)` gives octets, `Header.decode(octets)` gives the header and its
payload, and decoding what was encoded gives the same header. Both raise PacketError, and nothing else, for what
cannot be.
"""

from testbed.packet.bier import Bier, Encapsulation, Proto
from testbed.packet.bitstring import BitString, split
from testbed.packet.error import PacketError
from testbed.packet.ethernet import Ethernet, Ethertype, multicast_mac
from testbed.packet.gre import Gre
from testbed.packet.icmpv6 import Icmpv6Echo
from testbed.packet.ip import IPv4, IPv6, Protocol
from testbed.packet.mpls import LabelStackEntry, decode_stack, encode_stack, label_stack
from testbed.packet.srv6 import Srh, SrhTlv, h_encaps
from testbed.packet.udp import Udp, udp_packet

__all__ = [
    "Bier",
    "BitString",
    "Encapsulation",
    "Ethernet",
    "Ethertype",
    "Gre",
    "IPv4",
    "IPv6",
    "Icmpv6Echo",
    "LabelStackEntry",
    "PacketError",
    "Proto",
    "Protocol",
    "Srh",
    "SrhTlv",
    "Udp",
    "decode_stack",
    "encode_stack",
    "h_encaps",
    "label_stack",
    "multicast_mac",
    "split",
    "udp_packet",
]
