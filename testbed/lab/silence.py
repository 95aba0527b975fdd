"""Silence: what was sent into a link vanishes, while both of its ends stay up and nobody is told.

An XDP program that drops everything stands at the receiving end. It comes before the packet sockets of that end (the
forwarder, captures) and before the stack, so that it holds for every protocol alike; the sender's queue and counters
are as ever. A dropping qdisc would do none of that: the sender sees what its own qdisc drops, and it would have to take
the place of the one that gives the link its rate. The generic mode (XDP_FLAGS_SKB_MODE) is in every kernel with bpf(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from testbed.errors import MachineError
from testbed.lab.links import index_of
from testbed.lab.node import Node

# linux/bpf.h
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_XDP = 6
_XDP_DROP = 1
# r0 = XDP_DROP; exit: struct bpf_insn is code, registers, offset, immediate.
_INSTRUCTIONS = struct.pack("=BBhi", 0xB7, 0, 0, _XDP_DROP) + struct.pack("=BBhi", 0x95, 0, 0, 0)
_LICENSE = b"Apache-2.0\0"
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

_XDP_FLAGS_SKB_MODE = 1 << 1
_NONE = -1


def silence(node: Node, interface: str) -> None:
    """Let nothing in at an interface. Raises MachineError, pyroute2's NetlinkError."""
    program = _load()
    try:
        _attach(node, interface, program)
    finally:
        os.close(program)  # the interface keeps it


def unsilence(node: Node, interface: str) -> None:
    """Let everything in again; no error where nothing was kept out. Raises pyroute2's NetlinkError."""
    _attach(node, interface, _NONE)


def _attach(node: Node, interface: str, program: int) -> None:
    xdp = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", _XDP_FLAGS_SKB_MODE)]}
    node.netlink(lambda ip: ip.link("set", index=index_of(ip, interface), xdp=xdp))


def _load() -> int:
    """The program, as a file descriptor. Raises MachineError."""
    instructions = ctypes.create_string_buffer(_INSTRUCTIONS, len(_INSTRUCTIONS))
    license = ctypes.create_string_buffer(_LICENSE)
    # union bpf_attr of BPF_PROG_LOAD: type, number of instructions, where they are, where the licence is; no log.
    asked = struct.pack(
        "=IIQQ", _BPF_PROG_TYPE_XDP, len(_INSTRUCTIONS) // 8, ctypes.addressof(instructions), ctypes.addressof(license)
    )
    attributes = ctypes.create_string_buffer(asked.ljust(64, b"\0"), 64)
    call = ctypes.CDLL(None, use_errno=True).syscall
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise MachineError(f"no silent failures on {platform.machine()}: its number of bpf(2) is not known here")
    fd = call(ctypes.c_long(number), ctypes.c_int(_BPF_PROG_LOAD), attributes, ctypes.c_uint(64))
    if fd < 0:
        why = os.strerror(ctypes.get_errno())
        raise MachineError(
            f"this kernel takes no XDP program, so no link can fail silently: bpf(2): {why}",
            "needs CONFIG_BPF_SYSCALL and CAP_BPF; in a container, a seccomp profile that allows bpf(2)",
        )
    return int(fd)
