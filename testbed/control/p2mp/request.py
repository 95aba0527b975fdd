"""What a sync asks of the controller: an SR P2MP policy with its candidate paths, read from JSON and written to it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from testbed.control.fields import Fields
from testbed.control.p2mp.graph import Pair
from testbed.control.p2mp.plans import MODES
from testbed.control.p2mp.trees import ALGORITHMS
from testbed.control.replication import FlowKey, Policy, PolicyId

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CandidatePath:
    """How a tree is found. The path with the highest preference that gives one is in use; the others stand by."""

    preference: int = 100
    algorithm: str = "spt"
    exclude: frozenset[Pair] = frozenset()
    disjoint_from: int | None = None

    def json(self) -> Json:
        pairs = sorted(sorted(str(router) for router in pair) for pair in self.exclude)
        return {
            "preference": self.preference,
            "algorithm": self.algorithm,
            "exclude": pairs,
            "disjoint_from": self.disjoint_from,
        }

    @classmethod
    def read(cls, fields: Fields) -> CandidatePath:
        exclude = []
        for place, pair in enumerate(fields.items("exclude")):
            try:
                one, other = (IPv4Address(router) for router in pair)
                exclude.append(frozenset((one, other)))
            except (ValueError, TypeError):
                fields.problems.append(f"{fields.where}.exclude[{place}] is {pair!r:.60}, and should be two router ids")
        return cls(
            fields.number("preference", 0, (1 << 32) - 1),
            fields.choice("algorithm", sorted(ALGORITHMS)),
            frozenset(exclude),
            fields.number_or_none("disjoint_from", 0, (1 << 32) - 1),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A policy as it is wanted. `paths` have the highest preference first."""

    id: PolicyId
    leaves: frozenset[IPv4Address]
    flows: tuple[FlowKey, ...]
    paths: tuple[CandidatePath, ...] = (CandidatePath(),)
    branches: str = "pinned"

    def row(self, active: int | None) -> Policy:
        """What the root's agent is told, and what a restarted controller reads."""
        paths = tuple(path.json() | {"branches": self.branches} for path in self.paths)
        return Policy(self.id, active, self.flows, tuple(sorted(self.leaves)), paths)

    @classmethod
    def read(cls, command: Json) -> Request:
        """Raises ValueError that says everything that is wrong."""
        problems: list[str] = []
        fields = Fields({key: value for key, value in command.items() if key not in ("op", "seq")}, "", problems)
        policy_id = PolicyId.read(fields)
        leaves = fields.addresses("leaves")
        flows = tuple((each.address_or_none("source"), each.group("group")) for each in fields.objects("flows"))
        paths = tuple(CandidatePath.read(each) for each in fields.objects("candidate_paths")) or (CandidatePath(),)
        branches = fields.choice("branches", MODES) if "branches" in command else MODES[0]
        fields.close()
        if policy_id.root in leaves:
            problems.append(f"leaves: {policy_id.root} is the root itself")
        problems += _wrong_paths(paths)
        if problems:
            raise ValueError("; ".join(problems))
        return cls(policy_id, frozenset(leaves), flows, _sorted(paths), branches)

    @classmethod
    def of_row(cls, row: Policy) -> Request:
        """What `row` was made of; defaults where its candidate paths are not such as we make."""
        problems: list[str] = []
        paths, branches = [], MODES[0]
        for each in row.candidate_paths:
            fields = Fields(each, "", problems)
            branches = fields.choice("branches", MODES)
            paths.append(CandidatePath.read(fields))
        if problems or not paths or _wrong_paths(tuple(paths)):
            paths = [CandidatePath()]
        return cls(row.id, frozenset(row.leaves) - {row.id.root}, row.flows, _sorted(tuple(paths)), branches)


def _sorted(paths: tuple[CandidatePath, ...]) -> tuple[CandidatePath, ...]:
    return tuple(sorted(paths, key=lambda path: -path.preference))


def _wrong_paths(paths: tuple[CandidatePath, ...]) -> list[str]:
    problems = []
    preferences = [path.preference for path in paths]
    if len({*preferences}) < len(preferences):
        problems.append("candidate_paths: two have the same preference")
    for path in paths:
        if path.disjoint_from is not None and path.disjoint_from not in preferences:
            problems.append(f"candidate_paths: disjoint_from {path.disjoint_from} is no path's preference")
        elif path.disjoint_from is not None and path.disjoint_from <= path.preference:
            problems.append(f"candidate_paths: {path.preference} is disjoint_from one that is not preferred to it")
    return problems
