"""A router's flows: at a BFIR which BFERs a packet is for, at a BFER which of its hosts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

from testbed.control.bier_config import OVERLAY_IN, OVERLAY_OUT, BierConfig
from testbed.control.membership import Member
from testbed.forwarder.rows import BierAction, Flow, PortAction
from testbed.forwarder.tables import Tables

Key = tuple[IPv4Address | None, IPv4Address]  # source (None: any), group


class BierFlows:
    """Lines of the forwarder's language for both, only those that changed. Pure."""

    def __init__(self, config: BierConfig) -> None:
        self._config = config
        self._bfers: dict[Key, frozenset[int]] = {}
        self._ports: dict[Key, frozenset[str]] = {}
        self._told: dict[tuple[int, Key], str] = {}
        self._dirty: set[Key] = set()
        self._sets: frozenset[int] = frozenset()

    @property
    def count(self) -> int:
        """Flows for which this router is a BFIR."""
        return len(self._bfers)

    @property
    def bfers(self) -> Mapping[Key, frozenset[int]]:
        """Of each of them."""
        return self._bfers

    def set_flow(self, source: IPv4Address | None, group: IPv4Address, bfers: frozenset[int]) -> None:
        """All BFERs of a flow; none: the flow is over. Raises ValueError."""
        if not group.is_multicast:
            raise ValueError(f"{group} is no multicast group")
        if bad := sorted(bfr_id for bfr_id in bfers if not 1 <= bfr_id <= 65535):
            raise ValueError(f"no BFR-id: {bad[0]}")
        self._dirty.add((source, group))
        if bfers:
            self._bfers[source, group] = bfers
        else:
            self._bfers.pop((source, group), None)

    def change(self, source: IPv4Address | None, group: IPv4Address, bfr_id: int, *, joins: bool) -> None:
        """One BFER joins a flow, or leaves it. Raises ValueError."""
        present = self._bfers.get((source, group), frozenset())
        self.set_flow(source, group, present | {bfr_id} if joins else present - {bfr_id})

    def set_members(self, members: set[Member]) -> None:
        """What this router's own hosts want."""
        ports: dict[Key, set[str]] = {}
        for member in members:
            ports.setdefault((member.source, member.group), set()).add(member.port)
        new = {key: frozenset(names) for key, names in ports.items()}
        self._dirty |= {key for key in new.keys() | self._ports.keys() if new.get(key) != self._ports.get(key)}
        self._ports = new

    def adopt(self, tables: Tables) -> set[Member]:
        """Go on with the flows that a forwarder has; returns the members that it served."""
        members: set[Member] = set()
        for flow in tables.all(Flow):
            if flow.group is None or flow.group.version != 4:
                continue
            source = flow.source if isinstance(flow.source, IPv4Address) else None
            key = (source, IPv4Address(flow.group))
            if flow.context == OVERLAY_IN:
                bfers: set[int] = set()
                for action in flow.actions:
                    if isinstance(action, BierAction):
                        si = action.bift - self._config.first_bift_id
                        bfers |= {si * self._config.bsl + bit for bit in action.bits}
                if bfers:
                    self.set_flow(*key, frozenset(bfers))
            elif flow.context == OVERLAY_OUT:
                ports = [action.port for action in flow.actions if isinstance(action, PortAction)]
                members |= {Member(port, key[1], source) for port in ports}
        self.set_members(members)
        return members

    def forget(self) -> None:
        """The forwarder has lost its tables."""
        self._told.clear()
        self._dirty = self._bfers.keys() | self._ports.keys()

    def changes(self, sets: frozenset[int]) -> list[str]:
        """The lines to be sent. `sets`: the set identifiers that the forwarder has a BIFT for."""
        if sets != self._sets:
            self._sets = sets
            self._dirty |= self._bfers.keys()
        lines: list[str] = []
        for key in self._dirty:
            bfers, ports = self._bfers.get(key), self._local(key)
            lines += self._tell(OVERLAY_OUT, key, ports or None)
            lines += self._tell(OVERLAY_IN, key, self._bier(bfers, sets) + ports if bfers else None)
        self._dirty.clear()
        return lines

    def _tell(self, context: int, key: Key, actions: str | None) -> list[str]:
        """The line that makes these the flow's actions, None: that ends it; none if the forwarder knows."""
        line = None if actions is None else self._line(context, key, actions)
        told = self._told.get((context, key))
        if line == told:
            return []
        if line is None:
            del self._told[context, key]
            return [f"del {self._line(context, key, '')}"]
        self._told[context, key] = line
        return [line]

    def _line(self, context: int, key: Key, actions: str) -> str:
        source, group = key
        return f"flow {context} {source or '*'} {group}{actions}"

    def _local(self, key: Key) -> str:
        return "".join(f" port {port}" for port in sorted(self._ports.get(key, ())))

    def _bier(self, bfers: frozenset[int], sets: frozenset[int]) -> str:
        """One packet a set identifier (RFC 8279 section 3). A set without a BIFT has no BFER that anybody knows."""
        masks: dict[int, int] = {}
        bsl = self._config.bsl
        for bfr_id in bfers:
            si, bit = divmod(bfr_id - 1, bsl)
            masks[si] = masks.get(si, 0) | 1 << bit
        encap = self._config.encapsulation
        first = self._config.first_bift_id
        return "".join(f" bier {encap} {first + si} {masks[si]:x}" for si in sorted(masks) if si in sets)
