"""Control messages that get lost, and data that does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from typing import Annotated, Literal, get_args

from pydantic import Field

from testbed.errors import LabError, MachineError
from testbed.lab.lab import Lab
from testbed.lab.node import Node
from testbed.run.faults.base import Action, Strike
from testbed.spec.types import Ratio, Spec

Messages = Literal[
    "pim", "pim-hello", "pim-join", "ospf", "ospf-hello", "ospf-update", "ospf-ack", "bfd", "igmp", "programming"
]
# nft expressions for a packet that arrives. PIM's type is the low half of its first octet (RFC 7761 4.9), OSPF's is the
# second octet (RFC 2328 A.3.1), as is OSPFv3's (RFC 5340 A.3.1).
_MATCHES: dict[str, tuple[str, ...]] = {
    "pim": ("meta l4proto 103",),
    "pim-hello": ("meta l4proto 103 @th,4,4 0",),
    "pim-join": ("meta l4proto 103 @th,4,4 3",),  # Join/Prune
    "ospf": ("meta l4proto 89",),
    "ospf-hello": ("meta l4proto 89 @th,8,8 1",),
    "ospf-update": ("meta l4proto 89 @th,8,8 4",),
    "ospf-ack": ("meta l4proto 89 @th,8,8 5",),
    "bfd": ("udp dport { 3784, 3785, 4784 }",),
    "igmp": ("meta l4proto 2",),
    "programming": ("tcp dport 7700-7702", "tcp sport 7700-7702"),
}
assert set(_MATCHES) == set(get_args(Messages))
_SCALE = 1_000_000


class Losses(Spec):
    """Which messages are dropped, each with this probability."""

    messages: Messages
    probability: Annotated[Ratio, Field(gt=0)] = 1.0


class Drop(Action[Losses]):
    """Messages that arrive at the nodes are lost before anybody reads them; on a link, those that arrive from it at
    either end. What is forwarded, the model's packets among it, is not touched."""

    name = "drop"
    takes = frozenset({"link", "node"})
    parameters = Losses

    def require(self) -> None:
        if shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise MachineError("there is no nft on this machine, which drops control messages", "apt install nftables")

    def parts(self, parameters: Losses, daemon: str) -> Collection[str]:
        return [parameters.messages]

    def inject(self, lab: Lab, strike: Strike[Losses]) -> None:
        asked = strike.parameters
        chance = "" if asked.probability >= 1 else f" numgen random mod {_SCALE} < {round(asked.probability * _SCALE)}"
        for node, interfaces in self._places(lab, strike):
            where = f"iifname {{ {', '.join(interfaces)} }} " if interfaces else ""
            rules = [f"{where}{match}{chance} counter drop" for match in _MATCHES[asked.messages]]
            hook = "type filter hook input priority 0; policy accept;"
            lines = (f"table inet {_table(strike)} {{", "chain input {", hook, *rules, "}", "}")
            _nft(node, "\n".join(lines))

    def undo(self, lab: Lab, strike: Strike[Losses]) -> None:
        for node, _ in self._places(lab, strike):
            # Declared first, so that it is there to be deleted also where inject did not come so far.
            _nft(node, f"table inet {_table(strike)}\ndelete table inet {_table(strike)}")

    def _places(self, lab: Lab, strike: Strike[Losses]) -> list[tuple[Node, list[str]]]:
        places: dict[str, list[str]] = {node: [] for node in strike.nodes}
        for link in strike.links:
            for end in (lab.plan.links[link].a, lab.plan.links[link].b):
                places.setdefault(end.node, []).append(end.name)
        return [(lab[node], interfaces) for node, interfaces in places.items()]


def _table(strike: Strike[Losses]) -> str:
    return f"testbed_fault_{strike.id}"


def _nft(node: Node, script: str) -> None:
    done = node.run(["nft", script])
    if done.returncode:
        raise LabError(f"nft on {node.name} ended with {done.returncode}: {done.stderr.strip()[:500]}")
