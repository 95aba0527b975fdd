"""From a policy asked for, and from a link that fails, to the root's switch: the SR-P2MP controller's share of it.

    .venv/bin/python bench/programming.py [--quick] [--json] [--rounds N] [--routers N] [--leaves N]

The controller as it is, a process; an ospfd and agents of the tests, which do nothing but check and answer, in two
others, over loopback: a round trip takes next to no time, and what is left is the controller's own work and its peers'.
Rounds with leaves drawn anew: a policy from the command to its answer; then a link of its tree goes, from the first
router-LSA to the confirmed switch. Instances are programmed bottom-up, a level after the other, and in parallel. Times
from the controller's events; median, quartiles. Needs no root.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "unit"))

from fake_ospfd import FakeOspfd  # noqa: E402
from p2mp_sim import Area  # noqa: E402

from testbed.control.commands import ask  # noqa: E402
from testbed.control.p2mp.config import ControllerConfig  # noqa: E402
from testbed.control.p2mp.instances import ORDERS  # noqa: E402

BASE, PORT, COMMANDS, SEED = IPv4Address("127.66.0.0"), 27701, 27702, 1
DEADLINE = 30.0
GOAL_MS = 50.0
STAGES = ("computed", "confirmed", "switched", "answered")
PROCESSOR = ("tree, processor", "controller, processor")


class Bench:
    """One controller with everything around it."""

    def __init__(self, routers: int, order: str, folder: Path) -> None:
        self.area = Area.random(routers, routers, random.Random(SEED), base=BASE)
        self.ospfd = FakeOspfd(router=self.area.routers[0])
        self.sequence = 1
        self.bodies = {}
        for lsa in self.area.lsas(1):
            self.ospfd.lsdb[lsa.key] = lsa
            self.bodies[lsa.key] = lsa.body
        agents = [str(ROOT / "tests/unit/fake_agents.py"), str(routers), str(routers), str(SEED), str(BASE), str(PORT)]
        self.agents = subprocess.Popen([sys.executable, *agents], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.agents.stdout is not None
        self.agents.stdout.readline()
        self.events = folder / f"{order}.jsonl"
        config = ControllerConfig(
            "bench", "127.0.0.1", str(self.events), "127.0.0.1", COMMANDS, self.ospfd.port, PORT, 0.0, 5.0, order
        )
        config.write(folder / "config.json")
        command = [sys.executable, "-m", "testbed.control.p2mp.controller", str(folder / "config.json")]
        self.controller = subprocess.Popen(command, cwd=ROOT)
        self._at = 0
        self.wait(self._all_there)

    def _all_there(self) -> bool:
        try:
            state = self.ask("state")
        except OSError:
            return False
        return bool(state["settled"] and state["agents"] == len(self.area.routers) and not state["away"])

    def wait(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + DEADLINE
        while not (value := condition()):
            if time.monotonic() > end:
                raise SystemExit("the controller did not get there")
            time.sleep(0.005)
        return value

    def processor(self) -> float:
        """Milliseconds of processor time that the controller has had."""
        return int(Path(f"/proc/{self.controller.pid}/schedstat").read_text().split()[0]) / 1e6

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        return ask(("127.0.0.1", COMMANDS), {"op": op, **values}, timeout=DEADLINE)

    def new_events(self) -> list[dict[str, Any]]:
        lines = self.events.read_text().splitlines()
        found = [json.loads(line) for line in lines[self._at :]]
        self._at = len(lines)
        return found

    def cut(self, down: set[int]) -> None:
        """As a link's two ends do: the two router-LSAs follow each other."""
        self.area.down = down
        self.sequence += 1
        for lsa in self.area.lsas(self.sequence):
            if self.bodies[lsa.key] != lsa.body:
                self.bodies[lsa.key] = lsa.body
                self.ospfd.install(lsa)

    def close(self) -> None:
        self.controller.send_signal(signal.SIGTERM)
        self.controller.wait()
        self.agents.communicate(b"")
        self.ospfd.close()


