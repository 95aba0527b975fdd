"""The SRv6 underlay: a locator for each router (RFC 8986 section 3.1), and the forwarder's way to the kernel's routing.

Locators are /48s out of fc00::/32, by the router's number in hexadecimal: router 17 has fc00:0:11::/48. Its first
address but one, fc00:0:11::1, is the router's own: what it sends in SRv6 comes from there. Links have link-local
addresses and no others.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

LOCATORS = IPv6Network("fc00::/32")
LOCATOR_LENGTH = 48

# A veth pair with both ends in the router: what the forwarder sends through its port KERNEL_PORT comes to the kernel at
# KERNEL_PEER, whose MAC address is the same everywhere, as nobody else is on that link.
KERNEL_PORT, KERNEL_PEER = "srk0", "srk1"
KERNEL_MAC = "02:00:00:00:00:01"


def locator(number: int) -> IPv6Network:
    """The locator of router `number` (plan.Node.number, from 1)."""
    first = LOCATORS.network_address + (number << 128 - LOCATOR_LENGTH)
    return IPv6Network((first, LOCATOR_LENGTH))


def source(number: int) -> IPv6Address:
    """The address of router `number` itself, in its locator."""
    return locator(number).network_address + 1
