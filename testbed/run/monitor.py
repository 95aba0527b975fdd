"""The kernel monitor, a program of its own: `python -m testbed.run.monitor --config JSON`.

One process hears the rtnetlink notifications (links, IPv4 and IPv6 routes, IPv4 multicast routes) of every router
and stamps each on CLOCK_MONOTONIC as it comes, ahead of whatever else wants the processor; a second thread reads what
was stamped a while ago, so that a burst does not delay the stamps behind it. `--config` is a file, or the JSON itself:

    {"nodes": [{"name", "pid"}, ...], "receive_buffer": bytes a node (8 MiB)}

Standard output gets JSON lines {"t", "kind", "node", "detail"}: `ready`, then link-down, link-up, route, mroute (see
kernel_events.py), `overrun` for a node whose notifications the kernel had to drop, and on SIGTERM or SIGINT `summary`.
"""

from __future__ import annotations

import argparse
import errno
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from testbed.lab import rtnetlink as rt
from testbed.run.kernel_events import Interpreter
from testbed.run.program import Stop, raise_priority, read_config, say

_GROUPS = (rt.RTNLGRP_LINK, rt.RTNLGRP_IPV4_ROUTE, rt.RTNLGRP_IPV6_ROUTE, rt.RTNLGRP_IPV4_MROUTE)
_BUFFER = 8 << 20
_LARGEST = 1 << 16
# How old a stamp is before it is read, in seconds: longer than an IGP's burst of changes lasts. The threads share one
# interpreter, and a reader that is not scheduled while it holds that makes the other thread's stamps late by as much
# (seen: 5 ms with 20 routers on two cores, with which a route came after the packets that it brought).
_CALM = 0.2

Stamped = tuple[float, str, bytes | None]  # when, which node, the datagram (None: an overrun)


def listen(sockets: dict[int, tuple[str, socket.socket]], wake: int, put: Callable[[Stamped], None]) -> None:
    """Stamp whatever the sockets (by file descriptor) bring and `put` it, until `wake` becomes readable."""
    poll = select.epoll()
    poll.register(wake, select.EPOLLIN)
    for fd in sockets:
        poll.register(fd, select.EPOLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        for fd in ready:
            if fd != wake:
                _drain(*sockets[fd], put)
        if wake in ready:
            poll.close()
            return


def _drain(node: str, sock: socket.socket, put: Callable[[Stamped], None]) -> None:
    while True:
        try:
            data = sock.recv(_LARGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            put((time.monotonic(), node, None))
        else:
            put((time.monotonic(), node, data))


def report(get: Callable[[], Stamped | None], interpreters: dict[str, Interpreter]) -> dict[str, int]:
    """Read what was stamped _CALM ago and write the events, until `get` brings None. Returns the summary's counts."""
    counts = {"messages": 0, "overruns": 0}
    while (stamped := get()) is not None:
        t, node, data = stamped
        time.sleep(max(0.0, t + _CALM - time.monotonic()))
        if data is None:
            counts["overruns"] += 1
            say(t, "overrun", node, {"what": "kernel notifications of this node were lost; its events have a gap"})
            continue
        counts["messages"] += 1
        for kind, detail in interpreters[node].read(data):
            say(t, kind, node, detail)
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="testbed.run.monitor", description=__doc__)
    parser.add_argument("--config", required=True, help="a JSON file, or the JSON itself")
    config = read_config(parser.parse_args(arguments).config)
    stop = Stop()

    sockets: dict[int, tuple[str, socket.socket]] = {}
    interpreters: dict[str, Interpreter] = {}
    for node in config["nodes"]:
        name, pid = node["name"], node["pid"]
        sock = rt.open_route_socket(pid, _GROUPS, config.get("receive_buffer", _BUFFER))
        sockets[sock.fileno()] = (name, sock)
        interpreters[name] = Interpreter()
        with rt.open_route_socket(pid) as asker:  # a second socket: no notification can mix with the dump
            interpreters[name].learn(rt.dump(asker, rt.RTM_GETLINK, rt.IFINFOMSG.pack(0, 0, 0, 0, 0)))

    sys.setswitchinterval(0.0002)  # the stamping thread waits for the reading one no longer than this
    queue: SimpleQueue[Stamped | None] = SimpleQueue()
    summary: dict[str, Any] = {}

    def read() -> None:
        try:
            summary.update(report(queue.get, interpreters))
        finally:
            stop.request()  # a reader that failed (nobody listens any more) ends the program

    reader = threading.Thread(target=read, name="reader")
    say(time.monotonic(), "ready")
    reader.start()
    raise_priority()  # of this thread alone, which has little to do
    try:
        listen(sockets, stop.fileno(), queue.put)
    finally:
        queue.put(None)
        reader.join()
    summary["cpu_s"] = time.process_time()
    say(time.monotonic(), "summary", "", summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
