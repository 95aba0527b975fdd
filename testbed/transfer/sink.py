"""The verifying process: one for all destinations of a delivery.

    python -m testbed.transfer.sink --config FILE

It polls the destinations' files, checks what has arrived against the manifest, and writes JSON lines to standard
output, each with `t` (CLOCK_MONOTONIC) and `host`:

    {"kind": "ready"}                                 it watches (`host` is empty)
    {"kind": "first-byte"}                            the first file has a byte
    {"kind": "progress", "verified": BYTES}           at most every `report` seconds
    {"kind": "done", "verified": BYTES}               every block is verified
    {"kind": "corrupt", "file": NAME, "block": N}     at the end: there, and wrong
    {"kind": "summary", "verified": BYTES, "first_byte": T, "finished": T, "curve": [[T, BYTES]], "shortfalls": [...]}

It ends, after a last thorough look and the summaries, when its standard input is closed; so it also ends with the
process that started it, however that ends. A time is that of the poll which found the bytes: at most `poll` seconds
after their arrival, and whatever the receiver holds back in its own buffer.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, TextIO

from testbed.precedence import take_precedence
from testbed.transfer.curve import thin
from testbed.transfer.manifest import read_manifest
from testbed.transfer.receipt import Receipt

_MAX_THREADS = 4
_NICE = -10  # a verifier that has to queue for the CPU sees blocks late, and their memory piles up meanwhile


@dataclass(frozen=True, slots=True)
class Watch:
    """One destination: for each file of the manifest, in order, the patterns of its paths; and the marker."""

    host: str
    places: tuple[tuple[str, ...], ...]
    marker: str


@dataclass(frozen=True, slots=True)
class Config:
    """`poll` and `report` are seconds; `keep` leaves what was verified."""

    manifest: str
    watches: tuple[Watch, ...]
    keep: bool = False
    poll: float = 0.02
    report: float = 0.2


def write_config(config: Config, path: Path) -> None:
    """Write a configuration for `--config`. Raises OSError."""
    watches = [{"host": w.host, "places": w.places, "marker": w.marker} for w in config.watches]
    document = {"manifest": config.manifest, "watches": watches}
    path.write_text(json.dumps(document | {"keep": config.keep, "poll": config.poll, "report": config.report}))


def read_config(path: Path) -> Config:
    """Read a configuration. Raises OSError, ValueError, KeyError."""
    document: dict[str, Any] = json.loads(path.read_text())
    watches = (Watch(w["host"], tuple(map(tuple, w["places"])), w["marker"]) for w in document.pop("watches"))
    return Config(watches=tuple(watches), **document)


class _Watcher:
    """The state and the reports of one destination."""

    def __init__(self, host: str, receipt: Receipt, report: float, out: _Lines) -> None:
        self._host, self._receipt, self._report, self._out = host, receipt, report, out
        self._next_report = 0.0
        self._seen = False

    def look(self, *, thorough: bool = False) -> None:
        now = time.monotonic()
        new = self._receipt.poll(now, thorough=thorough)
        if not self._seen and self._receipt.first_byte is not None:
            self._seen = True
            self._out.write(self._receipt.first_byte, self._host, kind="first-byte")
        if not new:
            return
        if self._receipt.complete:
            self._out.write(now, self._host, kind="done", verified=self._receipt.verified_bytes)
        elif now >= self._next_report:
            self._next_report = now + self._report
            self._out.write(now, self._host, kind="progress", verified=self._receipt.verified_bytes)

    def summarise(self) -> None:
        receipt, now = self._receipt, time.monotonic()
        shortfalls = receipt.shortfalls()
        for short in shortfalls:
            for block in short.wrong:
                self._out.write(now, self._host, kind="corrupt", file=short.file, block=block)
        self._out.write(
            now,
            self._host,
            kind="summary",
            verified=receipt.verified_bytes,
            first_byte=receipt.first_byte,
            finished=receipt.finished,
            curve=thin(receipt.curve),
            shortfalls=[{"file": s.file, "missing": s.missing, "wrong": s.wrong} for s in shortfalls],
        )
        receipt.close()


class _Lines:
    """JSON lines from several threads to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, Lock()

    def write(self, t: float, host: str, **fields: object) -> None:
        line = json.dumps({"t": t, "host": host} | fields)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def watch(config: Config, stop: Event, out: TextIO) -> None:
    """Follow all destinations until `stop`, then look once more and write the summaries. Raises what a look raises."""
    manifest = read_manifest(Path(config.manifest))
    lines = _Lines(out)
    watchers = [
        _Watcher(w.host, Receipt(manifest, w.places, Path(w.marker), keep=config.keep), config.report, lines)
        for w in config.watches
    ]
    failures: list[Exception] = []
    lines.write(time.monotonic(), "", kind="ready")

    def serve(mine: Sequence[_Watcher]) -> None:
        try:
            while not stop.is_set():
                began = time.monotonic()
                for watcher in mine:
                    watcher.look()
                stop.wait(max(0.001, config.poll - (time.monotonic() - began)))
            for watcher in mine:
                watcher.look(thorough=True)
                watcher.summarise()
        except Exception as error:  # ends the whole process: a destination nobody watches would never be done
            failures.append(error)
            stop.set()

    count = min(_MAX_THREADS, len(watchers))
    threads = [Thread(target=serve, args=(watchers[number::count],)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main() -> int:
    """The process: reads its configuration, watches until standard input is closed."""
    parser = argparse.ArgumentParser(prog="testbed.transfer.sink", description="verifies received models")
    parser.add_argument("--config", type=Path, required=True)
    config = read_config(parser.parse_args().config)
    take_precedence(0, _NICE)
    stop = Event()
    Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    watch(config, stop, sys.stdout)
    return 0


def _wait_for_end(stop: Event) -> None:
    while not stop.is_set():
        select.select([0], [], [])
        if not os.read(0, 4096):
            stop.set()


if __name__ == "__main__":
    sys.exit(main())
