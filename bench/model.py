"""How fast a synthetic model is made, and how fast received blocks are verified and their memory freed.

    .venv/bin/python bench/model.py [--quick] [--json] [--runs N]

Making includes writing (to the page cache of --disk, and to tmpfs) and the digests of the manifest. Verifying is what
the sink does to one destination: find the blocks, read, digest, punch. Other generators are there to compare; they
write nothing. MB/s are 10^6 bytes a second; CPU is seconds of all threads for each GiB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.transfer.manifest import Manifest, digest
from testbed.transfer.model import make_model
from testbed.transfer.receipt import Receipt

GIB = 2**30
PIECE = 2**24

Sample = tuple[float, float]  # MB/s, CPU seconds a GiB


def timed(work: Callable[[], object], size: int) -> Sample:
    cpu, wall = time.process_time(), time.monotonic()
    work()
    return size / 1e6 / (time.monotonic() - wall), (time.process_time() - cpu) * GIB / size


@contextmanager
def folder(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent, prefix="bench-model-") as name:
        yield Path(name)


def make(parent: Path, size: int, threads: int) -> Sample:
    with folder(parent) as place:
        return timed(lambda: make_model(place / "m", size, size // 4, seed=1, threads=threads), size)


def verify(size: int, keep: bool) -> Sample:
    with folder(Path("/dev/shm")) as place:
        manifest = make_model(place / "m", size, size // 4, seed=1)
        receipt = Receipt(manifest, [(str(place / "m" / f.name),) for f in manifest.files], keep=keep)
        sample = timed(lambda: receive(receipt, manifest), size)
        receipt.close()
        return sample


def receive(receipt: Receipt, manifest: Manifest) -> None:
    receipt.poll(time.monotonic(), thorough=True)
    if receipt.verified_bytes != manifest.total:
        raise SystemExit(f"only {receipt.verified_bytes} of {manifest.total} bytes are right")


def pieces(size: int, generate: Callable[[int], bytes]) -> Sample:
    def work() -> None:
        for _ in range(size // PIECE):
            generate(PIECE)

    return timed(work, size)


def jobs(disk: Path, size: int) -> dict[str, Callable[[], Sample]]:
    cores = len(os.sched_getaffinity(0))
    data = os.urandom(2**20)
    return {
        f"make, tmpfs, {cores} threads": lambda: make(Path("/dev/shm"), size, cores),
        "make, tmpfs, 1 thread": lambda: make(Path("/dev/shm"), size, 1),
        f"make, {disk}, {cores} threads": lambda: make(disk, size, cores),
        "verify and free, 1 thread": lambda: verify(size, keep=False),
        "verify and keep, 1 thread": lambda: verify(size, keep=True),
        "digest alone": lambda: pieces(size, lambda n: b"".join(digest(data) for _ in range(n >> 20))),
        "generator: os.urandom": lambda: pieces(size // 16, os.urandom),
        "generator: random.randbytes": lambda: pieces(size // 16, random.Random(1).randbytes),
        "generator: SHAKE128": lambda: pieces(size // 16, hashlib.shake_128(b"seed").digest),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="where models lie (default: %(default)s)")
    options = parser.parse_args()
    size, runs = (GIB // 2, 3) if options.quick else (2 * GIB, options.runs)
    for place in (Path("/dev/shm"), options.disk):
        if shutil.disk_usage(place).free < 2 * size:
            parser.error(f"{place} has less than {2 * size >> 20} MiB free")
    figures: dict[str, dict[str, float]] = {}
    for name, job in jobs(options.disk, size).items():
        rates, cpu = zip(*(job() for _ in range(runs)), strict=True)
        figures[name] = {
            "min_mb_s": min(rates),
            "median_mb_s": statistics.median(rates),
            "max_mb_s": max(rates),
            "cpu_s_per_gib": statistics.median(cpu),
        }
    if options.json:
        print(json.dumps({"bench": "model", "runs": runs, "bytes": size, "figures": figures}))
        return
    print(f"a model of {size >> 20} MiB, {runs} runs (MB/s)")
    print(f"  {'':<32}{'min':>8}{'median':>8}{'max':>8}{'CPU s/GiB':>12}")
    for name, row in figures.items():
        low, middle, high, seconds = row.values()
        print(f"  {name:<32}{low:>8.0f}{middle:>8.0f}{high:>8.0f}{seconds:>12.2f}")


if __name__ == "__main__":
    main()
