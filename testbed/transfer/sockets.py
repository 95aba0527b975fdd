"""What the kernel shows of another process's sockets: group membership, and a larger receive buffer for it.

/proc/PID/net shows the network namespace of PID, so none of this has to enter the namespace.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

_SYS_PIDFD_GETFD = 438  # the same number on every architecture
_SO_RCVBUFFORCE = 33
_libc = ctypes.CDLL(None, use_errno=True)


def is_member(pid: int, group: IPv4Address, source: IPv4Address | None = None) -> bool:
    """Whether a socket in the network namespace of `pid` has joined `group`, from `source` only if one is given."""
    try:
        if source is None:
            return group in joined_groups(Path(f"/proc/{pid}/net/igmp").read_text())
        return (group, source) in joined_channels(Path(f"/proc/{pid}/net/mcfilter").read_text())
    except OSError:  # the process has just ended
        return False


def joined_groups(igmp: str) -> set[IPv4Address]:
    """The groups in the text of /proc/net/igmp (hexadecimal of the address as the host's byte order reads it)."""
    lines = [line.split() for line in igmp.splitlines()[1:] if line.startswith("\t")]
    return {IPv4Address(struct.pack("=I", int(fields[0], 16))) for fields in lines if fields}


def joined_channels(mcfilter: str) -> set[tuple[IPv4Address, IPv4Address]]:
    """The (group, source) pairs with an include count in the text of /proc/net/mcfilter."""
    lines = [line.split() for line in mcfilter.splitlines()[1:]]
    return {
        (IPv4Address(int(fields[2], 16)), IPv4Address(int(fields[3], 16)))
        for fields in lines
        if len(fields) == 6 and int(fields[4]) > 0
    }


def force_receive_buffer(pid: int, size: int) -> int:
    """Give every UDP socket of process `pid` a receive buffer of `size` bytes; return how many sockets it has.

    A program's own SO_RCVBUF is cut to net.core.rmem_max (4 MB on Debian's kernels, less than 70 ms at 500 Mb/s);
    root may exceed it for a socket without touching that system-wide setting. Raises OSError.
    """
    pidfd = os.pidfd_open(pid)
    try:
        count = 0
        for number in _socket_fds(pid):
            fd = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
            if fd < 0:
                error = ctypes.get_errno()
                raise OSError(error, f"pidfd_getfd: {os.strerror(error)}")
            with socket.socket(fileno=fd) as theirs:
                if theirs.family == socket.AF_INET and theirs.type == socket.SOCK_DGRAM:
                    theirs.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
                    count += 1
        return count
    finally:
        os.close(pidfd)


def _socket_fds(pid: int) -> list[int]:
    folder = Path(f"/proc/{pid}/fd")
    return [int(name) for name in os.listdir(folder) if _target(folder / name).startswith("socket:")]


def _target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
