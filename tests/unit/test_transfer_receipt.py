from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.transfer.curve import thin
from testbed.transfer.manifest import File, Manifest, digest
from testbed.transfer.receipt import Receipt, Shortfall
from testbed.transfer.sparse import extents, punch

PAGE = 4096
BLOCK = 16 * PAGE


@pytest.fixture
def folder() -> Iterator[Path]:
    """On tmpfs, where holes are whole pages."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def describe(**files: bytes) -> Manifest:
    return Manifest(
        BLOCK,
        tuple(
            File(name, len(data), tuple(digest(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)))
            for name, data in files.items()
        ),
    )


def put(path: Path, data: bytes, start: int, end: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(fd, data[start:end], start)
    os.close(fd)


def held(path: Path) -> int:
    return path.stat().st_blocks * 512


class Watched:
    """A receipt of one file "a" and a clock."""

    def __init__(self, folder: Path, size: int, *, keep: bool = False) -> None:
        self.data = content(size)
        self.path, self.marker = folder / "a", folder / "marker"
        self.receipt = Receipt(describe(a=self.data), [(str(self.path),)], self.marker, keep=keep)
        self.now = 100.0

    def put(self, start: int, end: int) -> None:
        put(self.path, self.data, start, end)

    def poll(self, later: float = 1.0) -> int:
        self.now += later
        self.receipt.poll(self.now)
        return self.receipt.verified_bytes


def test_blocks_are_verified_as_they_arrive_in_any_order(folder: Path) -> None:
    w = Watched(folder, 3 * BLOCK + 100)
    assert w.poll() == 0
    assert w.receipt.first_byte is None
    w.put(2 * BLOCK, 3 * BLOCK)
    assert w.poll() == BLOCK
    assert w.receipt.first_byte == w.now
    w.put(0, BLOCK + 5 * PAGE)
    assert w.poll() == 2 * BLOCK
    w.put(3 * BLOCK, 3 * BLOCK + 100)
    assert w.poll() == 2 * BLOCK + 100
    assert not w.receipt.complete
    w.put(BLOCK + 5 * PAGE, 2 * BLOCK)
    assert w.poll() == 3 * BLOCK + 100
    assert w.receipt.complete
    assert w.receipt.finished == w.now
    assert w.receipt.curve == [
        (102.0, BLOCK),
        (103.0, 2 * BLOCK),
        (104.0, 2 * BLOCK + 100),
        (105.0, 3 * BLOCK + 100),
    ]
    assert w.receipt.shortfalls() == ()
    w.receipt.close()


def test_memory_of_verified_blocks_is_given_back(folder: Path) -> None:
    w = Watched(folder, 4 * BLOCK)
    w.put(0, 2 * BLOCK + PAGE)
    assert held(w.path) == 2 * BLOCK + PAGE
    w.poll()
    assert held(w.path) == PAGE
    assert w.path.stat().st_size == 2 * BLOCK + PAGE
    w.put(2 * BLOCK, 4 * BLOCK)
    w.poll()
    assert (held(w.path), w.path.stat().st_size) == (0, 4 * BLOCK)
    w.receipt.close()


def test_keep_leaves_the_file(folder: Path) -> None:
    w = Watched(folder, 2 * BLOCK, keep=True)
    w.put(0, 2 * BLOCK)
    assert w.poll() == 2 * BLOCK
    assert w.path.read_bytes() == w.data
    w.receipt.close()


def test_a_block_that_is_not_all_there_is_no_shortfall_of_contents(folder: Path) -> None:
    w = Watched(folder, 2 * BLOCK)
    w.put(0, BLOCK - PAGE)
    assert w.poll() == 0
    assert w.receipt.shortfalls() == (Shortfall("a", 2, ()),)
    w.receipt.close()


def test_a_wrong_block_is_looked_at_again_and_reported(folder: Path) -> None:
    w = Watched(folder, 3 * BLOCK)
    w.put(0, 3 * BLOCK)
    put(w.path, b"\0" * (3 * BLOCK), BLOCK + 10, BLOCK + 20)
    assert w.poll() == 2 * BLOCK
    assert w.poll() == 2 * BLOCK
    assert w.receipt.shortfalls() == (Shortfall("a", 0, (1,)),)
    w.put(BLOCK + 10, BLOCK + 20)
    assert w.poll() == 3 * BLOCK
    assert w.receipt.complete
    w.receipt.close()


def test_many_wrong_blocks_are_not_hashed_over_and_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = Watched(folder, 64 * BLOCK)
    put(w.path, b"\1" * (64 * BLOCK), 0, 64 * BLOCK)
    checks = 0

    def count(data: memoryview) -> bytes:
        nonlocal checks
        checks += 1
        return digest(data)

    monkeypatch.setattr("testbed.transfer.receipt.digest", count)
    for _ in range(500):
        w.poll(later=0.01)
    assert 64 <= checks <= 64 * 12
    w.put(0, 64 * BLOCK)
    w.marker.write_text("a is finished")
    assert w.poll(later=0.01) == 64 * BLOCK
    w.receipt.close()


def test_a_file_that_moves_is_still_followed(folder: Path) -> None:
    w = Watched(folder, 2 * BLOCK)
    w.put(0, BLOCK)
    assert w.poll() == BLOCK
    w.path.rename(folder / "elsewhere")
    w.path = folder / "elsewhere"
    w.put(BLOCK, 2 * BLOCK)
    assert w.poll() == 2 * BLOCK
    w.receipt.close()


def test_a_file_that_is_thrown_away_is_looked_for_again(folder: Path) -> None:
    w = Watched(folder, 2 * BLOCK)
    w.put(0, BLOCK)
    assert w.poll() == BLOCK
    w.path.unlink()
    assert w.poll() == BLOCK
    w.put(BLOCK, 2 * BLOCK)
    assert w.poll() == 2 * BLOCK
    w.receipt.close()


def test_files_far_ahead_are_found_when_the_receiver_says_so(folder: Path) -> None:
    data = {name: content(PAGE + n, seed=n) for n, name in enumerate("abcdef")}
    marker = folder / "marker"
    receipt = Receipt(describe(**data), [(str(folder / "*" / name),) for name in data], marker)
    (folder / "x").mkdir()
    put(folder / "x" / "f", data["f"], 0, PAGE + 5)
    receipt.poll(1.0)
    assert receipt.verified_bytes == 0
    marker.write_text("f")
    receipt.poll(2.0)
    assert receipt.verified_bytes == PAGE + 5
    receipt.close()


def test_an_empty_file_is_complete_from_the_start(folder: Path) -> None:
    receipt = Receipt(describe(a=b""), [(str(folder / "a"),)])
    assert receipt.complete


def test_extents_and_holes(folder: Path) -> None:
    path = folder / "a"
    put(path, bytes(10 * PAGE), 0, 10 * PAGE)
    fd = os.open(path, os.O_RDWR)
    punch(fd, 2 * PAGE, 3 * PAGE)
    assert list(extents(fd)) == [(0, 2 * PAGE), (5 * PAGE, 10 * PAGE)]
    assert list(extents(fd, 6 * PAGE)) == [(6 * PAGE, 10 * PAGE)]
    assert list(extents(fd, 99 * PAGE)) == []
    os.close(fd)
    with pytest.raises(OSError, match="fallocate"):
        punch(fd, 0, PAGE)


@pytest.mark.parametrize(("count", "most"), [(0, 2), (1, 2), (5, 10), (500, 500), (501, 500), (99_999, 500), (7, 2)])
def test_a_thinned_curve_keeps_its_ends(count: int, most: int) -> None:
    points = list(range(count))
    got = thin(points, most)
    assert len(got) == min(count, most)
    assert got == sorted(set(got))
    if count:
        assert (got[0], got[-1]) == (0, count - 1)
