"""Many datagrams in one call: recvmmsg(2) with kernel receive timestamps, into buffers made once.

For 64-bit Linux. Python's own recvmsg costs several microseconds and a handful of objects for each datagram;
at 1000 probes a second for each destination the measured network would have to do without that time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import time

import numpy as np
import numpy.typing as npt

SO_TIMESTAMPNS = 35  # asm-generic; the socket module does not name it before Python 3.14
SO_MEMINFO = 55
_MEMINFO_DROPS = 8  # index of SK_MEMINFO_DROPS
_CONTROL = 64
_CMSG_TIMESTAMP = np.dtype([("len", "u8"), ("level", "i4"), ("type", "i4"), ("sec", "i8"), ("nsec", "i8")])
_NS = 1_000_000_000


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("hdr", _MsgHdr), ("len", ctypes.c_uint))


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg


class Batch:
    """Buffers for up to `capacity` datagrams, of each of which the first `width` bytes are kept.

    One batch serves any number of sockets, one after the other.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity = capacity
        self._data = np.zeros((capacity, width), np.uint8)
        self._control = np.zeros((capacity, _CONTROL), np.uint8)
        self._vectors = (_IoVec * capacity)()
        self._messages = (_MMsgHdr * capacity)()
        for i in range(capacity):
            self._vectors[i] = _IoVec(self._data[i].ctypes.data, width)
            header = self._messages[i].hdr
            header.iov = ctypes.pointer(self._vectors[i])
            header.iovlen = 1
            header.control = self._control[i].ctypes.data
        # Views into the message headers, so that thousands of lengths are set and read without a loop.
        layout = np.dtype(
            {
                "names": ["controllen", "len"],
                "formats": ["u8", "u4"],
                "offsets": [_MsgHdr.controllen.offset, _MMsgHdr.len.offset],
                "itemsize": ctypes.sizeof(_MMsgHdr),
            }
        )
        self._lengths = np.frombuffer(memoryview(self._messages).cast("B"), layout)
        self._stamps = self._control[:, : _CMSG_TIMESTAMP.itemsize].view(_CMSG_TIMESTAMP)[:, 0]

    def receive(self, sock: socket.socket) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """What is queued at the socket now, up to the capacity: (first bytes, CLOCK_REALTIME ns).

        Views are valid until the next call. Datagrams shorter than `width` are left out, and a stamp is the
        time of this call where the kernel gave none. Raises OSError.
        """
        self._lengths["controllen"] = _CONTROL
        count = _recvmmsg(sock.fileno(), self._messages, self.capacity, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                raise OSError(number, f"recvmmsg: {os.strerror(number)}")
            count = 0
        stamps = self._stamps[:count]
        known = (stamps["level"] == socket.SOL_SOCKET) & (stamps["type"] == SO_TIMESTAMPNS)
        known &= self._lengths["controllen"][:count] >= _CMSG_TIMESTAMP.itemsize
        realtime = np.where(known, stamps["sec"] * _NS + stamps["nsec"], time.time_ns()).astype(np.int64)
        whole = self._lengths["len"][:count] >= self._data.shape[1]
        return self._data[:count][whole], realtime[whole]


def drops(sock: socket.socket) -> int:
    """Datagrams the kernel dropped at this socket so far because its buffer was full. Raises OSError."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
    return int.from_bytes(raw[4 * _MEMINFO_DROPS :][:4], sys.byteorder)
