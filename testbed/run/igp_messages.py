"""What the IGP says to itself, whatever the scheme: OSPF packets by type and BFD packets, as the daemons count them.

Bytes nobody counts. An interface that goes down begins at 0 again, so that what it had sent since the first reading is
lost: after a cut the figures are too low by that, a few hellos at either end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.errors import DaemonError
from testbed.lab import vty
from testbed.lab.lab import Lab

# FRR's counters of the packets that an interface sent (the same in 8.4 and 10.3) -> RFC 2328 A.3's names.
_OSPF = {
    "helloOut": "hello",
    "dbDescOut": "database_description",
    "lsReqOut": "link_state_request",
    "lsUpdOut": "link_state_update",
    "lsAckOut": "link_state_acknowledgment",
}

Reading = Mapping[tuple[str, str, str, str], int]  # protocol, kind of message ("": of its only one), router, interface


def read_messages(lab: Lab) -> Reading:
    """Every counter of every router; a daemon that does not answer is left out."""
    found = {}
    for node in lab.routers:
        folder = node.folder / "run/frr"
        for name, interface in _ask(folder / "ospfd.vty", "show ip ospf interface traffic json", dict).items():
            if isinstance(interface, dict):
                for key, kind in _OSPF.items():
                    found["ospf", kind, node.name, name] = int(interface.get(key, 0))
        if (folder / "bfdd.vty").exists():  # a timer profile may do without
            for peer in _ask(folder / "bfdd.vty", "show bfd peers counters json", list):
                found["bfd", "", node.name, str(peer.get("peer"))] = int(peer.get("control-packet-output", 0))
    return found


def messages_between(before: Reading, after: Reading) -> dict[str, dict[str, int]]:
    """Messages by protocol and kind, all routers together; a counter that went back had been reset."""
    total: dict[str, Counter[str]] = {}
    for key, now in after.items():
        protocol, kind, *_ = key
        then = before.get(key, 0)
        grown = now - then if now >= then else now
        total.setdefault(protocol, Counter()).update({"messages": grown} | ({kind: grown} if kind else {}))
    return {protocol: dict(counts) for protocol, counts in total.items()}


def _ask(socket: Path, command: str, kind: type) -> Any:
    try:
        answer = vty.ask_json(socket, command)
    except DaemonError:
        return kind()
    return answer if isinstance(answer, kind) else kind()
