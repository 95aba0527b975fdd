"""A process that dies."""

from __future__ import annotations

from collections.abc import Collection

from testbed.lab.lab import Lab
from testbed.plan.frr import FRR_DAEMONS
from testbed.run.faults.base import Action, NoParameters, Strike


class Kill(Action[NoParameters]):
    """SIGKILL, at `duration`'s end started anew with the configuration it had. With zebra come all other daemons of FRR
    of that router, as FRR's own watchfrr would have it."""

    name = "kill"
    takes = frozenset({"daemon"})
    parameters = NoParameters

    def parts(self, parameters: NoParameters, daemon: str) -> Collection[str]:
        return FRR_DAEMONS if daemon == "zebra" else [daemon]

    def inject(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for node in strike.nodes:
            lab.kill_daemon(node, strike.daemon)

    def undo(self, lab: Lab, strike: Strike[NoParameters]) -> None:
        for node in strike.nodes:
            if strike.daemon == "zebra":
                lab.restart_frr(node)
            else:
                lab.start_daemon(node, strike.daemon)
