"""Programs for a replication agent: what is read, what is refused and in which words, what a router then holds."""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replication_net import Agent, config, loopback, nodes

from testbed.control.program import Refused
from testbed.control.replication_state import LONGEST, Journal, Memory
from testbed.control.sr_nodes import SrNode


@pytest.fixture
def agent() -> Agent:
    """R2 of RFC 9524's figure, which knows everybody."""
    return Agent(config(2), nodes(range(1, 8)))


def pinned(node: int, link: int | None = None, sid: int = 7) -> dict[str, Any]:
    """A branch at R2."""
    link = node if link is None else link
    return {"node": str(loopback(node)), "sid": sid, "mode": "pinned", "link": f"10.0.{min(2, link)}{max(2, link)}.2"}


def loose(node: int, sid: int = 7, **more: Any) -> dict[str, Any]:
    return {"node": str(loopback(node)), "sid": sid, "mode": "loose", **more}


def segment(role: str, *branches: dict[str, Any], root: int = 1, sid: Any = 7, **more: Any) -> dict[str, Any]:
    fixed = {"root": str(loopback(root)), "tree": 1, "instance": 1, "role": role, "sid": sid}
    return fixed | {"branches": list(branches)} | more


def policy(active: int | None = 1, root: int = 2, tree: int = 1, **more: Any) -> dict[str, Any]:
    flows = [{"source": "10.64.0.2", "group": "232.3.0.1"}]
    return {"root": str(loopback(root)), "tree": tree, "active": active, "flows": flows} | more


HEAD = segment("head", loose(6), pinned(4), root=2)


