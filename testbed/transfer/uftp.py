"""UFTP 4.10 as a transport: fixed rate, repair by unicast NAKs after each pass, a closed list of receivers.

What its options mean is not always what they seem; found by measurement:
- `-R` counts IP bytes (block + 52) in units of 1024 bit/s, so a link-layer rate has to be converted.
- robust (`-s`) x GRTT (`-r`) is how long a receiver bears silence; the sender waits three times as long for a mute
  receiver at the end of a file, once as long at the start. A larger GRTT is not free: one passes before the first
  file, and about four before the first repair of a site that lost something. So a session bears a twelfth of the
  delivery's patience (5 s of 60, with a GRTT of 0.1 s); a longer outage is mended by a restart (`-f`, `-F`), which
  fetches only what is missing and is tried for as long as the patience lasts.
- The files of a session are sent one after the other, and each waits until every receiver has, or has been dropped
  from, the one before. With four shards, an outage of 4 s at one site made all sites 5 s late; with one shard, that
  site only. So a model that is to show each site's own time is one shard. The small files are sent first, where
  waiting costs nothing.
- A receiver whose cache (`-c`) holds fewer blocks than a short gap never closes it: up to 4 missing blocks pass for
  disorder, the block behind them finds no room, and every later one, each as far ahead, is thrown away until the
  next pass (or uftpd aborts). At 19 Mb/s and a cache of 10 ms an outage of 20 ms so cost six sites the rest of the
  file. With 7 blocks and more it was not seen again, after gaps of 2, 3 and 4.
- Exit status 0 means that one receiver got one file. Only the RESULT lines of the status file count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from testbed.errors import Problem, RequestError
from testbed.transfer.base import Command, Delivery, Destination, Fate, Folder, Folders, Process
from testbed.transfer.sockets import force_receive_buffer, is_member

_ETHERNET = 14
_ROBUST = 50  # the most uftp accepts
_MAX_GRTT = 1.0
_LEAST_CACHE = 10240  # the least uftpd accepts
_CACHED_BLOCKS = 8
_STATUS = "status"
_GOOD = frozenset({"copy", "overwrite", "skipped"})
_BAD = {
    "lost": "dropped by the sender: no answer (lost)",
    "mute": "never registered with the sender (mute)",
    "aborted": "the receiver or the sender aborted",
    "rejected": "the receiver rejected the file",
}


class Uftp:
    """See the module and `testbed.transfer.base.Transport`."""

    name = "uftp"
    programs = ("uftp", "uftpd")
    multicast = True
    port = 1044
    overhead = 52  # IPv4 20, UDP 8, UFTP 24
    max_block = 8800

    def check(self, delivery: Delivery) -> None:
        problems = []
        if not 512 <= delivery.block <= self.max_block:
            problems.append(Problem(f"a block of {delivery.block} bytes", hint=f"uftp takes 512 to {self.max_block}"))
        if delivery.block + self.overhead > delivery.mtu:
            fit = f"use at most {delivery.mtu - self.overhead}"
            what = f"a block of {delivery.block} bytes and {self.overhead} of headers in an MTU of {delivery.mtu}"
            problems.append(Problem(what, hint=fit))
        if delivery.group is None:
            problems.append(Problem("uftp sends to a group, and there is none"))
        elif not delivery.group.is_multicast:
            problems.append(Problem(f"{delivery.group} is not a multicast group"))
        elif delivery.ssm and int(delivery.group) >> 24 != 232:
            problems.append(Problem(f"{delivery.group} is not an SSM group", hint="SSM groups are in 232.0.0.0/8"))
        if _kbit(delivery) < 1:
            problems.append(Problem(f"a rate of {delivery.rate} bit/s", hint="the least is about 2 kbit/s"))
        if not delivery.destinations:
            problems.append(Problem("there is no destination"))
        if problems:
            raise RequestError(problems)

    def silence(self, delivery: Delivery) -> float:
        return 3 * _ROBUST * _most_grtt(delivery)

    def listeners(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        return tuple(
            Process("receiver", d.host, (d.host,), self._receiver(delivery, d, folders(d.host)))
            for d in delivery.destinations
        )

    def ready(self, delivery: Delivery, pid: int) -> bool:
        assert delivery.group is not None
        if not is_member(pid, delivery.group, delivery.source if delivery.ssm else None):
            return False
        return force_receive_buffer(pid, _receive_buffer(delivery.rate)) > 0

    def movers(self, delivery: Delivery, folders: Folders) -> tuple[Process, ...]:
        folder = folders(delivery.source_host)
        hosts, files = folder.work / "hosts", folder.work / "files"
        order = sorted(delivery.manifest.files, key=lambda file: (file.size > delivery.manifest.block, file.name))
        command = Command(
            (*self._send(delivery, folder, 0), "-H", f"@{hosts}", "-i", str(files)),
            {
                hosts: "".join(f"{_uid(d.address)}\n" for d in delivery.destinations),
                files: "".join(f"{delivery.model / file.name}\n" for file in order),
            },
        )
        return (Process("sender", delivery.source_host, tuple(d.host for d in delivery.destinations), command),)

    def resume(
        self, delivery: Delivery, folders: Folders, mover: Process, attempt: int, status: int
    ) -> Process | None:
        folder = folders(delivery.source_host)
        left = sorted(folder.work.glob("_group_*_restart"), key=lambda path: path.stat().st_mtime)
        if not left:
            return None
        return replace(mover, command=Command((*self._send(delivery, folder, attempt), "-F", left[-1].name)))

    def _receiver(self, delivery: Delivery, destination: Destination, folder: Folder) -> Command:
        done, part = folder.data / "done", folder.data / "part"
        argv = [
            "uftpd", "-d", "-q", "-x", "1",
            "-p", str(delivery.port), "-M", str(delivery.group),
            "-I", str(destination.address), "-U", _uid(destination.address),
            "-D", str(done), "-T", str(part),
            "-F", str(self.marker(folder)), "-c", str(_cache(delivery.rate, delivery.block)),
        ]  # fmt: skip
        files = {self.marker(folder): ""}
        if delivery.ssm:
            servers = folder.work / "servers"
            files[servers] = f"{_uid(delivery.source)}|{delivery.source}\n"
            argv += ["-S", str(servers)]
        return Command(tuple(argv), files, folders=(done, part))

    def _send(self, delivery: Delivery, folder: Folder, attempt: int) -> tuple[str, ...]:
        grtt, most = f"{_grtt(delivery):g}", f"{_most_grtt(delivery):g}"
        return (
            # -f leaves its restart file in the working directory
            "env", "-C", str(folder.work),
            "uftp", "-T", "-f", "-x", "2",
            "-R", str(_kbit(delivery)), "-b", str(delivery.block), "-t", str(delivery.ttl),
            "-p", str(delivery.port), "-M", str(delivery.group), "-P", str(delivery.group),
            "-I", str(delivery.source), "-U", _uid(delivery.source), "-B", "4194304",
            "-r", f"{grtt}:{grtt}:{most}", "-s", str(_ROBUST),
            "-D", delivery.sync, "-S", str(folder.work / f"{_STATUS}-{attempt}"),
        )  # fmt: skip

    def places(self, delivery: Delivery, folder: Folder, file: str) -> tuple[str, ...]:
        part, done = folder.data / "part", folder.data / "done"
        return str(part / "_group_*" / delivery.sync / file), str(done / delivery.sync / file)

    def marker(self, folder: Folder) -> Path:
        return folder.work / _STATUS

    def fates(self, delivery: Delivery, folders: Folders) -> dict[str, Fate]:
        work = folders(delivery.source_host).work
        reports = sorted(work.glob(f"{_STATUS}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        lines = (line for path in reports for line in path.read_text(errors="replace").splitlines())
        return parse_fates(delivery, lines)


def parse_fates(delivery: Delivery, lines: Iterator[str]) -> dict[str, Fate]:
    """Read CONNECT and RESULT lines of all attempts, oldest first: the last word on each file counts."""
    hosts = {_uid(d.address).lower(): d.host for d in delivery.destinations}
    registered: dict[str, bool] = {}
    results: dict[str, dict[str, str]] = {}
    for line in lines:
        match line.split(";"):
            case ["CONNECT", status, uid, *_] if host := hosts.get(uid.lower()):
                registered[host] = registered.get(host, False) or status == "success"
            case ["RESULT", uid, path, _, status, *_] if host := hosts.get(uid.lower()):
                results.setdefault(host, {})[path.rpartition("/")[2]] = status
            case _:
                pass
    return {
        host: _fate(delivery, registered.get(host, True), results.get(host, {}))
        for host in hosts.values()
        if host in registered or host in results
    }


def _fate(delivery: Delivery, registered: bool, files: dict[str, str]) -> Fate:
    for file in delivery.manifest.files:
        status = files.get(file.name)
        if status in _GOOD:
            continue
        if not registered:
            return Fate(False, _BAD["mute"])
        if status is None:
            return Fate(False, f"{file.name} was not sent to its end")
        return Fate(False, f"{_BAD.get(status, status)} at {file.name}")
    return Fate(True)


def _uid(address: IPv4Address) -> str:
    return f"0x{int(address):08X}"


def _kbit(delivery: Delivery) -> int:
    """-R for a link-layer rate: only IP bytes count, 1024 bit/s each."""
    packet = delivery.block + Uftp.overhead
    return int(delivery.rate / 1024 * packet / (packet + _ETHERNET))


def _grtt(delivery: Delivery) -> float:
    """Seconds; see the module."""
    return min(_MAX_GRTT, max(0.02, delivery.patience / 12 / _ROBUST))


def _most_grtt(delivery: Delivery) -> float:
    """What the sender's own estimate may grow to, in seconds. Answers that an outage held up count as round trips: at
    1 s a sender waited for 150 s where nobody listened any more, and no restart came within the patience."""
    return min(_MAX_GRTT, 2 * _grtt(delivery))


def _cache(rate: int, block: int) -> int:
    """uftpd writes what it received when its cache is full: 10 ms of the rate, so that progress is seen in time, but
    never fewer blocks than a gap that it takes for disorder; see the module."""
    return min(2**20, max(_LEAST_CACHE, _CACHED_BLOCKS * block, rate // 8 // 100))


def _receive_buffer(rate: int) -> int:
    """Half a second of the rate, as a socket counts it: with what the kernel adds to a packet, and doubled by it."""
    return min(2**26, max(2**23, rate // 8 // 2))

