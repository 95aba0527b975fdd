"""Control messages as the daemons count them: counters of single interfaces, and what they grew by.

OSPF and BFD are here, because every scheme has them; a scheme reads its own (schemes/base.py). An interface that goes
down begins at 0 again, so that what it had sent since the first reading is lost: after a cut the figures are too low by
that, a few hellos at either end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from testbed.errors import DaemonError
from testbed.lab import vty
from testbed.lab.lab import Lab


class Counted(NamedTuple):
    """What a counter counts. `kind`: of message, "" for a protocol's only one. `sent` is False where it is not messages
    sent: bytes, say, or messages received."""

    protocol: str
    kind: str
    router: str
    interface: str = ""
    sent: bool = True


Reading = Mapping[Counted, int]

# FRR's counters of the packets that an interface sent (the same in 8.4 and 10.3), by daemon, in this order.
_KINDS = (  # RFC 2328 A.3, RFC 5340 A.3
    "hello",
    "database_description",
    "link_state_request",
    "link_state_update",
    "link_state_acknowledgment",
)
_OSPF = ("helloOut", "dbDescOut", "lsReqOut", "lsUpdOut", "lsAckOut")
_OSPFV3 = ("helloTx", "dbDescTx", "lsReqTx", "lsUpdateTx", "lsAckTx")
_DAEMONS = (  # ospf6d only runs where routers have locators
    ("ospf", "ospfd.vty", "show ip ospf interface traffic json", _OSPF),
    ("ospfv3", "ospf6d.vty", "show ipv6 ospf6 interface traffic json", _OSPFV3),
)


def read_igp(lab: Lab) -> dict[Counted, int]:
    """OSPF's, OSPFv3's and BFD's counters at every router; a daemon that does not answer is left out."""
    found = {}
    for node in lab.routers:
        folder = node.folder / "run/frr"
        for protocol, socket, command, keys in _DAEMONS:
            for name, interface in _ask(folder / socket, command, dict).items():
                if isinstance(interface, dict):
                    for key, kind in zip(keys, _KINDS, strict=True):
                        found[Counted(protocol, kind, node.name, name)] = int(interface.get(key, 0))
        if (folder / "bfdd.vty").exists():  # a timer profile may do without
            for peer in _ask(folder / "bfdd.vty", "show bfd peers counters json", list):
                found[Counted("bfd", "", node.name, str(peer.get("peer")))] = int(peer.get("control-packet-output", 0))
    return found


def messages_between(before: Reading, after: Reading) -> dict[str, dict[str, int]]:
    """By protocol what was counted of each kind, all routers together, and `messages`, all that were sent. A counter
    that went back had been reset."""
    total: dict[str, Counter[str]] = {}
    for what, now in after.items():
        then = before.get(what, 0)
        grown = now - then if now >= then else now
        counts = total.setdefault(what.protocol, Counter(messages=0))
        counts["messages"] += grown if what.sent else 0
        if what.kind:
            counts[what.kind] += grown
    return {protocol: dict(counts) for protocol, counts in total.items()}


def _ask(socket: Path, command: str, kind: type) -> Any:
    try:
        answer = vty.ask_json(socket, command)
    except DaemonError:
        return kind()
    return answer if isinstance(answer, kind) else kind()