def test_what_is_right_is_taken(agent: Agent) -> None:
    transit = segment("bud", pinned(3), loose(7, path=[str(loopback(4))]), sid=8, instance=2)
    agent.program(segments=[HEAD, transit], policies=[policy(leaves=[str(loopback(6))], candidate_paths=[{"a": 1}])])
    assert json.loads(json.dumps(agent.held.json())) == {
        "segments": [HEAD, transit],
        "policies": [policy(leaves=["10.255.0.6"], candidate_paths=[{"a": 1}])],
    }


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ({"segments": [segment("leaf", root=2)]}, "the role leaf does not fit: the root is 10.255.0.2"),
        ({"segments": [segment("head", pinned(4))]}, "the role head does not fit: the root is 10.255.0.1"),
        ({"segments": [segment("head", root=2)]}, "a head needs a branch"),
        ({"segments": [segment("transit")]}, "a transit needs a branch"),
        ({"segments": [segment("bud")]}, "a bud needs a branch"),
        ({"segments": [segment("leaf", pinned(4))]}, "a leaf has no branches"),
        ({"segments": [segment("root")]}, r"segments\[0\].role is 'root', and should be one of head, transit, leaf, b"),
        ({"segments": [segment("leaf", sid=0)]}, r"segments\[0\].sid is 0, and should be a number from 1 to 65535"),
        ({"segments": [segment("leaf", sid=65536)]}, "sid is 65536"),
        ({"segments": [segment("leaf", sid=True)]}, "sid is True"),
        ({"segments": [segment("leaf", sid="7")]}, "sid is '7'"),
        ({"segments": [segment("leaf", sid=None)]}, "sid is missing"),
        ({"segments": [segment("leaf", mtu=9)]}, r"segments\[0\].mtu is not known here"),
        ({"segments": [segment("transit", pinned(2, 3))]}, "branch to 10.255.0.2: that is this router itself"),
        ({"segments": [segment("transit", loose(2))]}, "that is this router itself"),
        ({"segments": [segment("transit", pinned(3, 6))]}, "no link with the address 10.0.26.2"),
        ({"segments": [segment("transit", pinned(3, 4))]}, "the link 10.0.24.2 leads to 10.255.0.4"),
        ({"segments": [segment("transit", loose(9))]}, "no Node-SID or locator of 10.255.0.9 is known"),
        ({"segments": [segment("transit", loose(3, path=["10.255.0.9"]))]}, "of 10.255.0.9 is known"),
        ({"segments": [segment("transit", loose(3, path=["10.255.0.2"]))]}, "goes through this router itself"),
        ({"segments": [segment("transit", loose(3, path=7 * ["10.255.0.4"]))]}, "a path of 7 routers, 6 at most"),
        ({"segments": [segment("transit", loose(3, sid=0))]}, r"segments\[0\].branches\[0\].sid is 0"),
        ({"segments": [segment("transit", loose(3, mode="odd"))]}, "should be one of pinned, loose"),
        ({"segments": [segment("transit", loose(3), pinned(3))]}, "two branches to 10.255.0.3"),
        ({"segments": [segment("leaf"), segment("leaf", instance=2)]}, "sid 7 of several segments"),
        ({"segments": [segment("leaf"), segment("leaf")]}, "segment 10.255.0.1/1/1 is given twice"),
        ({"policies": [policy()]}, "there is no segment of its active instance 1"),
        ({"policies": [policy(None, root=1)]}, "its root is another router than 10.255.0.2"),
        ({"policies": [policy(None), policy(None, tree=2)]}, r"flow 10.64.0.2 232.3.0.1 more than once"),
        ({"policies": [policy(None), policy(None)]}, "policy 10.255.0.2/1 is given twice"),
        ({"policies": [policy(None, flows=[{"group": "10.0.0.1"}])]}, r"flows\[0\].group is '10.0.0.1', and should"),
        ({"segments": {}}, "segments is {}, and should be a list"),
        ({"segments": [7]}, r"segments\[0\] is no object"),
        ({"segment": []}, "segment is not known here"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(agent: Agent, request_: dict[str, Any], what: str) -> None:
    before = agent.held
    with pytest.raises(Refused, match=what):
        agent.program(**request_)
    assert agent.held is before


def test_all_problems_come_at_once(agent: Agent) -> None:
    with pytest.raises(Refused) as refused:
        agent.program(segments=[segment("head", pinned(3, 6), loose(9), loose(2))], policies=[policy(9, root=1)])
    assert len(refused.value.problems) == 6
    with pytest.raises(Refused) as refused:
        agent.program(segments=[{"sid": -1}], policies=[{"tree": "x"}], delete=7)
    assert len(refused.value.problems) == 8


def test_what_is_active_cannot_be_deleted(agent: Agent) -> None:
    agent.program(segments=[HEAD], policies=[policy()])
    identity = {"root": "10.255.0.2", "tree": 1, "instance": 1}
    with pytest.raises(Refused, match="no segment of its active instance 1"):
        agent.program(delete=[identity])
    agent.program(delete=[identity], policies=[policy(None)])
    assert not agent.held.segments


def test_what_is_deleted_and_given_is_new(agent: Agent) -> None:
    identity = {"root": "10.255.0.2", "tree": 1}
    agent.program(segments=[HEAD], policies=[policy()])
    request = {"delete": [identity | {"instance": 1}], "delete_policies": [identity]}
    agent.program(**request, segments=[HEAD | {"sid": 8}], policies=[policy()])
    assert [each.sid for each in agent.held.segments.values()] == [8]
    assert len(agent.held.policies) == 1


def test_a_path_is_for_labels_only() -> None:
    agent = Agent(config(2, dataplane="srv6"), nodes(range(1, 8), srv6=True))
    with pytest.raises(Refused, match="a path needs the data plane sr-mpls"):
        agent.program(segments=[segment("transit", loose(7, path=["10.255.0.4"]))])


def test_programs_are_idempotent(agent: Agent) -> None:
    request = {"segments": [HEAD], "policies": [policy()], "delete": [{"root": "10.255.0.1", "tree": 9, "instance": 9}]}
    agent.program(**request)
    agent.changes()
    before = agent.held
    agent.program(**request)
    assert agent.held == before
    assert agent.changes() == []


VALID = {
    "segments": [segment("head", loose(6, path=["10.255.0.4"]), pinned(4), root=2)],
    "delete": [{"root": "10.255.0.1", "tree": 1, "instance": 1}],
    "policies": [policy(leaves=["10.255.0.6"], candidate_paths=[{"preference": 100}])],
    "delete_policies": [{"root": "10.255.0.2", "tree": 9}],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "10.255.0.1", "head", "loose", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sid", "x"]), inner, max_size=3),
    max_leaves=5,
)


def spoilt(value: Any, at: int, by: Any) -> tuple[Any, int]:
    """The value with its part number `at`, counted from the outside in, replaced; and what is left to count."""
    if at == 0:
        return by, -1
    at -= 1
    if isinstance(value, dict):
        value = dict(value)
    elif isinstance(value, list):
        value = list(value)
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if at >= 0:
            value[key], at = spoilt(value[key], at, by)
    return value, at


@given(st.integers(1, 45), JSON)
def test_whatever_comes_is_read_or_refused(at: int, by: Any) -> None:
    request, _ = spoilt(VALID, at, by)
    with contextlib.suppress(Refused):
        Agent(config(2), nodes(range(1, 8))).program(**request)


def test_what_is_remembered_is_what_was_held(agent: Agent, tmp_path: Path) -> None:
    agent.program(segments=[HEAD], policies=[policy(candidate_paths=[{"preference": 100}])])
    known = nodes(range(1, 8)) | nodes(range(8, 9), srv6=True) | {IPv4Address("10.255.0.9"): SrNode(9, php=False)}
    path = tmp_path / "state.json"
    journal = Journal(path)
    for term in (11, 12):
        memory = Memory(agent.held, known, "controller", term)
        journal.write(memory)
        assert Memory.read(path) == memory
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    with path.open("a") as file:
        file.write(memory.line()[:-1].replace("12", "13"))  # its writer was killed here
    assert Memory.read(path) == memory


def test_the_file_of_memories_does_not_grow_for_ever(agent: Agent, tmp_path: Path) -> None:
    path, text = tmp_path / "state.json", "x" * 10_000
    journal = Journal(path)
    for term in range(2 * LONGEST // len(text)):
        journal.write(memory := Memory(agent.held, {}, text, term))
        assert path.stat().st_size <= LONGEST
        assert Memory.read(path) == memory
    journal.close()


def test_what_cannot_be_remembered_now_can_be_later(agent: Agent, tmp_path: Path) -> None:
    journal, memory = Journal(tmp_path / "folder" / "state.json"), Memory(agent.held)
    with pytest.raises(FileNotFoundError):
        journal.write(memory)
    (tmp_path / "folder").mkdir()
    journal.write(memory)
    journal.close()
    assert Memory.read(tmp_path / "folder" / "state.json") == memory


@pytest.mark.parametrize("line", ["", "{}", "[]", "7", '{"segments": [{}], "policies": []}', '{"segments": 7}', "\0"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_what_is_no_memory_is_refused(line: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(line + end)
    with pytest.raises(ValueError, match=r"."):
        Memory.read(tmp_path / "state.json")
