"""What agents count of control messages: their own LSAs, and BIER's commands about flows, with their bytes."""

from __future__ import annotations

import json
from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Any

from testbed.control.bier_config import OPAQUE_TYPE
from testbed.control.lsdb import Change
from testbed.control.ospf_api import LsaEvent
from testbed.packet.ospf_lsa import HEADER_SIZE, LsaType

_ABOUT_FLOWS = ("flow", "join", "leave")


def of_lsa(
    event: LsaEvent, router_id: IPv4Address, opaque_types: Collection[int] = (OPAQUE_TYPE,)
) -> dict[str, int]:
    """What became of an LSA, if it is of agents', whole and new: it was flooded from here, or at least once to here."""
    lsa = event.lsa
    if lsa.type != LsaType.OPAQUE_AREA or lsa.opaque_type not in opaque_types or event.change is Change.DELETED:
        return {}
    what = "LSAs originated" if lsa.advertising_router == router_id else "LSAs received"
    return {what: 1, "bytes": HEADER_SIZE + len(lsa.body)}


def of_command(command: dict[str, Any]) -> dict[str, int]:
    """A command about flows, a line of JSON as it came. One for the state is the harness asking, and not counted."""
    what = command.get("op")
    return {f"{what} commands": 1, "bytes": len(json.dumps(command)) + 1} if what in _ABOUT_FLOWS else {}
