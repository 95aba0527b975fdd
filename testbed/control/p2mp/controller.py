"""The SR-P2MP controller: from OSPF's link state database to Replication segments in routers.

    python -m testbed.control.p2mp.controller CONFIG.json

It learns the area by the OSPF API of its own router, and from nothing else; policies come by command, as JSON lines;
agents are told over TCP, through the network whose failures they are told of. What to do is decided in policy.py: here
are sockets, time, and the events file. It ends with SIGTERM; forwarding goes on, and its successor finds everything.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from testbed.control.fields import Fields
from testbed.control.ospf_api import Lost, LsaEvent, OspfApi, OspfApiError
from testbed.control.p2mp.actions import Action, Reply, Report, Resync, Send
from testbed.control.p2mp.config import ControllerConfig
from testbed.control.p2mp.graph import Graph, Topology
from testbed.control.p2mp.links import AgentLink, Traffic
from testbed.control.p2mp.policy import Policies
from testbed.control.p2mp.request import Request
from testbed.control.program import Program
from testbed.control.replication import Held, PolicyId

Json = dict[str, Any]
OSPF_PATIENCE = 2.0  # seconds for ospfd to answer
RETRY = 0.2  # seconds between attempts to reach an ospfd that is not there
LINE_LIMIT = 1 << 20  # octets of a command


class Controller:
    """The loop around one `Policies`."""

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self.topology = Topology(config.hold)
        self.policies = Policies(drain=config.drain, grace=config.grace, order=config.order)
        self.api = OspfApi(config.ospf, config.ospf_port, timeout=OSPF_PATIENCE)
        self.term = time.time_ns()  # later controllers have greater ones
        self.superseded = ""  # by whom
        self.traffic, self.commands = Traffic(), Traffic()
        self._events = open(config.events, "a", buffering=1)  # noqa: SIM115  (as long as the controller)
        self._links: dict[IPv4Address, AgentLink] = {}
        self._sent_at: dict[int, float] = {}
        self._tick: asyncio.TimerHandle | None = None
        self._watched: tuple[int, ...] = ()
        self._ospf_lost = asyncio.Event()
        self._unanswered: set[asyncio.Future[Json]] = set()
        self._seq = 0  # of what is no program; those have positive ones

    async def run(self) -> None:
        """Serve until SIGTERM."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        server = await asyncio.start_server(
            self._serve, self.config.listen or None, self.config.port, limit=LINE_LIMIT, reuse_address=True
        )
        following = asyncio.create_task(self._follow_ospf())
        ended = asyncio.create_task(stopped.wait())
        await asyncio.wait({following, ended}, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        for link in self._links.values():
            await link.close()
        self._report("ended", {"traffic": asdict(self.traffic)})
        if following.done():
            following.result()  # it only ends by an error

    # -- the area ----------------------------------------------------------------------------------------------------

    async def _follow_ospf(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.api.connect)
            except OspfApiError:
                await asyncio.sleep(RETRY)
                continue
            self._report("ospf-connected", {"router": str(self.api.router_id)})
            self._ospf_lost.clear()
            self._watch_ospf()
            self._lsas_changed()
            await self._ospf_lost.wait()

    def _watch_ospf(self) -> None:
        loop = asyncio.get_running_loop()
        for fileno in self._watched:
            loop.remove_reader(fileno)
        self._watched = self.api.filenos()
        for fileno in self._watched:
            loop.add_reader(fileno, self._lsas_changed)

    def _lsas_changed(self) -> None:
        filenos = self.api.filenos()
        heard: list[LsaEvent] = []
        lost = False
        for event in self.api.process():
            if isinstance(event, LsaEvent) and self.topology.update(event.t, event.change, event.lsa):
                heard.append(event)
            elif isinstance(event, Lost):
                self._report("ospf-lost", {"why": event.why})
                lost = True
        if self.api.filenos() != filenos or lost:
            self._watch_ospf()
        if lost:
            self._ospf_lost.set()
        for event in heard:
            self._report("lsa-heard", {"lsa": str(event.lsa.key), "change": event.change.value}, event.t)
        if heard:
            self._graph_changed(min(event.t for event in heard))

    def _graph_changed(self, since: float) -> None:
        """`since`: when the first LSA was read of those that changed it."""
        graph = self.topology.graph
        if graph == self.policies.graph:
            return
        links = sum(len(each) for each in graph.adjacencies.values())
        detail = {"since": since, "routers": len(graph.routers), "links": links // 2, "agents": len(graph.nodes)}
        self._report("graph", detail)
        self._do(self.policies.set_graph(time.monotonic(), graph))
        self._keep_links(graph)

    # -- agents ------------------------------------------------------------------------------------------------------

    def _keep_links(self, graph: Graph) -> None:
        """A connection to every agent, also to those that have nothing to do: who is needed next is told at once."""
        if self.superseded:
            return
        reachable = graph.reachable(self.api.router_id)
        for router in graph.nodes:
            if router in self._links:
                self._links[router].kick()
            elif router in reachable:
                self._links[router] = AgentLink(
                    (str(router), self.config.agent_port),
                    self.traffic,
                    partial(self._agent_up, router),
                    partial(self._agent_down, router),
                    partial(self._agent_said, router),
                )

    def _agent_up(self, router: IPv4Address) -> None:
        self._report("agent-up", {"router": str(router)})
        self._ask(router, "hello", controller=self.config.name, term=self.term)
        self._ask(router, "state")

    def _agent_down(self, router: IPv4Address, why: str) -> None:
        self._report("agent-down", {"router": str(router), "why": why})
        self._do(self.policies.lost(time.monotonic(), router))

    def _ask(self, router: IPv4Address, what: str, **values: Any) -> None:
        self._seq -= 1
        self._links[router].send({"op": what, "seq": self._seq, **values})

    def _agent_said(self, router: IPv4Address, request: Json, answer: Json) -> None:
        t = time.monotonic()
        error = answer.get("error")
        if request["op"] == "program":
            sent = self._sent_at.pop(request["seq"], None)
            if error is None:
                self._confirmed(router, request, answer, sent, t)
            self._do(self.policies.answered(t, router, request["seq"], error))
        elif error is not None:
            self._report("refused", {"router": str(router), "op": request["op"], "why": error})
        elif request["op"] == "state":
            self._agent_is(router, answer, t)

    def _agent_is(self, router: IPv4Address, answer: Json, t: float) -> None:
        if answer.get("term", 0) > self.term:
            self._give_way(str(answer.get("controller")))
            return
        program = Program.read({key: answer[key] for key in ("segments", "policies") if key in answer})
        held = Held({each.id: each for each in program.segments}, {each.id: each for each in program.policies})
        self._report("agent", {"router": str(router), "segments": len(held.segments), "policies": len(held.policies)})
        self._do(self.policies.synced(t, router, held))

    def _confirmed(self, router: IPv4Address, request: Json, answer: Json, sent: float | None, t: float) -> None:
        times = {"sent": sent, "received": answer.get("received"), "applied": answer.get("t")}
        detail = {"router": str(router), "seq": request["seq"], "segments": len(request["segments"])}
        self._report("confirmed", detail | {"deleted": len(request["delete"])} | times, t)
        for policy in request["policies"]:
            what = {key: policy[key] for key in ("root", "tree", "active")}
            self._report("switched", what | times, t)

    def _give_way(self, other: str) -> None:
        """A newer controller is in charge."""
        if not self.superseded:
            self.superseded = other
            self._report("superseded", {"by": other})
            for link in self._links.values():
                asyncio.create_task(link.close())  # noqa: RUF006  (nothing is waited for)
            self._links.clear()
            for future in self._unanswered:
                if not future.done():
                    future.set_result({"error": self._why_not()})

    # -- what is to be done ------------------------------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Send(router, seq, request):
                    self._sent_at[seq] = time.monotonic()
                    if link := self._links.get(router):
                        link.send(request)
                case Resync(router):
                    if router in self._links:
                        self._ask(router, "state")
                case Reply(future, answer):
                    if isinstance(future, asyncio.Future) and not future.done():
                        future.set_result(answer)
                case Report(kind, detail):
                    self._report(kind, detail)
        self._set_tick()

    def _set_tick(self) -> None:
        times = (self.policies.next_tick(), self.topology.next_expiry())
        if self._tick:
            self._tick.cancel()
            self._tick = None
        if (at := min((each for each in times if each is not None), default=None)) is not None:
            self._tick = asyncio.get_running_loop().call_at(at, self._time_went_by)

    def _time_went_by(self) -> None:
        t = time.monotonic()
        if self.topology.expire(t):
            self._graph_changed(t)
        self._do(self.policies.tick(t))

    # -- commands ----------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self._command(line)
                octets = json.dumps(answer).encode() + b"\n"
                self.commands.received += 1
                self.commands.received_bytes += len(line)
                self.commands.sent += 1
                self.commands.sent_bytes += len(octets)
                writer.write(octets)
                await writer.drain()
        except (OSError, ValueError):  # hung up; or a line beyond all measure
            pass
        finally:
            writer.close()

    async def _command(self, line: bytes) -> Json:
        seq: Json = {}
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                raise ValueError("a command is a JSON object")
            seq = {"seq": command["seq"]} if isinstance(command.get("seq"), int) else {}
            return seq | await self._obey(command)
        except KeyError as error:
            return seq | {"error": f"{error} is missing"}
        except ValueError as error:
            return seq | {"error": str(error)}

    async def _obey(self, command: Json) -> Json:
        what = command["op"]
        if what == "state":
            return self._state()
        if what not in ("policy", "remove"):
            raise ValueError(f"unknown op {what!r:.60}: policy, remove, state")
        if self.superseded:
            raise ValueError(self._why_not())
        done: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        t = time.monotonic()
        if what == "policy":
            request = Request.read(command)
            self._report("command", {"op": what, "leaves": len(request.leaves)} | request.id.json(), t)
            self._do(self.policies.policy(t, done, request))
        else:
            policy_id = _policy_id(command)
            self._report("command", {"op": what} | policy_id.json(), t)
            self._do(self.policies.remove(t, done, policy_id))
        self._unanswered.add(done)
        try:
            return await done
        finally:
            self._unanswered.discard(done)

    def _why_not(self) -> str:
        return f"superseded by the controller {self.superseded}"

    def _state(self) -> Json:
        counts = {"agents": asdict(self.traffic), "commands": asdict(self.commands)}
        return {
            "ok": True,
            "connected": self.api.connected,
            "router": str(self.api.router_id),
            "routers": len(self.policies.graph.routers),
            "term": self.term,
            "superseded": self.superseded,
            "counts": counts,
            **self.policies.state(),
        }

    def _report(self, kind: str, detail: Json, t: float | None = None) -> None:
        t = time.monotonic() if t is None else t
        self._events.write(json.dumps({"t": t, "kind": kind, "detail": detail}) + "\n")


def _policy_id(command: Json) -> PolicyId:
    """Raises ValueError."""
    problems: list[str] = []
    fields = Fields({key: value for key, value in command.items() if key not in ("op", "seq")}, "", problems)
    policy_id = PolicyId.read(fields)
    fields.close()
    if problems:
        raise ValueError("; ".join(problems))
    return policy_id


def main() -> None:
    gc.freeze()  # what was imported stays: no collection has to look at it when time matters
    asyncio.run(_main(ControllerConfig.read(Path(sys.argv[1]))))


async def _main(config: ControllerConfig) -> None:
    await Controller(config).run()


if __name__ == "__main__":
    main()
