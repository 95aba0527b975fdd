"""Synthetic models: a directory in the safetensors layout, made from a seed.

    config.json  tokenizer.json  model.safetensors.index.json  model-00001-of-0000N.safetensors ...  manifest.json

The tensors are one BLAKE3 output stream a shard: incompressible, no two blocks alike, and any part of it can be
made on its own, so that the bytes do not depend on how many threads make them.

A shard is, as the format says, eight bytes of header length (little endian), a JSON header that names each
tensor's type, shape and offsets, and the tensors without gaps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3

from testbed.errors import RequestError, TransferError
from testbed.transfer.manifest import NAME, File, Manifest, block_spans, digest, write_manifest

BLOCK = 2**20
MIN_SHARD = 2**16
MAX_SHARDS = 99_999
INDEX = "model.safetensors.index.json"

_ALIGN = 4096  # data starts on a page, as a loader that maps the file likes it
_HIDDEN = 4096  # columns of a tensor
_ROWS = 8192  # rows of a tensor: 64 MiB of BF16 each
_LAYER = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def shard_sizes(size: int, shard: int) -> list[int]:
    """`size` bytes in the fewest shards of at most `shard` bytes, as equal as can be. Raises RequestError."""
    if size < MIN_SHARD or shard < MIN_SHARD:
        raise RequestError(f"a model of {size} bytes in shards of {shard}: both must be at least {MIN_SHARD} bytes")
    count = -(-size // shard)
    if count > MAX_SHARDS:
        raise RequestError(f"{size} bytes in shards of {shard} are {count} shards; at most {MAX_SHARDS} have a name")
    if size // count < MIN_SHARD:
        raise RequestError(f"{count} shards of {size} bytes are less than {MIN_SHARD} bytes each; use fewer shards")
    return [size // count + (number < size % count) for number in range(count)]


def make_model(
    directory: Path, size: int, shard: int, seed: int, *, block: int = BLOCK, threads: int | None = None
) -> Manifest:
    """Make a model whose shards are `size` bytes together, in `directory` (made; must be empty or not there).

    `shard` is the most bytes of one shard, `block` the bytes that share a digest. The manifest is written last:
    a directory with a manifest is complete. `threads` None: one for each core this process may use.
    Raises RequestError (sizes), TransferError (the directory is not empty, or cannot be written).
    """
    sizes = shard_sizes(size, shard)
    if block < 1:
        raise RequestError(f"a block of {block} bytes: it must be positive")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise TransferError(f"{directory} is not empty; give a new directory for the model")
        free = shutil.disk_usage(directory).free
        if free < size:
            raise TransferError(f"{directory}: the model needs {size} bytes and {free} are free")
        return _make(directory, sizes, seed, block, threads or len(os.sched_getaffinity(0)))
    except OSError as error:
        raise TransferError(f"{directory}: the model cannot be written: {error}") from error


def _make(directory: Path, sizes: list[int], seed: int, block: int, threads: int) -> Manifest:
    names = [f"model-{number:05d}-of-{len(sizes):05d}.safetensors" for number in range(1, len(sizes) + 1)]
    tensors = _tensor_names()
    headers = [_header(size, tensors) for size in sizes]
    files = [_small(directory / name, document, block) for name, document in _documents(names, headers, seed)]
    with ThreadPoolExecutor(threads) as pool:
        for number, (name, size, (header, _)) in enumerate(zip(names, sizes, headers, strict=True)):
            files.append(_shard(pool, directory / name, size, header, seed, number, block))
    manifest = Manifest(block, tuple(files))
    write_manifest(manifest, directory / NAME)
    return manifest


def _shard(
    pool: ThreadPoolExecutor, path: Path, size: int, header: bytes, seed: int, number: int, block: int
) -> File:
    key = blake3.blake3(f"{seed}/{number}".encode(), derive_key_context="llmsync-testbed synthetic model 1")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def fill(span: tuple[int, int]) -> bytes:
        offset, length = span
        head = header[offset : offset + length]
        data = head + key.digest(length=length - len(head), seek=offset + len(head))
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
        return digest(data)

    try:
        return File(path.name, size, tuple(pool.map(fill, block_spans(size, block))))
    finally:
        os.close(fd)


def _tensor_names() -> Iterator[str]:
    """Names without end, in the order of a transformer's layers."""
    yield "model.embed_tokens.weight"
    layer = 0
    while True:
        yield from (f"model.layers.{layer}.{part}.weight" for part in _LAYER)
        layer += 1


def _header(size: int, names: Iterator[str]) -> tuple[bytes, list[str]]:
    """A shard's length prefix and JSON header, and the tensors it holds. They fill the file to its last byte."""
    room, taken = 0, list[str]()
    while True:
        room += _ALIGN
        tensors = _tensors(size - room)
        taken.extend(next(names) for _ in range(len(tensors) - len(taken)))
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for (dtype, shape, length), name in zip(tensors, taken, strict=False):
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + length]}
            offset += length
        text = json.dumps(entries, separators=(",", ":")).encode()
        if 8 + len(text) <= room:
            return (room - 8).to_bytes(8, "little") + text.ljust(room - 8), taken[: len(tensors)]


def _tensors(length: int) -> list[tuple[str, list[int], int]]:
    """(type, shape, bytes) of tensors that are `length` bytes together."""
    row = 2 * _HIDDEN
    tensors: list[tuple[str, list[int], int]] = []
    while length >= row:
        rows = min(_ROWS, length // row)
        tensors.append(("BF16", [rows, _HIDDEN], rows * row))
        length -= rows * row
    if length:
        tensors.append(("U8", [length], length))
    return tensors


def _documents(
    names: list[str], headers: list[tuple[bytes, list[str]]], seed: int
) -> Iterator[tuple[str, dict[str, object]]]:
    yield "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "num_attention_heads": 32,
        "torch_dtype": "bfloat16",
        "vocab_size": 256,
        "synthetic_seed": seed,
    }
    yield "tokenizer.json", {
        "version": "1.0",
        "model": {"type": "BPE", "vocab": {f"<0x{code:02X}>": code for code in range(256)}, "merges": []},
    }
    weights = {tensor: name for name, (_, held) in zip(names, headers, strict=True) for tensor in held}
    total = sum(_data_length(header) for header, _ in headers)
    yield INDEX, {"metadata": {"total_size": total}, "weight_map": weights}


def _data_length(header: bytes) -> int:
    entries = json.loads(header[8:])
    return max(int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__")


def _small(path: Path, document: dict[str, object], block: int) -> File:
    data = (json.dumps(document, indent=2) + "\n").encode()
    path.write_bytes(data)
    digests = tuple(digest(data[offset : offset + length]) for offset, length in block_spans(len(data), block))
    return File(path.name, len(data), digests)
