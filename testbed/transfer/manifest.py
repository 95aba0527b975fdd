"""What a model consists of: its files, and a digest of every block of them.

The digests are BLAKE3-256, one for each `block` bytes of a file (the last block of a file may be shorter).
A receiver that holds a manifest can tell for each block by itself whether it is right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import blake3

from testbed.errors import TransferError

NAME = "manifest.json"
VERSION = 1
DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model: its name in the model's directory, its size in bytes, one digest a block."""

    name: str
    size: int
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model in the order they are sent. `block` is in bytes."""

    block: int
    files: tuple[File, ...]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def blocks(self) -> int:
        """Blocks of all files."""
        return sum(len(file.digests) for file in self.files)


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The digest of one block."""
    return blake3.blake3(data).digest()


def block_spans(size: int, block: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each block of a file of `size` bytes."""
    return ((offset, min(block, size - offset)) for offset in range(0, size, block))


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest as JSON; the file is there complete or not at all. Raises OSError."""
    document = {
        "version": VERSION,
        "digest": "blake3-256",
        "block": manifest.block,
        "total": manifest.total,
        "files": [
            {"name": file.name, "size": file.size, "digests": [d.hex() for d in file.digests]}
            for file in manifest.files
        ],
    }
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises TransferError when it cannot be read or does not fit together."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise ValueError(f"its version is {document['version']!r}, not {VERSION}")
        manifest = Manifest(
            block=int(document["block"]),
            files=tuple(
                File(str(f["name"]), int(f["size"]), tuple(bytes.fromhex(d) for d in f["digests"]))
                for f in document["files"]
            ),
        )
        _check(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransferError(f"{path}: not a readable manifest: {error}; make the model again") from error
    return manifest


def _check(manifest: Manifest) -> None:
    if manifest.block < 1:
        raise ValueError("the block size is not positive")
    for file in manifest.files:
        if not file.name or "/" in file.name or file.name.startswith("."):
            raise ValueError(f"{file.name!r} is not a plain file name")
        if file.size < 0:
            raise ValueError(f"{file.name}: {file.size} bytes")
        if len(file.digests) != -(-file.size // manifest.block):
            raise ValueError(f"{file.name}: {len(file.digests)} digests do not cover {file.size} bytes")
        if any(len(d) != DIGEST_SIZE for d in file.digests):
            raise ValueError(f"{file.name}: a digest is not {DIGEST_SIZE} bytes long")
