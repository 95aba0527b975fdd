"""HTTP over TCP as a transport, as models are fetched today: nginx at the source, one curl at every destination.

- The rate. UFTP sends at a fixed rate; TCP would fill the source's link, its queue too, and share it by chance. So that
  a source puts the same total on its link whatever the transport, each destination's connection is paced at its share,
  rate / destinations, by the kernel (SO_MAX_PACING_RATE on the listening socket, which every connection inherits; nginx
  itself can only dole out a second's worth at a time). Congestion control works below that, and is CUBIC (RFC 9438)
  whatever the host's default. A share that a destination cannot use, because its path is cut, goes to nobody: what one
  site suffers does not change what another one gets.
- The segments. The MSS is set likewise, to the delivery's block and TCP's timestamps (RFC 7323): a packet carries as
  many bytes of the model as one of UFTP's, and the headers are as long.
- Outages. TCP retransmits with its timer doubling (RFC 6298 5.5), and finds a repaired path up to as long after the
  repair as the outage lasted. curl gives a connection up that brings nothing for a twelfth of the delivery's patience
  (and 5 s, for its speed is the mean of the last five seconds), and is started again for what is missing, once a second
  for as long as the patience lasts. Its own --retry is of no use: it throws away what it has got (7.88).
- A file is resumed where it ends, by its size: the memory of verified parts has been given back by then, and need not
  be there. Files that are complete are not asked for again, which nginx would answer with an error (416).
- nginx is one process (`master_process off`). A master and its workers write their titles over their environment, and
  with it the tag by which a lab's processes are found; and a killed master leaves its workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from testbed.errors import Problem, RequestError
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Folders, Process
from testbed.transfer.sockets import tune_listeners

_ETHERNET = 14
_TIMESTAMPS = 12  # the option and its padding, in every segment
_LEAST_BLOCK, _MOST_BLOCK = 88, 32_767 - _TIMESTAMPS  # what Linux takes for an MSS
_LEAST_SHARE = 8_000  # bit/s; far below any link's
# curl(1), EXIT CODES: no connection, a part of a file, too slow, no answer, failed to send, failed to receive.
_PASSING = frozenset({7, 18, 28, 52, 55, 56})

# What curl writes of each file. Not %{json}: for the versions in it the LDAP library asks DNS for the host's own name,
# which takes 5 s where nobody answers.
_RECORD = r"%{exitcode}\t%{url_effective}\t%{http_code}\t%{size_download}\t%{speed_download}\t%{errormsg}\n"

_NGINX = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log access.log;
  client_body_temp_path temp;
  proxy_temp_path temp;
  fastcgi_temp_path temp;
  uwsgi_temp_path temp;
  scgi_temp_path temp;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  send_timeout {patience}s;
  reset_timedout_connection on;
  server {{
    listen {address}:{port};
    root {root};
  }}
}}
"""


