"""The replication agent of one router: segments that a controller programs, and the IGP, made rows of its forwarder.

    python -m testbed.control.replication_agent CONFIG.json

It advertises the router's Node-SID and adjacency SIDs, or its SRv6 locator, through ospfd, learns everybody else's the
same way, and makes Node-SIDs follow the kernel's routes: so a loose branch is healed by the IGP alone. Replication
segments (RFC 9524) and the flows at a root come by command (docs/sr-p2mp.md); at a leaf, flows are what its hosts join.
It runs in the router's namespaces, and ends with SIGTERM.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from ipaddress import IPv4Address
from pathlib import Path

from testbed.control import tally
from testbed.control.bift import Hop, NextHops
from testbed.control.commands import Answer, Peer, Refusal
from testbed.control.fields import Fields
from testbed.control.ledger import Ledger
from testbed.control.node_sids import NodeSids
from testbed.control.ospf_api import LsaEvent
from testbed.control.program import Place, Program, Refused
from testbed.control.replication import Held
from testbed.control.replication_config import (
    COMMANDS,
    KERNEL_NEXTHOP,
    LINK_TYPE,
    OVERLAY_IN,
    PREFIX_TYPE,
    ReplicationConfig,
)
from testbed.control.replication_rows import ReplicationRows, members_served
from testbed.control.replication_state import Journal, Memory
from testbed.control.router_agent import RouterAgent
from testbed.control.sr_nodes import SrNode, SrNodes, link_body, prefix_body
from testbed.errors import ForwarderError


class ReplicationAgent(RouterAgent):
    """What one router holds, and what it knows of the others."""

    def __init__(self, config: ReplicationConfig) -> None:
        commands = (config.loopback, COMMANDS)
        super().__init__(
            forwarder=config.forwarder,
            events=config.events,
            lans=config.lans,
            commands=commands,
            follow_routes=config.node_sids,
        )
        self.config = config
        self._neighbours = {IPv4Address(link.address): IPv4Address(link.neighbour) for link in config.links}
        self._journal = Journal(Path(config.state))
        self.memory = self._recalled()
        self._nexthops, self._ledger = NextHops(), Ledger()
        numbers = {
            IPv4Address(link.address): self._nexthops.number(Hop(link.name, IPv4Address(link.peer)))
            for link in config.links
        }
        self._put_ports()
        self._sids = NodeSids(config, self._nexthops, self._ledger) if config.node_sids else None
        self._rows = ReplicationRows(config, numbers, self._ledger)
        self._nodes = SrNodes(config.hold)
        self._tally: Counter[str] = Counter()  # LSAs, and their octets
        # The agents of those may have died together with our predecessor, and their LSAs with them.
        self._believed: Mapping[IPv4Address, SrNode] = self.memory.nodes
        self._believed_until = time.monotonic() + config.hold
        self._present = self._believed  # those that are advertised now, or were
        if self._sids is not None:
            self._sids.set_nodes(self._present)
        self._rows.set_nodes(self.memory.nodes)
        self._rows.set_held(self.memory.held)
        self._adopt_members()
        for opaque_type, body in ((PREFIX_TYPE, prefix_body(config)), (LINK_TYPE, link_body(config))):
            self.api.register(opaque_type)
            self.api.originate(opaque_type, 0, body)

    # -- for the forwarder -------------------------------------------------------------------------------------------

    def everything(self) -> list[str]:
        self._nexthops.forget()
        self._ledger.forget()
        return self.changes()

    def changes(self) -> list[str]:
        return [*self._nexthops.changes(), *self._ledger.changes()]

    def reprogrammed(self, lines: int, since: float | None, cause: str) -> None:
        self.report("rows", {"lines": lines, "since": since, "cause": cause})

    def _put_ports(self) -> None:
        for link in self.config.links:
            self._ledger.put(f"port {link.name}", "transport")
        for lan in self.config.lans:
            self._ledger.put(f"port {lan}", f"context {OVERLAY_IN}")
        if (srv6 := self.config.srv6) is not None:
            self._ledger.put(f"port {srv6.port}", "")
            self._ledger.put(f"nexthop {KERNEL_NEXTHOP}", f"port {srv6.port} mac {srv6.mac}")
            self._ledger.put("node", f"source {srv6.source} fib {KERNEL_NEXTHOP}")

    # -- what is heard -----------------------------------------------------------------------------------------------

    def routes_changed(self, changed: Mapping[IPv4Address, tuple[Hop, ...]]) -> bool:
        if self._sids is not None:
            for router, hops in changed.items():
                self._sids.set_route(router, hops)
        return False

    def lsa_changed(self, event: LsaEvent) -> bool:
        self._tally.update(tally.of_lsa(event, self.api.router_id, (PREFIX_TYPE, LINK_TYPE)))
        return self._nodes.update(event.t, event.change, event.lsa)

    def lsas_changed(self) -> None:
        said = {router: node for router, node in self._nodes.nodes().items() if self._has_sid(node)}
        present = {**self._believed, **said}
        if present == self._present:
            return
        self._present = present
        self.report("sr-nodes", {"count": len(present), "ignored": list(self._nodes.ignored)})
        if self._sids is not None:
            self._sids.set_nodes(present)
        known = {**self.memory.nodes, **present}  # branches to who is silent at present are branches all the same
        if known != self.memory.nodes:
            self._rows.set_nodes(known)
            self._remember(replace(self.memory, nodes=known))

    def members_changed(self) -> None:
        self._rows.set_members(self.membership.members)

    def next_deadline(self) -> float | None:
        deadlines = (self._nodes.next_expiry(), self._believed_until if self._believed else None)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def look_at_the_time(self, now: float) -> None:
        disbelieved = bool(self._believed) and self._believed_until <= now
        if disbelieved:
            self._believed = {}
        if self._nodes.expire(now) or disbelieved:
            self.note(now, "lsa")
            self.lsas_changed()

    def _has_sid(self, node: SrNode) -> bool:
        return (node.index if self.config.srv6 is None else node.locator) is not None

    # -- what is commanded -------------------------------------------------------------------------------------------

    def answer(self, command: Answer, peer: Peer) -> Answer:
        """See docs/sr-p2mp.md: program, state, hello."""
        match command["op"]:
            case "program":
                return self._program(command, peer)
            case "state":
                return self._state()
            case "hello":
                return self._hello(command, peer)
        raise ValueError(f"unknown op {command['op']!r:.60}: program, state, hello")

    def _program(self, command: Answer, peer: Peer) -> Answer:
        if (peer.term or 0) < self.memory.term:
            raise self._superseded()
        program, before = Program.read(command), self.memory.held
        after = program.carried_out(before, self._place(self.memory))
        self.program()  # what changed before is a transaction of its own
        if not self.programmed:
            missing = "forwarder" if self.learned else "word from its ospfd"
            raise ValueError(f"the agent of {self.config.loopback} has no {missing} yet: try again")
        self._rows.set_held(after)
        try:
            lines = self.programmer.demand()
        except ForwarderError as error:
            self._rows.set_held(before)
            raise ValueError(f"the forwarder did not take it: {error}") from error
        t = time.monotonic()
        self._remember(replace(self.memory, held=after))
        ids = [str(segment.id) for segment in program.segments]
        self.report("programmed", {"received": peer.read_at, "confirmed": t, "lines": lines, "segments": ids})
        return {"ok": True, "t": t, "received": peer.read_at}

    def _place(self, memory: Memory) -> Place:
        known = memory.nodes.keys() if self.config.loose else ()
        return Place(self.config.router, self._neighbours, known, paths=self.config.node_sids)

    def _state(self) -> Answer:
        memory, traffic = self.memory, self.server.traffic
        counts = {
            "segments": len(memory.held.segments),
            "branches": self._ledger.count("branch"),
            "node SIDs": self._sids.count if self._sids is not None else 0,
            "flows": self._ledger.count(f"flow {OVERLAY_IN}"),
            "memberships": len(self.membership.members),
            "routers": len(self._present),
            **asdict(traffic),
        }
        said = Counter({"commands": traffic.received, "answers": traffic.sent})
        said["bytes"] = traffic.received_bytes + traffic.sent_bytes
        return {
            "ok": True,
            "node": self.config.number,
            "connected": self.api.connected,
            "programmed": self.programmed,
            "controller": memory.controller,
            "term": memory.term,
            "counts": counts,
            "control": said + self._tally,
            **memory.held.json(),
        }

    def _hello(self, command: Answer, peer: Peer) -> Answer:
        problems: list[str] = []
        fields = Fields({key: value for key, value in command.items() if key not in ("op", "seq")}, "", problems)
        controller, term = fields.text("controller"), fields.number("term", 1, (1 << 63) - 1)
        fields.close()
        if problems:
            raise Refused(problems)
        now = self.memory
        if term < now.term or (term == now.term and controller != now.controller):
            raise self._superseded()
        if (controller, term) != (now.controller, now.term):
            self._remember(replace(now, controller=controller, term=term))
            self.report("hello", {"controller": controller, "term": term})
        peer.term = term
        return {"ok": True, "term": term, "t": time.monotonic(), "received": peer.read_at}

    def _superseded(self) -> Refusal:
        """What a controller hears that another one has followed; it knows by the term."""
        return Refusal(f"{self.memory.controller} is in charge, with term {self.memory.term}", term=self.memory.term)

    # -- what outlives it --------------------------------------------------------------------------------------------

    def _remember(self, memory: Memory) -> None:
        self.memory = memory
        try:
            self._journal.write(memory)
        except OSError as error:  # the forwarder has it, and that is what counts
            self.report("state-not-written", {"why": str(error)})

    def _recalled(self) -> Memory:
        try:
            memory = Memory.read(Path(self.config.state))
            held = memory.held
            kept = Program(segments=tuple(held.segments.values()), policies=tuple(held.policies.values()))
            kept.carried_out(Held(), self._place(memory))  # the links may be others than they were
            return memory
        except FileNotFoundError:
            return Memory()
        except (OSError, ValueError) as error:
            self.report("state-lost", {"why": str(error)})
            return Memory()

    def _adopt_members(self) -> None:
        """Those that a predecessor's forwarder serves: they answer the query, if they are still there."""
        try:
            members = members_served(self.programmer.forwarder.tables())
        except ForwarderError:
            return
        self.membership.adopt(members, time.monotonic())
        self.members_changed()


def main() -> None:
    ReplicationAgent(ReplicationConfig.read(Path(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
