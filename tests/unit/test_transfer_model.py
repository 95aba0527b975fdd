from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RequestError, TransferError
from testbed.transfer import manifest as manifests
from testbed.transfer.manifest import File, Manifest, block_spans, digest, read_manifest, write_manifest
from testbed.transfer.model import INDEX, MIN_SHARD, make_model, shard_sizes

KIB, MIB = 2**10, 2**20
WIDTHS = {"BF16": 2, "U8": 1}


def read_safetensors(path: Path) -> tuple[dict[str, Any], int]:
    """Header and data length, checked as the format's own readers check them."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert 8 + length <= len(data)
    assert length <= 100_000_000
    raw = data[8 : 8 + length]
    assert raw.startswith(b"{")
    header = json.loads(raw)
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for tensor in sorted(header.values(), key=lambda t: t["data_offsets"][0]):
        first, last = tensor["data_offsets"]
        size = WIDTHS[tensor["dtype"]]
        for extent in tensor["shape"]:
            size *= extent
        assert (first, last - first) == (end, size)
        end = last
    assert 8 + length + end == len(data)
    return header, end


def test_a_model_is_a_directory_in_the_safetensors_layout(tmp_path: Path) -> None:
    size = 5 * MIB + 12_345
    manifest = make_model(tmp_path / "m", size, 2 * MIB, seed=1)
    shards = sorted((tmp_path / "m").glob("*.safetensors"))
    assert [s.name for s in shards] == [f"model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3)]
    assert sum(s.stat().st_size for s in shards) == size
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    seen: dict[str, str] = {}
    total = 0
    for shard in shards:
        header, length = read_safetensors(shard)
        total += length
        assert not seen.keys() & header.keys()
        seen |= dict.fromkeys(header, shard.name)
    assert index == {"metadata": {"total_size": total}, "weight_map": seen}
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "llama"
    assert json.loads((tmp_path / "m" / "tokenizer.json").read_text())["model"]["vocab"]
    assert {p.name for p in (tmp_path / "m").iterdir()} == {f.name for f in manifest.files} | {manifests.NAME}


def test_the_safetensors_library_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    make_model(tmp_path, MIB, MIB, seed=1)
    (shard,) = tmp_path.glob("*.safetensors")
    with safetensors.safe_open(shard, framework="np") as tensors:
        assert "model.embed_tokens.weight" in tensors.keys()  # noqa: SIM118


def test_every_block_is_different_and_incompressible(tmp_path: Path) -> None:
    manifest = make_model(tmp_path, 8 * MIB, 4 * MIB, seed=1, block=256 * KIB)
    assert len({d for f in manifest.files for d in f.digests}) == manifest.blocks
    for shard in tmp_path.glob("*.safetensors"):
        data = shard.read_bytes()
        assert len(zlib.compress(data[4096:], 6)) > 0.999 * len(data[4096:])


def test_the_manifest_describes_the_files(tmp_path: Path) -> None:
    manifest = make_model(tmp_path, 3 * MIB + 1, 2 * MIB, seed=1)
    assert read_manifest(tmp_path / manifests.NAME) == manifest
    for file in manifest.files:
        data = (tmp_path / file.name).read_bytes()
        assert len(data) == file.size
        assert tuple(digest(data[o : o + n]) for o, n in block_spans(file.size, manifest.block)) == file.digests
    assert manifest.total == sum(p.stat().st_size for p in tmp_path.iterdir() if p.name != manifests.NAME)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    def make(name: str, seed: int, threads: int, block: int = MIB) -> dict[str, bytes]:
        make_model(tmp_path / name, 3 * MIB, MIB, seed, threads=threads, block=block)
        return {p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.name != manifests.NAME}

    one = make("one", 1, 1)
    assert make("three", 1, 3) == one
    assert make("blocks", 1, 2, block=100_000) == one
    other = make("other", 2, 1)
    assert all(other[name] != data for name, data in one.items() if name.endswith(".safetensors"))


@given(st.integers(MIN_SHARD, 10**13), st.integers(MIN_SHARD, 10**10))
def test_shards_add_up(size: int, shard: int) -> None:
    try:
        sizes = shard_sizes(size, shard)
    except RequestError:
        return
    assert sum(sizes) == size
    assert MIN_SHARD <= min(sizes) <= max(sizes) <= shard
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("rest", [0, 1, 4095, 4096, 8191, 8192, 12_288])
def test_any_size_makes_whole_shards(tmp_path: Path, rest: int) -> None:
    size = MIN_SHARD + rest
    make_model(tmp_path, size, MIB, seed=1)
    (shard,) = tmp_path.glob("*.safetensors")
    assert shard.stat().st_size == size
    read_safetensors(shard)


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least"):
        make_model(tmp_path, 100, MIB, seed=1)
    with pytest.raises(RequestError, match="fewer shards"):
        make_model(tmp_path, 2 * MIN_SHARD - 1, MIN_SHARD, seed=1)
    with pytest.raises(RequestError, match="at most 99999"):
        make_model(tmp_path, 10**12, MIB, seed=1)
    with pytest.raises(RequestError, match="block"):
        make_model(tmp_path, MIB, MIB, seed=1, block=0)


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(TransferError, match="not empty"):
        make_model(tmp_path, MIB, MIB, seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


GOOD = Manifest(1000, (File("a", 1500, (digest(b"1"), digest(b"2"))), File("b", 0, ())))


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    write_manifest(GOOD, tmp_path / "m")
    assert read_manifest(tmp_path / "m") == GOOD
    assert (GOOD.total, GOOD.blocks) == (1500, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version is 2"),
        ({"block": 0}, "block size"),
        ({"files": [{"name": "../a", "size": 1, "digests": ["00" * 32]}]}, "not a plain file name"),
        ({"files": [{"name": "a", "size": 1001, "digests": ["00" * 32]}]}, "do not cover 1001 bytes"),
        ({"files": [{"name": "a", "size": -1, "digests": []}]}, "-1 bytes"),
        ({"files": [{"name": "a", "size": 1, "digests": ["00"]}]}, "not 32 bytes long"),
        ({"files": [{"name": "a"}]}, "size"),
        ({"files": 3}, "not iterable"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "m"
    write_manifest(GOOD, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TransferError, match=says):
        read_manifest(path)


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="No such file"):
        read_manifest(tmp_path / "m")
