"""What a daemon's dry run (`-C -f FILE`) says, read.

FRR's exit status says nothing: with `-C` every daemon ends with 0 whatever its file holds, and a missing file is
no error either. What is wrong stands on standard error: in the log, or printed by the command that refused.
mgmtd has no dry run at all. A dry run executes the file: zebra's sets the forwarding sysctl of its namespace.
"""

from __future__ import annotations

import re

from testbed.errors import Problem

# FRR 8.4 calls every failure "No such command"; 10.x also says "Command returned Warning Config Failed".
_BAD_LINE = re.compile(
    r"(?P<what>No such command|Command returned [\w ]+?) on config line (?P<line>\d+): ?(?P<text>.*)"
)
_NO_FILE = re.compile(r"can't open configuration file \[[^]]*\]")
_LOG = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d[.\d]* \w+: ")
# Printed without a newline by 10.x before the log's line on the same failure.
_NOISE = "exit from config node while reading config file"
# In a dry run there is no zebra that could know a way to the RP. FRR 8.4 calls that a failed command (and adds
# the RP nevertheless, as at a real start), 10.x only prints it.
_NO_PATH_TO_RP = "No Path to RP address specified"
# ospf6d on every router's loopback but the first, where the files of several are read in one go: no failure.
_REPEATED = re.compile(r"lo already attached to Area \S+")
_STATIC_RP = re.compile(r"\s*(ip pim )?rp \S+ \S+/\d+\s*")


def dry_run_problems(file: str, stderr: str) -> tuple[Problem, ...]:
    """Everything in a configuration that a daemon did not take, from what its dry run wrote to standard error.

    Empty: the file is good. `file` is how the configuration is called in the problems; `line` is None where a
    command was refused without the daemon saying which.
    """
    if _NO_FILE.search(stderr):
        hint = "is it there, and may user frr read it?"
        return (Problem("the daemon could not open its configuration", file=file, hint=hint),)
    no_path = _NO_PATH_TO_RP in stderr
    said = _said(stderr)
    refused = [m for m in _BAD_LINE.finditer(stderr) if not (no_path and _STATIC_RP.fullmatch(m["text"]))]
    if not refused:
        return tuple(Problem(line, file=file) for line in said)
    why = "; ".join(said)
    return tuple(
        Problem(f"{match['what']}: {match['text'].strip()}", file=file, line=int(match["line"]), hint=why)
        for match in refused
    )


def _said(stderr: str) -> list[str]:
    """What commands printed themselves, outside the log: each message once."""
    lines = (line.replace(_NOISE, "").strip() for line in stderr.splitlines())
    quiet = (line for line in lines if line and not _LOG.match(line) and not _REPEATED.fullmatch(line))
    kept = (line for line in quiet if not line.startswith(_NO_PATH_TO_RP))
    return list(dict.fromkeys(kept))
