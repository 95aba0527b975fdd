"""`testbed capture`: the packets of a link, as tcpdump shows or writes them, in a lab by hand or in a run's."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from testbed.commands.common import Commands, find_end, find_lab, find_node, json_flag, require_root
from testbed.errors import LabError, Problem, RequestError
from testbed.lab import namespace, registry
from testbed.terminal import say_json, stdout
from testbed.units import parse_duration

_PATIENCE = 10.0  # seconds for tcpdump to write what it has


def add(commands: Commands) -> None:
    capture = commands.add_parser(
        "capture",
        help="the packets of a link in a running lab",
        description="Both directions of a link, seen at one of its ends, until Ctrl-C or as long as is said.",
        epilog="FILTER is tcpdump's: udp port 5000, ip proto 103 (PIM), ip proto 89 (OSPF), ether proto 0xab37 (BIER), "
        "mpls. Wireshark reads a file, and a pipe: testbed capture r1-r2 --write - | wireshark -k -i -",
    )
    capture.add_argument("link", help="for example r1-r2")
    capture.add_argument("--filter", metavar="FILTER", help="only those packets, for example 'ip proto 103'")
    capture.add_argument("--at", metavar="NODE", help="at which end (default: the first)")
    capture.add_argument("--write", metavar="FILE", help="as pcap into a file instead; -: to standard output")
    capture.add_argument("--count", type=int, metavar="N", help="so many packets")
    capture.add_argument("--for", dest="duration", metavar="TIME", help="so long, for example 5s")
    capture.add_argument("--lab", help="which, where several run")
    json_flag(capture)
    capture.set_defaults(run=_capture)


def _capture(options: argparse.Namespace) -> int:
    limit = _checked(options)
    require_root()
    lab = find_lab(options.lab)
    node, interface = find_end(lab, options.link, options.at)
    argv = ["tcpdump", "-n", "-i", interface]
    if options.write:  # as root: the file is where the caller may write, not where the user tcpdump may
        argv += ["-U", "-w", options.write, "-Z", "root"]
    else:
        argv += ["-l", "-e"]
    if options.count is not None:
        argv += ["-c", str(options.count)]
    os.environ[registry.TAG] = f"{lab.lab}:{lab.owner.tag}"
    namespace.join(find_node(lab, node), namespace.CLONE_NEWNET)
    captured = _tcpdump([*argv, options.filter] if options.filter else argv, limit)
    if options.json:
        say_json({"lab": lab.lab, "node": node, "interface": interface, "file": options.write, "packets": captured})
    elif options.write != "-":
        where = f", in {options.write}" if options.write else ""
        stdout.print(f"{captured} packets of {options.link} at {node} ({interface}){where}")
    return 0


def _checked(options: argparse.Namespace) -> float | None:
    """How long it is to last, in seconds. Raises RequestError, with all that is wrong."""
    problems, limit = [], None
    if options.duration is not None:
        try:
            limit = parse_duration(options.duration)
        except ValueError as error:
            problems.append(Problem(f"--for: {error}"))
    if options.count is not None and options.count < 1:
        problems.append(Problem(f"--count {options.count}: nothing would be captured", hint="a number from 1 on"))
    if options.json and options.write in (None, "-"):
        problems.append(Problem("--json and the packets, both on standard output", hint="add --write FILE"))
    if options.write not in (None, "-") and not Path(options.write).absolute().parent.is_dir():
        problems.append(Problem(f"--write {options.write}: there is no such folder"))
    if problems:
        raise RequestError(problems)
    return limit


def _tcpdump(argv: list[str], limit: float | None) -> int:
    """Run it until it ends, Ctrl-C, or `limit` seconds after it began to listen; how many packets it captured. Raises
    RequestError for what it refuses, LabError if it does not end."""
    # In a session of its own, so that Ctrl-C reaches it by us alone; and it does not outlive us.
    command = ["setpriv", "--pdeathsig", "INT", *argv]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stderr=log, start_new_session=True) as process:
        try:
            while process.poll() is None and b"listening on" not in _read(log):
                time.sleep(0.01)
            process.wait(limit)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise LabError("tcpdump did not end") from None
        said = _read(log).decode(errors="replace")
    counted = re.search(r"^(\d+) packets? captured", said, re.MULTILINE)
    # Who read it has enough, or it was interrupted before it began: neither is an error.
    if counted is None and process.returncode not in (-signal.SIGPIPE, -signal.SIGINT):
        words = [line for line in said.splitlines() if not line.startswith(("tcpdump: listening", "tcpdump: verbose"))]
        raise RequestError("; ".join(words) or f"tcpdump ended with status {process.returncode}")
    return int(counted[1]) if counted else 0


def _read(log: IO[bytes]) -> bytes:
    """What is in the file, without moving the place where tcpdump writes on."""
    return os.pread(log.fileno(), 1 << 16, 0)