def stages(events: list[dict[str, Any]], begin: float) -> dict[str, float]:
    """Milliseconds from `begin` to the end of each stage, and what the computation itself took."""
    by_kind = {kind: [each for each in events if each["kind"] == kind] for kind in STAGES[:3]}
    found = {kind: 1000 * (some[-1]["t"] - begin) for kind, some in by_kind.items() if some}
    return found | {"tree, processor": 1000 * sum(each["detail"]["cpu_s"] for each in by_kind["computed"])}


def measure(order: str, routers: int, leaves: int, rounds: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    bench = Bench(routers, order, folder)
    found: dict[str, list[dict[str, float]]] = {"policy": [], "failure": []}
    try:
        rng = random.Random(2)
        root = str(bench.area.routers[0])
        for tree in range(1, rounds + 1):
            chosen = [str(each) for each in rng.sample(bench.area.routers[1:], leaves)]
            bench.new_events()
            begin, had = time.monotonic(), bench.processor()
            bench.ask("policy", root=root, tree=tree, leaves=chosen, flows=[{"source": None, "group": "232.1.1.1"}])
            answered, processor = 1000 * (time.monotonic() - begin), bench.processor() - had
            events = bench.new_events()
            levels = next(each["detail"]["levels"] for each in events if each["kind"] == "instance")
            found["policy"].append(stages(events, begin) | {"answered": answered, "levels": levels})
            found["policy"][-1]["controller, processor"] = processor
            if failure := fail(bench, rng):
                found["failure"].append(failure)
            bench.ask("remove", root=root, tree=tree)
            bench.wait(lambda: not bench.ask("state")["policies"])
    finally:
        bench.close()
    return found


def fail(bench: Bench, rng: random.Random) -> dict[str, float] | None:
    """A link goes that the tree cannot do with, and comes back; None if the first ones drawn leave the tree alone."""
    for place in rng.sample(range(len(bench.area.links)), 20):
        bench.new_events()
        bench.cut({place})
        events: list[dict[str, Any]] = []
        graph = bench.wait(lambda e=events: e.extend(bench.new_events()) or [x for x in e if x["kind"] == "graph"])
        time.sleep(0.05)  # whether anything follows is only to be seen by waiting
        events += bench.new_events()
        if any(each["kind"] == "instance" for each in events):
            bench.wait(lambda e=events: e.extend(bench.new_events()) or any(x["kind"] == "switched" for x in e))
            measured = stages(events, graph[0]["detail"]["since"])
            bench.cut(set())
            bench.wait(lambda: bench.ask("state")["policies"][0]["ready"])
            return measured
        bench.cut(set())
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--routers", type=int, default=150)
    parser.add_argument("--leaves", type=int, default=100)
    arguments = parser.parse_args()
    rounds = arguments.rounds or (5 if arguments.quick else 30)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for order in ORDERS:
            results[order] = measure(order, arguments.routers, arguments.leaves, rounds, Path(folder))
    if arguments.json:
        figures = {"routers": arguments.routers, "leaves": arguments.leaves, "rounds": rounds, "goal_ms": GOAL_MS}
        print(json.dumps(figures | {"milliseconds": results}))
        return
    print(f"{arguments.routers} routers, {arguments.leaves} leaves, {rounds} rounds; milliseconds from the start\n")
    for order, kinds in results.items():
        for kind, some in kinds.items():
            if not some:
                continue
            print(f"{kind}, {order} (levels: {statistics.median(each.get('levels', 0) for each in some):g})")
            for stage in (*PROCESSOR, *STAGES):
                if values := sorted(each[stage] for each in some if stage in each):
                    quartiles = f"{values[len(values) // 4]:.1f} to {values[3 * len(values) // 4]:.1f}"
                    print(f"    {stage:24}{statistics.median(values):8.1f}   ({quartiles})")
    answered = statistics.median(each["answered"] for each in results[ORDERS[0]]["policy"])
    print(f"\na policy takes {answered:.1f} ms; the goal is {GOAL_MS:g} ms and the round trips of its levels")


if __name__ == "__main__":
    main()
