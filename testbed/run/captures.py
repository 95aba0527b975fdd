"""The packets of the links that a scenario wants written down, by tcpdump."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from testbed.errors import LabError
from testbed.lab.lab import Lab
from testbed.lab.waiting import until

SNAPLEN = 256  # octets: all headers that any scheme makes of a packet, and the transport's own
_BUFFER_KIB = 16384
_FILE_HEADER = 24  # octets that are there once it listens
_PATIENCE = 10.0  # seconds for tcpdump to begin, and to write what it has


class Captures:
    """Both directions of each link, seen at its first end, in `pcap/<link>.pcap` of a run's folder."""

    def __init__(self, lab: Lab, links: Iterable[str], folder: Path) -> None:
        self._lab, self._links, self._folder = lab, tuple(links), folder / "pcap"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Return once all of them listen. Raises LabError, NotConverged."""
        for link in self._links:
            self._folder.mkdir(exist_ok=True)
            end = self._lab.plan.links[link].a
            argv = ["tcpdump", "-n", "-i", end.name, "-s", str(SNAPLEN), "-B", str(_BUFFER_KIB)]
            argv += ["-U", "-Z", "root", "-w", str(self._file(link))]
            with self._file(link).with_suffix(".log").open("wb") as log:
                self._running[link] = self._lab[end.node].popen(argv, stderr=log)
        until(self._deaf, _PATIENCE, "captures")

    def stop(self) -> None:
        """End them; what they captured is complete."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):  # it dies with its node
                process.wait(_PATIENCE)
        self._running.clear()

    def _file(self, link: str) -> Path:
        return self._folder / f"{link}.pcap"

    def _deaf(self) -> str:
        deaf = []
        for link, process in self._running.items():
            if process.poll() is not None:
                said = self._file(link).with_suffix(".log").read_text().strip()
                raise LabError(f"the capture of {link} ended: {said}")
            file = self._file(link)
            if not file.exists() or file.stat().st_size < _FILE_HEADER:
                deaf.append(link)
        return ", ".join(deaf)
