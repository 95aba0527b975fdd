"""Threads that live in a node's namespaces: no fork for a mount, a socket or a netlink request.

setns(2) and unshare(2) change the calling thread only, so a thread that joins a node's namespaces can open
sockets, mount and spawn there while the rest of the program stays where it is. Such a thread is never
given back to a pool: it ends with its work.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000

MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread. Raises OSError."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """setns(2) for the calling thread. Raises OSError."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def sethostname(name: str) -> None:
    """Set the host name of the calling thread's UTS namespace. Raises OSError."""
    raw = name.encode()
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2) in the calling thread's mount namespace. Raises OSError."""
    result = _libc.mount(source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), data.encode())
    _check(result, f"mount {source} on {target}")


def join(pid: int, kinds: int = CLONE_NEWNET) -> None:
    """Move the calling thread into the namespaces of process `pid` (a mask of CLONE_NEW*). Raises OSError."""
    # A mount namespace is joined at its own root; in a chroot that is not ours, and paths would mean other files.
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC) if kinds & CLONE_NEWNS else None
    if root is not None:
        unshare(CLONE_FS)
    for kind, name in ((CLONE_NEWUTS, "uts"), (CLONE_NEWNET, "net"), (CLONE_NEWNS, "mnt")):
        if kinds & kind:
            fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd, kind)
            finally:
                os.close(fd)
    if root is not None:
        os.fchdir(root)
        os.chroot(".")
        os.close(root)


class Worker:
    """A thread that ran `enter` first (usually `join`) and then runs what it is given, in order."""

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], object], Future[object]] | None] = SimpleQueue()
        entered: Future[object] = Future()
        self._thread = Thread(target=self._serve, args=(enter, entered), name=f"ns-{name}", daemon=True)
        self._thread.start()
        entered.result()

    def _serve(self, enter: Callable[[], None], entered: Future[object]) -> None:
        _settle(entered, enter)
        if entered.exception() is not None:
            return
        while (job := self._jobs.get()) is not None:
            work, future = job
            _settle(future, work)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work` for the namespace's thread."""
        future: Future[T] = Future()
        self._jobs.put((work, future))  # type: ignore[arg-type]
        return future

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the namespace and wait for its result (or its exception)."""
        return self.submit(work).result()

    def close(self) -> None:
        """End the thread once its queue is empty."""
        self._jobs.put(None)
        self._thread.join()


def _settle(future: Future[object], work: Callable[[], object]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # handed to whoever waits for the future
        future.set_exception(error)


def inside(pid: int, work: Callable[[], T], kinds: int = CLONE_NEWNET) -> T:
    """Run `work` once in the namespaces of `pid` and return its result: `inside(pid, socket.socket)`."""
    worker = Worker(f"pid-{pid}", lambda: join(pid, kinds))
    try:
        return worker.call(work)
    finally:
        worker.close()
