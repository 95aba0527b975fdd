"""Who runs first where the routers of a lab share a few cores (docs/architecture.md, "Decisions worth knowing")."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def take_precedence(pid: int, nice: int) -> None:
    """Set a process's nice value, and that of its session's group where the kernel groups tasks by session (autogroup):
    there a nice value counts only against the tasks of one's own session, so give it one. A refusal only costs
    precision.

    `pid` 0: the calling thread.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid or 'self'}/autogroup").write_text(str(nice))