class Http:
    """See the module and `testbed.transfer.base.Transport`."""

    name = "http"
    programs = ("nginx", "curl")
    multicast = False
    port = 8080
    overhead = 40 + _TIMESTAMPS  # IPv4 20, TCP 20

    def check(self, delivery: Delivery) -> None:
        problems = []
        if not _LEAST_BLOCK <= delivery.block <= _MOST_BLOCK:
            hint = f"TCP takes {_LEAST_BLOCK} to {_MOST_BLOCK}"
            problems.append(Problem(f"a block of {delivery.block} bytes", hint=hint))
        if delivery.block + self.overhead > delivery.mtu:
            fit = f"use at most {delivery.mtu - self.overhead}"
            what = f"a block of {delivery.block} bytes and {self.overhead} of headers in an MTU of {delivery.mtu}"
            problems.append(Problem(what, hint=fit))
        if delivery.group is not None:
            problems.append(Problem(f"http does not go to a group, and there is one: {delivery.group}"))
        if not delivery.destinations:
            problems.append(Problem("there is no destination"))
        elif delivery.rate < _LEAST_SHARE * len(delivery.destinations):
            what = f"a rate of {delivery.rate} bit/s for {len(delivery.destinations)} destinations"
            problems.append(Problem(what, hint=f"the least is {_LEAST_SHARE} bit/s for each"))
        if problems:
            raise RequestError(problems)

    def silence(self, delivery: Delivery) -> float:
        return 0.0

    def listeners(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        work = folders(delivery.source_host).work
        config = work / "nginx.conf"
        text = _NGINX.format(
            address=delivery.source,
            port=delivery.port,
            root=_quoted(delivery.model),
            patience=math.ceil(delivery.patience),
        )
        command = Command(("nginx", "-e", "stderr", "-p", f"{work}/", "-c", str(config)), {config: text})
        return (Process("server", delivery.source_host, tuple(d.host for d in delivery.destinations), command),)

    def ready(self, delivery: Delivery, pid: int) -> bool:
        share, segment = pacing(delivery), delivery.block + _TIMESTAMPS
        try:
            return tune_listeners(pid, pacing=share, segment=segment, congestion="cubic") > 0
        except ProcessLookupError:  # it has just ended, which is seen by itself
            return False

    def movers(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        return tuple(
            Process("client", d.host, (d.host,), self._client(delivery, d, folders(d.host), 0))
            for d in delivery.destinations
        )

    def resume(
        self, delivery: Delivery, folders: Folders, mover: Process, attempt: int, status: int
    ) -> Process | None:
        if status not in _PASSING:
            return None
        (destination,) = (d for d in delivery.destinations if d.host == mover.host)
        return replace(mover, command=self._client(delivery, destination, folders(mover.host), attempt))

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        return (str(folder.data / file),)

    def marker(self, folder: Folder) -> Path:
        return folder.work / "record"

    def fates(self, delivery: Delivery, folders: Folders) -> dict[str, Fate]:
        records = {d.host: read_record(self.marker(folders(d.host))) for d in delivery.destinations}
        return {host: _fate(delivery, results) for host, results in records.items() if results}

    def _client(self, delivery: Delivery, destination: Destination, folder: Folder, attempt: int) -> Command:
        wanted, got = folder.work / f"files-{attempt}", read_record(self.marker(folder))
        urls = [
            f"url = {_quoted(f'http://{delivery.source}:{delivery.port}/{quote(file.name)}')}\n"
            f"output = {_quoted(folder.data / file.name)}\n"
            for file in delivery.manifest.files
            if file.name not in got or got[file.name].status != 0
        ]
        bears = str(math.ceil(delivery.patience / 12))
        argv = (
            # curl writes its records to standard output only; they are told from its complaints by a file of their own
            "sh", "-c", 'exec curl "$@" >>"$0"', str(self.marker(folder)),
            "--disable", "--noproxy", "*", "--globoff", "--silent", "--show-error", "--no-buffer", "--http1.1",
            "--interface", str(destination.address), "--fail", "--fail-early", "--continue-at", "-",
            "--connect-timeout", bears, "--speed-limit", "1", "--speed-time", bears,
            "--write-out", _RECORD, "--config", str(wanted),
        )  # fmt: skip
        return Command(argv, {wanted: "".join(urls)}, folders=(folder.data,))


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file, as curl says: its exit status, and its message unless that is 0."""

    status: int
    message: str


def pacing(delivery: Delivery) -> int:
    """A connection's payload bytes a second: its share of the delivery's rate, less the headers of full segments."""
    frame = delivery.block + Http.overhead + _ETHERNET
    return int(delivery.rate / delivery.copies / 8 * delivery.block / frame)


def read_record(path: Path) -> dict[str, Result]:
    """By file name, the last that curl wrote of it; {} without a record. A line cut short counts for nothing."""
    try:
        lines = path.read_text(errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        match line.split("\t"):
            case [status, url, _, _, _, message] if status.isdecimal():
                found[unquote(url.rpartition("/")[2])] = Result(int(status), message)
            case _:
                pass
    return found


def _fate(delivery: Delivery, results: Mapping[str, Result]) -> Fate:
    for file in delivery.manifest.files:
        result = results.get(file.name)
        if result is None:
            return Fate(False, f"{file.name} was not fetched")
        if result.status != 0:
            return Fate(False, f"curl ended with status {result.status} at {file.name}: {result.message}")
    return Fate(True)


def _quoted(text: object) -> str:
    """As nginx and curl read strings in their configurations."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
