"""JSON lines over TCP: whoever says what, the server answers, in order, and serves the next one."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.control.commands import Answer, CommandServer, Peer, ask

DEADLINE_S = 30.0 * float(os.environ.get("TESTBED_DEADLINE_SCALE", "1"))


class Served:
    """A server that says what it was told, on a thread of its own."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.server = CommandServer(self._selector, ("127.0.0.1", 0), self._answer)
        self.address = self.server.address
        self._wake, self._over = socket.socketpair()
        self._selector.register(self._over, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _answer(self, command: Answer, peer: Peer) -> Answer:
        if command["op"] == "bad":
            raise ValueError("that is bad")
        peer.term = command.get("term", peer.term)
        return {"ok": True, "term": peer.term, "read": peer.read_at > 0, "remote": peer.remote}

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data()

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def say(self, *octets: bytes, answers: int = 1, source: str = "127.0.0.1") -> list[Any]:
        """The answers to what is said on one connection; fewer if it hangs up before."""
        with socket.create_connection(self.address, DEADLINE_S, source_address=(source, 0)) as connection:
            for each in octets:
                connection.sendall(each)
            with connection.makefile("rb") as lines:
                return [json.loads(line) for _, line in zip(range(answers), lines, strict=False)]


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def test_answers_come_in_order_with_their_numbers(served: Served) -> None:
    lines = b"".join(json.dumps({"op": "x", "seq": n}).encode() + b"\n" for n in range(100))
    assert [answer["seq"] for answer in served.say(lines[:500], lines[500:], answers=100)] == list(range(100))


def test_a_peer_is_remembered_on_its_connection_only(served: Served) -> None:
    first = served.say(b'{"op": "x", "term": 3}\n{"op": "x"}\n', answers=2)
    assert [answer["term"] for answer in first] == [3, 3]
    assert served.say(b'{"op": "x"}\n') == [{"ok": True, "term": None, "read": True, "remote": False}]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"7", "a command is a JSON object"),
        (b"[]", "a command is a JSON object"),
        (b"\xff\xfe\x00", "codec"),
        (b'"' + b"9" * 5000 + b'"', "a command is a JSON object"),
        (b"9" * 5000, "digit"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "'op' is missing"),
        (b'{"op": "bad"}', "that is bad"),
    ],
)
def test_nonsense_is_answered_and_the_next_one_served(served: Served, line: bytes, error: str) -> None:
    first, second = served.say(line + b'\n{"op": "x"}\n', answers=2)
    assert error in first["error"]
    assert second["ok"]


def test_an_error_has_its_number(served: Served) -> None:
    (answer,) = served.say(b'{"op": "bad", "seq": 7}\n')
    assert answer == {"seq": 7, "error": "that is bad"}
    (answer,) = served.say(b'{"op": "bad", "seq": [7]}\n')
    assert answer == {"error": "that is bad"}


def test_a_line_without_end_is_refused_and_the_connection_ended(served: Served) -> None:
    answers = served.say(b" " * (1 << 20), b" ", answers=2)
    assert answers == [{"error": "a line has at most 1048576 octets"}]
    assert ask(served.address, {"op": "x"}, DEADLINE_S)["ok"]


def test_what_comes_through_the_network_is_counted(served: Served) -> None:
    served.say(b'{"op": "x"}\n')
    (answer,) = served.say(b'{"op": "x"}\n', source="127.0.0.2")
    assert answer["remote"]
    octets = len(json.dumps(answer)) + 1
    traffic = served.server.traffic
    assert (traffic.received, traffic.received_bytes, traffic.sent, traffic.sent_bytes) == (1, 12, 1, octets)


def test_asking(served: Served) -> None:
    with pytest.raises(ValueError, match="that is bad"):
        ask(served.address, {"op": "bad"}, DEADLINE_S)
