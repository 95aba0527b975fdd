"""What a run leaves in its folder of the bundle beside its numbers: configurations, logs, the tree as FRR saw it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import DaemonError
from testbed.lab import vty
from testbed.lab.lab import Lab
from testbed.spec.dump import dump_timeline
from testbed.spec.faults import Fault


def keep_configs(lab: Lab, folder: Path) -> None:
    """Every router's /etc/frr under `frr/<router>/`."""
    for node in lab.routers:
        target = folder / "frr" / node.name
        target.mkdir(parents=True, exist_ok=True)
        for name, text in lab.configs[node.name].files.items():
            (target / name).write_text(text)


def keep_logs(lab: Lab, folder: Path) -> None:
    """Every node's /var/log under `log/<node>/`; empty files are left out."""
    for node in lab.nodes.values():
        for source in sorted((node.folder / "log").glob("*")):
            if source.is_file() and source.stat().st_size:
                target = folder / "log" / node.name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target / source.name)


def keep_timeline(faults: Sequence[Fault], folder: Path) -> None:
    """The faults as they came to pass, their targets by names alone, in `timeline.yaml`: `testbed run --timeline` does
    the same again."""
    (folder / "timeline.yaml").write_text(dump_timeline(faults))


def keep_trees(lab: Lab, folder: Path) -> None:
    """`show ip mroute json` of every router under `tree/<router>.json`."""
    target = folder / "tree"
    target.mkdir(parents=True, exist_ok=True)
    for node in lab.routers:
        socket = node.folder / "run/frr/pimd.vty"
        if socket.exists():
            try:
                text = vty.ask(socket, "show ip mroute json")
            except DaemonError as error:
                text = f'{{"error": "{type(error).__name__}"}}'
            (target / f"{node.name}.json").write_text(text)
