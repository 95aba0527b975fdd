"""What a probe looks like on the wire, and what a destination keeps of it.

A probe is a UDP datagram to a sync's own group, or one to each of its destinations: magic, sync number, sequence
number, send time on CLOCK_MONOTONIC in ns; all in network byte order, then zeros up to the asked size. Sequence numbers
start at 0 and count what was handed to the socket, so a hole at a destination is a loss, never a sender's pause.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

PORT = 5001
TTL = 64
MAGIC = b"LSyP"
HEADER = struct.Struct("!4sIQQ")
HEADER_DTYPE = np.dtype([("magic", "S4"), ("sync", ">u4"), ("seq", ">u8"), ("sent_ns", ">u8")])

Int64s: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Probes:
    """What one host received of one sync's probes, in order of arrival; times are CLOCK_MONOTONIC in ns."""

    seq: Int64s
    sent_ns: Int64s
    received_ns: Int64s


def record_name(sync: str, host: str) -> str:
    """The file under a run's `probes/` that holds what `host` received of `sync`."""
    return f"{sync}-{host}.npz"


def write_records(path: Path, probes: Probes) -> None:
    """Write one host's records (numpy's npz: seq, sent_ns, received_ns, each int64). Raises OSError."""
    with path.open("wb") as file:
        np.savez(file, seq=probes.seq, sent_ns=probes.sent_ns, received_ns=probes.received_ns)


def read_records(path: Path) -> Probes:
    """Read what `write_records` wrote. Raises OSError, KeyError, ValueError."""
    with np.load(path, allow_pickle=False) as arrays:
        return Probes(arrays["seq"], arrays["sent_ns"], arrays["received_ns"])
