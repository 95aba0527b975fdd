"""From the kernel's route to the BIFT in force, and from a new destination set to its flow in force.

    .venv/bin/python bench/bift.py [--quick] [--json] [--bfers 10,100,300] [--rounds N]

One router with a real agent and a real forwarder in a namespace of its own; its ospfd is a program of the tests that
announces the BFERs (bsl 256: with 300 of them, two sets). Rounds of two kinds: one route changes, or those to half of
the BFERs do, a few hundred microseconds after the two router LSAs that a cut link floods. The clock starts with the
kernel's first notification and stops when the forwarder has confirmed the last change (the agent's event), so the
agent's own scheduling is in it twice. Then new destination sets: a command with BFR-ids of half of the domain, from the
source's host; against the round trip of a command that changes nothing. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "lab")]

from agent_lab import AgentLab, Domain, agent_lab  # noqa: E402

from testbed.forwarder.program import program  # noqa: E402
from testbed.lab.rtnetlink import RTNLGRP_IPV4_ROUTE, subscribe  # noqa: E402
from testbed.precedence import take_precedence  # noqa: E402

PORTS, BSL = 4, 256
NICE = -10  # of the forwarder, as in a lab
DEADLINE = 10.0
CALM = 0.05  # seconds without anything from the agent: longer than LSAs wait


class Stamps:
    """When the kernel told of routes (CLOCK_MONOTONIC), by a thread that does not wait for others."""

    def __init__(self, lab: AgentLab) -> None:
        self.times: list[float] = []
        self._socket = lab.router.call(lambda: subscribe((RTNLGRP_IPV4_ROUTE,), 8 << 20))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while True:
            self._socket.recv(1 << 16)
            self.times.append(time.monotonic())


def settle(lab: AgentLab, known: int) -> list[dict[str, Any]]:
    """Every table that came into force since the `known`-th, once the agent is calm and they are the right ones."""
    end = time.monotonic() + DEADLINE
    wanted = lab.domain.bifts()
    while time.monotonic() < end:
        size = (lab.folder / "events.jsonl").stat().st_size
        time.sleep(CALM)
        if (lab.folder / "events.jsonl").stat().st_size == size and lab.masks() == wanted:
            return lab.events("bift", known)
    raise SystemExit("the BIFTs did not become what they should be")


def routes(lab: AgentLab, stamps: Stamps, rounds: int, several: bool) -> list[float]:
    """Milliseconds from the first notification to the last confirmation, a round each."""
    chance, found = random.Random(several), []
    others = sorted(lab.domain.routes)
    for _ in range(rounds):
        known = len(lab.events("bift"))
        moved = chance.sample(others, len(others) // 2 if several else 1)
        stamps.times.clear()
        if several:
            for router in chance.sample(others[PORTS:], 2):
                lab.lose_links(router, chance.choice((1, 2, 3)))
            time.sleep(0.0003)
        lab.install({router: (lab.domain.routes[router][0] % PORTS + 1,) for router in moved})
        events = settle(lab, known)
        found.append(
            (max(event["t"] for event in events if event["detail"]["cause"] == "route") - stamps.times[0]) * 1e3
        )
    return found


def sets(lab: AgentLab, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds: from a command to the flow in force, to the answer, and the round trip of a mere question."""
    chance = random.Random(0)
    force, answer, trip = [], [], []
    ids = sorted(lab.domain.ids.values())
    for number in range(rounds):
        known = len(lab.events("bift"))
        bfers = chance.sample(ids, len(ids) // 2)
        start = time.monotonic()
        lab.flow(f"232.2.0.{1 + number % 4}", bfers)
        answer.append((time.monotonic() - start) * 1e3)
        force.append((lab.events("bift", known)[-1]["t"] - start) * 1e3)
        start = time.monotonic()
        lab.host.call(lambda: socket.create_connection(("10.255.0.1", 7700)).close())
        trip.append((time.monotonic() - start) * 1e3)
        time.sleep(0.01)
    return force, answer, trip


def measure(bfers: int, rounds: int) -> dict[str, dict[str, float]]:
    domain = Domain(PORTS, BSL, ids={router: router for router in range(1, bfers + 1)})
    domain.routes = {router: ((router - 2) % PORTS + 1,) for router in range(2, bfers + 1)}
    with tempfile.TemporaryDirectory() as folder, agent_lab(Path(folder), domain, program()) as lab:
        take_precedence(lab.forwarder.pid, NICE)
        end = time.monotonic() + DEADLINE
        while not lab.events("bift") and time.monotonic() < end:
            time.sleep(0.01)
        settle(lab, 0)
        stamps = Stamps(lab)
        found = {"one route": routes(lab, stamps, rounds, several=False)}
        found["burst"] = routes(lab, stamps, rounds, several=True)
        found["set: in force"], found["set: answered"], found["set: round trip"] = sets(lab, rounds)
        rss = Path(f"/proc/{lab.agent.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    figures = {name: summary(values) for name, values in found.items()}
    return figures | {"agent": {"rss_mib": int(rss) / 1024}}


def summary(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "q1": low, "q3": high, "worst": max(values), "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 45 seconds: fewer rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--bfers", default="10,100,300")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    rounds = min(options.rounds, 30) if options.quick else options.rounds
    results = {bfers: measure(int(bfers), rounds) for bfers in options.bfers.split(",")}
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'BFERs':>5}  {'':16}{'median':>8}{'q1':>8}{'q3':>8}{'worst':>8}  ms, {rounds} rounds")
    for bfers, figures in results.items():
        for name, of in figures.items():
            if name == "agent":
                print(f"{bfers:>5}  agent's RSS {of['rss_mib']:.1f} MiB")
            else:
                print(f"{bfers:>5}  {name:16}{of['median']:8.2f}{of['q1']:8.2f}{of['q3']:8.2f}{of['worst']:8.2f}")


if __name__ == "__main__":
    main()
