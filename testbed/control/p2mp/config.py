"""What the SR-P2MP controller is told when it starts: one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.control.p2mp.instances import ORDERS
from testbed.control.replication_config import COMMANDS as AGENT_PORT
from testbed.packet.ospf_api import PORT as OSPF_PORT

COMMANDS = 7702  # TCP port of the controller's commands


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """`name`: how it calls itself to agents. `ospf`: address of the router whose LSDB it reads. `events`: the file to
    report events to. `listen`: where commands are heard; "": at every address of its node.

    `drain`: seconds that an old instance stays after the root has left it. `grace`: seconds for which a router whose
    agent is away is waited for. `order`: "bottom-up" or "parallel". `hold`: seconds for which a router takes part in
    segment routing whose agent's advertisement went.
    """

    name: str
    ospf: str
    events: str
    listen: str = ""
    port: int = COMMANDS
    ospf_port: int = OSPF_PORT
    agent_port: int = AGENT_PORT
    drain: float = 1.0
    grace: float = 1.0
    order: str = ORDERS[0]
    hold: float = 60.0

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> ControllerConfig:
        values: dict[str, Any] = json.loads(path.read_text())
        return cls(**values)
