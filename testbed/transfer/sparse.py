"""Files that arrive out of order, on tmpfs: which parts are there, and giving the memory of a part back."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)


def extents(fd: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """(offset, end) of each stretch of data from `start` on, in whole pages but for the file's end. Raises OSError."""
    end = start
    while True:
        try:
            offset = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, offset, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                return
            raise
        yield offset, end


def punch(fd: int, offset: int, length: int) -> None:
    """Make a hole: the pages are freed, the size stays. Raises OSError."""
    if _libc.fallocate(fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"fallocate: {os.strerror(number)}")
