"""FRR's vty sockets, spoken directly: the state of a daemon as JSON without a process for each question.

The sockets lie in the node's folder, so they are reached from outside its namespaces. A command ends with a NUL; the
answer ends with three NULs and a status byte (FRR lib/vty.c, the protocol of vtysh).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.errors import DaemonError


class VtyError(DaemonError):
    """A daemon did not answer, or refused the command."""


def ask(path: Path, command: str, timeout: float = 10.0) -> str:
    """Run one command in the daemon behind the vty socket `path`. Raises VtyError."""
    return converse(path, (command,), timeout)[-1]


def converse(path: Path, commands: Sequence[str], timeout: float = 10.0) -> list[str]:
    """Run commands one after another on one vty: `configure terminal` and what follows it. Raises VtyError."""
    answers = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as vty:
            vty.settimeout(timeout)
            vty.connect(str(path))
            for line in ("enable", *commands):
                vty.sendall(line.encode() + b"\0")
                answer = b""
                while not (len(answer) >= 4 and answer[-4:-1] == b"\0\0\0"):
                    chunk = vty.recv(65536)
                    if not chunk:
                        raise VtyError(f"{path.stem} closed its vty during {line!r}")
                    answer += chunk
                status, text = answer[-1], answer[:-4].decode(errors="replace")
                if status:
                    raise VtyError(f"{path.stem} refused {line!r} (status {status}): {text.strip()}")
                answers.append(text)
    except OSError as error:
        raise VtyError(f"{path.stem} does not answer on {path}: {error}") from error
    return answers


def ask_json(path: Path, command: str) -> Any:
    """The same for a command that answers with JSON; an empty answer is {}."""
    text = ask(path, command)
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise VtyError(f"{path.stem} answered {command!r} with something that is not JSON: {text[:200]!r}") from error


def listens(path: Path) -> bool:
    """Whether a daemon accepts connections there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as vty:
            vty.connect(str(path))
            return True
    except OSError:
        return False
