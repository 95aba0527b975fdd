"""What one destination has received so far, block by block against the manifest.

A receiver writes where and when it likes. `Receipt.poll` looks for blocks whose pages are all there, checks their
digests, and gives the memory of the right ones back. A block that does not match may just be on its way (a lost
packet smaller than a page leaves no hole), so it is looked at again, less and less often, until it is right or the
receiver says that it has finished the file.

A block counts from the moment of the poll that found it, not from the end of its check: what is measured is arrival.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.transfer.manifest import File, Manifest, digest
from testbed.transfer.sparse import extents, punch

_LOOKAHEAD = 2  # files that are looked for at a time; they come in the manifest's order, or nearly so
_THOROUGH = 3  # polls that check everything after the receiver has finished a file: its last write may come late
_FIRST_PAUSE = 0.02
_LAST_PAUSE = 1.0
_FEW = 2  # so few doubtful blocks are looked at every _FIRST_PAUSE, so that the last one is seen when it comes
_BREATH = 20  # a scan that took t of CPU time is not repeated for _BREATH x t: 5 % of a core at most, but no
_LONGEST_BREATH = 0.2  # pause gets longer than this


@dataclass(slots=True)
class _Arrival:
    """One file on its way. `fd` is -1 until it appears; `edge`: every block before this one is verified.

    `doubts`: blocks that are there and do not match, each with (when to look again, the pause before that).
    """

    file: File
    patterns: tuple[str, ...]
    fd: int = -1
    edge: int = 0
    verified: set[int] = field(default_factory=set)
    doubts: dict[int, tuple[float, float]] = field(default_factory=dict)
    stamp: tuple[int, int, int] = (0, 0, 0)
    next_scan: float = 0.0

    @property
    def complete(self) -> bool:
        return self.edge == len(self.file.digests)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What is not right in a file: the blocks not (wholly) there, and the numbers of those there and wrong."""

    file: str
    missing: int
    wrong: tuple[int, ...]


class Receipt:
    """The blocks of one model at one destination. Not thread-safe: one thread polls it."""

    def __init__(
        self,
        manifest: Manifest,
        places: Sequence[Sequence[str]],
        marker: Path | None = None,
        *,
        keep: bool = False,
    ) -> None:
        """`places`: for each file of the manifest, glob patterns of the paths it may have. `marker`: a file that
        grows when the receiver has finished one. `keep`: leave verified blocks instead of freeing their memory."""
        self.verified_bytes = 0
        self.first_byte: float | None = None
        self.finished: float | None = None
        self.curve: list[tuple[float, int]] = []
        self._block = manifest.block
        self._buffer = memoryview(bytearray(manifest.block))
        self._arrivals = [_Arrival(f, tuple(p)) for f, p in zip(manifest.files, places, strict=True)]
        self._keep = keep
        self._marker = marker
        self._marked = 0
        self._thorough = 0

    @property
    def complete(self) -> bool:
        """Every block of every file is verified."""
        return all(arrival.complete for arrival in self._arrivals)

    def poll(self, now: float, *, thorough: bool = False) -> bool:
        """Look once, stamping what is new with `now` (CLOCK_MONOTONIC). True when bytes were verified.

        `thorough`: check every block that is there, whatever the last look was. Raises OSError.
        """
        if self._finished_a_file():
            self._thorough = _THOROUGH
        thorough = thorough or self._thorough > 0
        self._thorough = max(0, self._thorough - 1)
        before, looking = self.verified_bytes, 0
        for arrival in self._arrivals:
            if arrival.complete:
                continue
            if arrival.fd < 0:
                looking += 1
                if (looking > _LOOKAHEAD and not thorough) or not self._find(arrival):
                    continue
            self._look(arrival, now, thorough)
        if self.verified_bytes == before:
            return False
        self.curve.append((now, self.verified_bytes))
        if self.complete:
            self.finished = now
        return True

    def shortfalls(self) -> tuple[Shortfall, ...]:
        """The files that are not complete. Poll thoroughly first."""
        return tuple(
            Shortfall(a.file.name, len(a.file.digests) - len(a.verified) - len(a.doubts), tuple(sorted(a.doubts)))
            for a in self._arrivals
            if not a.complete
        )

    def close(self) -> None:
        """Close the files."""
        for arrival in self._arrivals:
            if arrival.fd >= 0:
                os.close(arrival.fd)
                arrival.fd = -1

    def _finished_a_file(self) -> bool:
        if self._marker is None:
            return False
        try:
            size = self._marker.stat().st_size
        except FileNotFoundError:
            return False
        changed, self._marked = size != self._marked, size
        return changed

    def _find(self, arrival: _Arrival) -> bool:
        """Open the file once it is there. It stays open: moved or renamed, it is still the same."""
        for path in (path for pattern in arrival.patterns for path in glob.iglob(pattern)):
            try:
                arrival.fd = os.open(path, (os.O_RDONLY if self._keep else os.O_RDWR) | os.O_CLOEXEC)
                return True
            except FileNotFoundError:  # moved after it was listed: found at the next poll
                continue
        return False

    def _look(self, arrival: _Arrival, now: float, thorough: bool) -> None:
        state = os.fstat(arrival.fd)
        if state.st_nlink == 0:  # thrown away by the receiver, which may start it anew elsewhere
            os.close(arrival.fd)
            arrival.fd, arrival.doubts = -1, {}
            return
        if self.first_byte is None and state.st_size:
            self.first_byte = now
        stamp = (state.st_size, state.st_blocks, state.st_mtime_ns)
        changed = stamp != arrival.stamp or any(again <= now for again, _ in arrival.doubts.values())
        if thorough or (changed and now >= arrival.next_scan):
            arrival.stamp = stamp
            self._scan(arrival, now, thorough)

    def _scan(self, arrival: _Arrival, now: float, thorough: bool) -> None:
        began = time.thread_time()
        present = list(self._present(arrival))
        few = len(arrival.doubts) <= _FEW
        arrival.next_scan = now + min(_LONGEST_BREATH, _BREATH * (time.thread_time() - began))
        for number in present:
            again, pause = arrival.doubts.get(number, (0.0, _FIRST_PAUSE))
            if not thorough and now < again:
                continue
            if self._check(arrival, number):
                arrival.doubts.pop(number, None)
                arrival.verified.add(number)
            else:
                arrival.doubts[number] = (now + pause, pause if few else min(2 * pause, _LAST_PAUSE))
        while arrival.edge in arrival.verified:
            arrival.edge += 1

    def _present(self, arrival: _Arrival) -> Iterator[int]:
        """Unverified blocks whose pages are all there."""
        size, block = arrival.file.size, self._block
        for offset, end in extents(arrival.fd, arrival.edge * block):
            for number in range(-(-offset // block), len(arrival.file.digests)):
                if min((number + 1) * block, size) > end:
                    break
                if number not in arrival.verified:
                    yield number

    def _check(self, arrival: _Arrival, number: int) -> bool:
        offset = number * self._block
        view = self._buffer[: min(self._block, arrival.file.size - offset)]
        if os.preadv(arrival.fd, [view], offset) != len(view) or digest(view) != arrival.file.digests[number]:
            return False
        self.verified_bytes += len(view)
        if not self._keep:
            punch(arrival.fd, offset, self._block)
        return True
