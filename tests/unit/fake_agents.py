"""Replication agents of a test's own on loopback addresses: the protocol of docs/sr-p2mp.md without forwarders.

    python fake_agents.py ROUTERS EXTRA SEED BASE PORT      those of Area.random, until stdin ends
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections.abc import Coroutine
from ipaddress import IPv4Address
from typing import Any

from p2mp_sim import Area, FakeAgents

Json = dict[str, Any]


class AgentServers:
    """An agent for every router of an area, at the address that is its id, in a thread."""

    def __init__(self, area: Area, port: int) -> None:
        self.agents = FakeAgents(area)
        self.terms: dict[IPv4Address, tuple[int, str]] = {}
        self.silent: set[IPv4Address] = set()  # read, and say nothing
        self.programs: list[tuple[IPv4Address, Json]] = []
        self._port = port
        self._servers: dict[IPv4Address, asyncio.Server] = {}
        self._writers: dict[IPv4Address, set[asyncio.StreamWriter]] = {each: set() for each in area.routers}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for router in area.routers:
            self.listen(router)

    def listen(self, router: IPv4Address) -> None:
        self._call(self._listen(router))

    def cut(self, router: IPv4Address) -> None:
        """Nobody is there any more."""
        self._call(self._cut(router))

    def close(self) -> None:
        for router in list(self._servers):
            self.cut(router)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, router: IPv4Address) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(router, reader, writer)

        self._servers[router] = await asyncio.start_server(serve, str(router), self._port, limit=1 << 20)

    async def _cut(self, router: IPv4Address) -> None:
        self._servers.pop(router).close()
        for writer in self._writers[router]:
            writer.transport.abort()
        while self._writers[router]:
            await asyncio.sleep(0)

    async def _serve(
        self, router: IPv4Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers[router].add(writer)
        term = [0]
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                received = time.monotonic()
                answer = self._answer(router, json.loads(line), term)
                if router not in self.silent:
                    answer["received"] = received
                    writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()
        self._writers[router].discard(writer)

    def _answer(self, router: IPv4Address, request: Json, term: list[int]) -> Json:
        seq = {"seq": request["seq"]}
        newest, controller = self.terms.get(router, (0, ""))
        try:
            match request["op"]:
                case "hello":
                    if request["term"] < newest:
                        raise ValueError(f"{controller} is in charge, with term {newest}")
                    self.terms[router] = request["term"], request["controller"]
                    term[0] = request["term"]
                case "state":
                    who = {"term": newest, "controller": controller}
                    return {**seq, "ok": True} | who | self.agents.held[router].json()
                case "program":
                    if term[0] < newest:
                        raise ValueError(f"{controller} is in charge, with term {newest}: say hello first")
                    self.agents.program(router, request)
                    self.programs.append((router, request))
        except ValueError as error:
            return {**seq, "error": str(error)}
        return {**seq, "ok": True, "t": time.monotonic()}


def main() -> None:
    routers, extra, seed, port = (int(each) for each in (*sys.argv[1:4], sys.argv[5]))
    area = Area.random(routers, extra, random.Random(seed), base=IPv4Address(sys.argv[4]))
    servers = AgentServers(area, port)
    print("ready", flush=True)
    sys.stdin.read()
    servers.close()


if __name__ == "__main__":
    main()
