"""Faults by hand: the keeper of a lab does what other processes ask for on a socket in the lab's folder.

One JSON object a line, answered by one: `{"op": "list"}`, `{"op": "inject", "fault": {...}}`,
`{"op": "undo", "id": 3}`. An answer with `error` is a refusal; `status` is then the exit status that it means.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

from testbed.errors import Problem, RequestError, TestbedError
from testbed.lab.lab import Lab
from testbed.lab.registry import STATE_ROOT
from testbed.plan.fault_plan import concrete
from testbed.run.faults import ACTIONS
from testbed.run.faults.board import Board
from testbed.run.faults.resolve import NoTarget, Scene
from testbed.schemes import Scheme
from testbed.spec.check_faults import one_fault
from testbed.spec.faults import Fault

TIMEOUT = 120.0  # seconds: a router that comes back waits for all its daemons


def socket_path(lab: str) -> Path:
    """Where a lab's keeper listens."""
    return STATE_ROOT / lab / "faults.sock"


class FaultCommands:
    """Serves the commands, each connection in a thread."""

    def __init__(self, lab: Lab, scheme: Scheme) -> None:
        self._lab = lab
        self._log = lab.registry.folder / "faults.jsonl"
        self._lock = threading.Lock()
        self._board = Board(Scene(lab, scheme), self._record)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path(lab.id)))
        self._listener.listen()

    def start(self) -> None:
        threading.Thread(target=self._serve, name="fault-commands", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                stream.write(json.dumps(self._answer(line)).encode() + b"\n")
                stream.flush()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line)
            match command["op"]:
                case "list":
                    now = time.monotonic()
                    return {"faults": [each | {"age_s": now - each.pop("since")} for each in self._board.in_effect()]}
                case "inject":
                    return self._inject(Fault.model_validate(command["fault"]))
                case "undo":
                    return {"undone": self._board.undo(int(command["id"]))}
            raise RequestError(f"there is no command {command['op']!r}")
        except NoTarget as error:
            return {"error": str(error), "status": RequestError.exit_status}
        except TestbedError as error:
            return {"error": str(error), "status": error.exit_status}
        except Exception as error:  # whatever it is, who asked is told, and the keeper lives on
            return {"error": repr(error), "status": TestbedError.exit_status}

    def _inject(self, asked: Fault) -> dict[str, Any]:
        """One fault, or one for each router of a daemon's; the first that is refused ends it."""
        plan = self._lab.plan
        if found := one_fault(asked, plan.topology, ACTIONS):
            raise RequestError([Problem(each.what, hint=each.hint) for each in found])
        ACTIONS[asked.action].require()
        injected = []
        for fault in concrete(asked, plan, random.Random()):
            resolved, found_by = self._board.find(fault)
            number = self._board.admit(asked, resolved, found_by)
            rest = self._board.begin(number)
            threading.Thread(target=self._go_on, args=(number, rest), daemon=True).start()
            injected.append(number)
        active = {each["id"]: each for each in self._board.in_effect()}
        return {"injected": [active.get(number, {"id": number}) for number in injected]}

    def _go_on(self, number: int, rest: Any) -> None:
        try:
            self._board.go_on(number, rest)
        except TestbedError as error:
            self._record(time.monotonic(), "fault-error", {"id": number, "why": str(error)})

    def _record(self, t: float, kind: str, what: dict[str, Any]) -> None:
        with self._lock, self._log.open("a") as log:
            log.write(json.dumps({"t": t, "kind": kind, "detail": what}) + "\n")


def ask(lab: str, command: dict[str, Any]) -> dict[str, Any]:
    """One command to a lab's keeper. Raises RequestError, TestbedError with what it says; OSError without a keeper."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(socket_path(lab)))
        connection.sendall(json.dumps(command).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise ConnectionError("it hung up")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise (RequestError if answer["status"] == RequestError.exit_status else TestbedError)(answer["error"])
    return answer
