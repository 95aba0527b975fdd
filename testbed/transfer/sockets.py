"""What the kernel shows of another process's sockets, and what root may set on them that their owner does not.

/proc/PID/net shows the network namespace of PID, so none of this has to enter the namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

_SYS_PIDFD_GETFD = 438  # the same number on every architecture
_SO_RCVBUFFORCE = 33
_SO_MAX_PACING_RATE = 47
_TCP_CONGESTION = 13
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
    with _sockets(pid) as theirs:
        udp = [s for s in theirs if s.family == socket.AF_INET and s.type == socket.SOCK_DGRAM]
        for each in udp:
            each.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        return len(udp)


def tune_listeners(pid: int, *, pacing: int, segment: int, congestion: str) -> int:
    """Set what every connection inherits that a listening TCP socket of process `pid` accepts; return how many listen.

    `pacing`: the most payload bytes a second, evenly spaced by the kernel, whatever the window allows; `segment`: the
    MSS in bytes, options included; `congestion`: the congestion control, by the kernel's name. Raises OSError.
    """
    with _sockets(pid) as theirs:
        tcp = [s for s in theirs if s.family == socket.AF_INET and s.type == socket.SOCK_STREAM]
        listening = [s for s in tcp if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
        for each in listening:
            each.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("=Q", pacing))
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
            each.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, congestion.encode())
        return len(listening)


@contextmanager
def _sockets(pid: int) -> Iterator[list[socket.socket]]:
    """The sockets of another process, as descriptors of ours; those it has just closed are left out."""
    pidfd = os.pidfd_open(pid)
    found: list[socket.socket] = []
    try:
        for number in _socket_fds(pid):
            fd = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
            if fd < 0:
                error = ctypes.get_errno()
                if error == errno.EBADF:
                    continue
                raise OSError(error, f"pidfd_getfd: {os.strerror(error)}")
            found.append(socket.socket(fileno=fd))
        yield found
    finally:
        for each in found:
            each.close()
        os.close(pidfd)


def _socket_fds(pid: int) -> list[int]:
    folder = Path(f"/proc/{pid}/fd")
    return [int(name) for name in os.listdir(folder) if _target(folder / name).startswith("socket:")]


def _target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
