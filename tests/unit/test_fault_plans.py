"""Plans of faults: drawn from a seed and the same again, never two on one target, all of them over at the end; what an
action is asked for; the board that carries them out, on a lab that only takes notes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from testbed.errors import LabError, RequestError
from testbed.plan.build import make_plan
from testbed.plan.fault_plan import settle
from testbed.plan.paths import DirectedLink, ideal_tree, sites_behind
from testbed.record import Event, Run
from testbed.report.figures import fault_windows
from testbed.run.counters import Counters, Snapshot
from testbed.run.faults import ACTIONS, Action
from testbed.run.faults.board import Board
from testbed.run.faults.direction import sender
from testbed.run.faults.resolve import NoTarget, Scene, impairable
from testbed.run.timeline import Timeline
from testbed.run.tree import grown, sites_by_link, sites_by_router
from testbed.spec.check_faults import claimed, length
from testbed.spec.check_scenario import Known
from testbed.spec.dump import dump_scenario, dump_timeline
from testbed.spec.fault_claims import Claim, claim, members
from testbed.spec.faults import LINK_ROLES, NODE_ROLES, Fault, Target
from testbed.spec.load import Overrides, load_scenario, load_topology
from testbed.spec.scenario import Scenario

RING = load_topology("ring")
PLAN = make_plan(RING)
BIG = load_topology("gpu-clouds-8")
KNOWN = Known({"pim-ssm"}, {"uftp"}, ACTIONS)

DRAWN: list[dict[str, Any]] = [
    {"action": "cut", "target": {"role": "any-link"}, "weight": 2},
    {"action": "cut", "target": {"role": "core-link", "pick": 2}},
    {"action": "flap", "target": {"role": "site-link"}, "period": "200ms", "count": 4},
    {"action": "crash", "target": {"role": "core-router"}},
    {"action": "kill", "target": {"daemon": {"role": "site-router", "name": "ospfd", "pick": "all"}}},
    {"action": "degrade", "target": {"role": "repository-link"}, "loss": "2%"},
    {"action": "drop", "target": {"role": "rp"}, "messages": "pim", "probability": "10%"},
    {"action": "silent", "target": {"most_sites": "link"}},
]
TIMES = st.one_of(
    st.floats(0.01, 5).map(lambda mean: {"exponential": mean}),
    st.tuples(st.floats(0, 5), st.floats(0.01, 5)).map(lambda two: {"uniform": sorted(two)}),
    st.floats(0.01, 5).map(lambda fixed: {"fixed": fixed}),
)


def scenario(**fields: Any) -> Scenario:
    return Scenario.model_validate({"name": "x", "topology": RING, "schemes": ["pim-ssm"], **fields})


def fault(action: str = "cut", target: Mapping[str, Any] | None = None, **fields: Any) -> Fault:
    return Fault.model_validate({"at": 0, "action": action, "target": target or {"link": "r1-r2"}, **fields})


@settings(max_examples=60)
@given(st.integers(), st.integers(1, 40), TIMES, TIMES, st.lists(st.sampled_from(DRAWN), min_size=1, max_size=8))
def test_a_plan_follows_from_its_seed_and_leaves_nothing(
    seed: int, count: int, gap: Any, duration: Any, actions: list[dict[str, Any]]
) -> None:
    asked = scenario(
        seed=seed,
        transport={"patience": "10min"},
        random_faults=[{"count": count, "gap": gap, "duration": duration, "actions": actions}],
    )
    plan = settle(asked, PLAN, ACTIONS)
    assert plan == settle(Scenario.model_validate(asked.model_dump()), PLAN, ACTIONS)
    assert not plan.random_faults
    assert len(plan.timeline) >= count
    over: list[tuple[float, Fault]] = []
    for each in plan.timeline:
        lasts = length(each, ACTIONS)
        assert lasts is not None
        assert lasts > 0
        for end, other in over:
            meets = claimed(each, RING, ACTIONS).shared(claimed(other, RING, ACTIONS))
            assert not meets or end < each.at or end == pytest.approx(each.at, abs=1e-9)
        over.append((each.at + lasts, each))


def test_a_settled_scenario_is_settled() -> None:
    plan = settle(scenario(random_faults=[{"count": 20, "actions": DRAWN}], seed=3), PLAN, ACTIONS)
    assert settle(plan, PLAN, ACTIONS) == plan
    other = settle(scenario(random_faults=[{"count": 20, "actions": DRAWN}], seed=4), PLAN, ACTIONS)
    assert other.timeline != plan.timeline


def test_what_is_added_to_one_plan_changes_no_other() -> None:
    plan = {"count": 5, "actions": DRAWN[:1]}
    alone = settle(scenario(random_faults=[plan]), PLAN, ACTIONS).timeline
    later = {"count": 5, "start": "1h", "actions": DRAWN[:4]}
    both = settle(scenario(random_faults=[plan, later]), PLAN, ACTIONS).timeline
    assert both[:5] == alone


def test_a_plan_reads_back_from_both_forms_of_its_file(tmp_path: Path) -> None:
    plan = settle(scenario(random_faults=[{"count": 12, "actions": DRAWN}]), PLAN, ACTIONS)
    (tmp_path / "s.yaml").write_text(dump_scenario(plan))
    assert load_scenario(str(tmp_path / "s.yaml"), known=KNOWN) == plan
    asked = scenario(random_faults=[{"count": 12, "actions": DRAWN, "gap": "2s"}])
    (tmp_path / "t.yaml").write_text(dump_scenario(asked))
    assert load_scenario(str(tmp_path / "t.yaml"), known=KNOWN) == asked
    (tmp_path / "timeline.yaml").write_text(dump_timeline(plan.timeline))
    again = load_scenario(
        str(tmp_path / "t.yaml"), overrides=Overrides(timeline=str(tmp_path / "timeline.yaml")), known=KNOWN
    )
    assert again.timeline == plan.timeline
    assert again.random_faults == ()


def test_a_wrong_timeline_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(dump_scenario(scenario()))

    def told(text: str | None) -> str:
        path = tmp_path / "timeline.yaml"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(RequestError) as caught:
            load_scenario(str(tmp_path / "s.yaml"), overrides=Overrides(timeline=str(path)), known=KNOWN)
        return str(caught.value)

    assert "cannot read" in told(None)
    assert "there is no timeline in it" in told("faults: []")
    wrong = told("timeline:\n- {at: 1s, action: cut, target: {link: r1-r2}, duration: soon}\n- {action: cut}\n")
    assert "timeline.yaml:2" in wrong
    assert "'at' is missing" in wrong
    assert "there is no link" in told("timeline:\n- {at: 1s, action: cut, target: {link: r1-r9}, duration: 1s}\n")


def test_faults_that_were_drawn_onto_each_other_are_refused() -> None:
    everything = [{"at": "1s", "action": "cut", "target": {"role": "any-link", "pick": "all"}, "duration": "5s"}]
    asked = scenario(timeline=everything, random_faults=[{"count": 1, "gap": "2s", "actions": DRAWN[:1]}])
    with pytest.raises(RequestError, match=r"random_faults\[0\]: link .* while a fault of timeline\[0\]"):
        settle(asked, PLAN, ACTIONS)


def test_a_fault_without_an_end_claims_its_target_for_good() -> None:
    cut = {"action": "cut", "target": {"link": "r1-r2"}}
    with pytest.raises(RequestError, match="still lasts"):
        settle(scenario(timeline=[{"at": "1s", **cut}, {"at": "1h", **cut, "duration": "1s"}]), PLAN, ACTIONS)


def test_roles_are_who_they_say() -> None:
    assert members(RING, "core-link") == ("r1-r2", "r2-r3", "r3-r4", "r4-r1")
    assert members(RING, "site-link") == ("r2-s1", "r3-s2", "r4-s3")
    assert members(RING, "repository-link") == ("repo-r1",)
    assert len(members(RING, "any-link")) == len(RING.links)
    assert members(RING, "core-router") == ("r1", "r2", "r3", "r4")
    assert members(RING, "site-router") == ("s1", "s2", "s3")
    assert members(RING, "repository-router") == ("repo",)
    assert members(RING, "rp") == ("r2",)
    for role in (*LINK_ROLES, *NODE_ROLES):
        if role != "controller":
            assert members(BIG, role) or role == "rp", role


def test_the_rp_is_the_plans_where_the_topology_does_not_say() -> None:
    plan = make_plan(BIG)
    asked = scenario(topology=BIG, timeline=[{"at": 0, "action": "crash", "target": {"role": "rp"}, "duration": 1}])
    assert settle(asked, plan, ACTIONS).timeline[0].target.node == plan.rp


def test_a_node_that_loses_messages_leaves_its_links_to_other_faults() -> None:
    drop = Fault(at=0, action="drop", target=Target(nodes=("r1",)), parameters={"messages": "pim"})
    lost = claimed(drop, RING, ACTIONS)
    assert lost.shared(claim(RING, ["r1-r2"], ())) == ""
    assert lost.shared(claim(RING, (), ["r1"], ["pimd"])) == ""
    assert lost.shared(claim(RING, (), ["r1"])) == "node r1"
    assert lost.shared(lost) == "pim of r1"


def test_a_node_is_claimed_with_its_links_and_a_daemon_alone() -> None:
    node = claim(RING, (), ["r1"])
    assert node.shared(claim(RING, ["r2-r1"], ())) == "link r1-r2"
    assert node.shared(claim(RING, (), ["r1"], ["ospfd"])) == "node r1"
    assert claim(RING, (), ["r1"], ["ospfd"]).shared(node) == "node r1"
    assert claim(RING, (), ["r1"], ["ospfd"]).shared(claim(RING, (), ["r1"], ["pimd"])) == ""
    assert claim(RING, (), ["r1"], ["ospfd"]).shared(claim(RING, (), ["r1"], ["ospfd"])) == "ospfd of r1"
    assert not node.shared(claim(RING, ["r2-r3"], ()))


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
def test_what_an_action_does_ends_where_it_says(action: Action[Any]) -> None:
    """Every action's beats are in order, begin at 0 with a fault, and end at its length with a restoration."""
    given_ = {"degrade": {"loss": 0.1}, "drop": {"messages": "pim"}}.get(action.name, {})
    parameters = action.parameters.model_validate(given_)
    for duration in (3.0, None):
        try:
            ends = action.length(parameters, duration)
        except ValueError:
            continue
        beats = action.beats(parameters, duration)
        assert [beat.after for beat in beats] == sorted(beat.after for beat in beats)
        assert (beats[0].after, beats[0].kind) == (0, "fault")
        if ends is None:
            assert all(beat.kind == "fault" for beat in beats)
        else:
            assert beats[-1].after == pytest.approx(ends)
            assert beats[-1].kind == "fault-restored"
            kinds = [beat.kind for beat in beats]
            assert kinds.count("fault") == kinds.count("fault-restored")


def test_a_target_is_one_thing() -> None:
    for wrong in ({}, {"link": "a-b", "node": "a"}, {"link": "a-b", "pick": 2}, {"daemon": {"name": "ospfd"}}):
        with pytest.raises(ValidationError):
            Target.model_validate(wrong)
    kinds = {
        "link": [{"link": "a-b"}, {"links": ["a-b"]}, {"role": "core-link"}, {"busiest_link": True}],
        "node": [{"node": "a"}, {"nodes": ["a"]}, {"role": "rp"}, {"most_sites": "router"}],
        "daemon": [{"daemon": {"name": "controller"}}, {"daemon": {"name": "pimd", "role": "rp", "pick": "all"}}],
    }
    for kind, targets in kinds.items():
        for target in targets:
            assert Target.model_validate(target).kind == kind


def test_an_engine_is_wanted_for_what_the_kernels_shapers_do_not_do() -> None:
    loss = fault("degrade", {"link": "r2-r1"}, loss=0.1)
    assert impairable(PLAN, [fault(), fault("degrade", rate="10Mbit")]) == frozenset()
    assert impairable(PLAN, [fault(), loss]) == {"r1-r2"}
    somewhere = fault("degrade", {"most_sites": "link"}, delay="5ms")
    assert impairable(PLAN, [somewhere]) == {name for name, link in PLAN.links.items() if not link.is_lan}


def test_one_way_is_the_models_unless_said() -> None:
    assert sender(PLAN, "r4-r1", None) == "r1"
    assert sender(PLAN, "r4-r1", "r1") == "r4"
    assert sender(PLAN, "repo-r1", None) == "repo"
    with pytest.raises(RequestError, match="its ends are r4 and r1"):
        sender(PLAN, "r4-r1", "r2")


def test_sites_are_counted_behind_the_links_of_a_tree() -> None:
    hosts = [host.name for site in PLAN.sites for host in PLAN.destinations(site.name, "storage")]
    tree = ideal_tree(PLAN, PLAN.repository, hosts)
    assert sites_by_link(PLAN, tree, hosts) == sites_behind(PLAN, hosts)
    assert sites_by_router(PLAN, tree, hosts) == {"r1": 3, "r2": 2, "r3": 1, "r4": 1}
    # What the repository's router does not lead to carries nobody; a loop ends.
    assert sites_by_link(PLAN, [hop for hop in tree if hop.link != "repo-r1"], hosts) == {}
    loop = [*tree, DirectedLink("r1-r2", "r2", "r1")]
    assert sites_by_link(PLAN, loop, hosts)["repo-r1"] == 3


def test_what_grew_like_a_model_is_where_the_tree_runs() -> None:
    def snapshot(**sizes: int) -> Snapshot:
        counted = {
            ("repo-r1", "repo"): sizes["model"],
            ("r1-r2", "r1"): sizes["model"],
            ("r1-r2", "r2"): sizes["hellos"],
            ("r4-r1", "r4"): 0,
        }
        return Snapshot(0.0, {key: Counters(size, 0, 0, 0, 0) for key, size in counted.items()})

    before, after = snapshot(model=10**6, hellos=5000), snapshot(model=9 * 10**6, hellos=9000)
    assert grown(before, after, PLAN) == {DirectedLink("repo-r1", "repo", "r1"), DirectedLink("r1-r2", "r1", "r2")}
    assert grown(before, before, PLAN) == frozenset()


class Notes:
    """Looks like a lab to the actions, and takes notes of what they do to it."""

    def __init__(self, fail: str = "") -> None:
        self.plan, self.calls, self.fail = PLAN, [], fail
        self.lock = threading.Lock()

    def daemon_names(self, node: str) -> tuple[str, ...]:
        return ("zebra", "ospfd", *(("mcfwd", "bier-agent") if node == "r1" else ()))

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> None:
            with self.lock:
                self.calls.append((name, *arguments))
            if name == self.fail:
                raise LabError(f"{name} failed")

        return call


def scene_of(lab: Any) -> Scene:
    return Scene(lab, SimpleNamespace(name="none"))  # type: ignore[arg-type]


def board_of(lab: Notes, events: list[Any]) -> Board:
    return Board(scene_of(lab), lambda *event: events.append(event))


def begin(board: Board, asked: Fault, *, wait: bool = False) -> tuple[int, Any]:
    found, how = board.find(asked)
    number = board.admit(asked, found, how, wait=wait)
    return number, board.begin(number)


def test_a_fault_is_done_and_undone_once() -> None:
    lab, events = Notes(), []
    board = board_of(lab, events)
    number, rest = begin(board, fault(duration=3600))
    with pytest.raises(NoTarget, match="is under fault 1"):
        begin(board, fault("crash", {"node": "r1"}))
    waiting = threading.Thread(target=board.go_on, args=(number, rest))
    waiting.start()
    assert board.undo(number)["text"] == "cut r1-r2"
    waiting.join()
    assert lab.calls == [("cut", "r1-r2"), ("restore", "r1-r2")]
    assert [kind for _, kind, _ in events] == ["fault", "fault-restored"]
    assert board.in_effect() == []
    with pytest.raises(NoTarget):
        board.undo(number)
    begin(board, fault("crash", {"node": "r1"}))  # its links are free


@pytest.mark.parametrize(
    ("action", "target", "without"),
    [
        ("silent", {"link": "r1-r2"}, ["r1-r2"]),
        ("crash", {"node": "r3"}, ["r2-r3", "r3-r4", "r3-s2"]),
        ("partition", {"nodes": ["r3", "s2"]}, ["r2-r3", "r3-r4"]),
        ("degrade", {"link": "r1-r2"}, []),
    ],
)
def test_an_event_says_what_the_igp_has_to_do_without(
    action: str, target: dict[str, Any], without: list[str]
) -> None:
    events: list[Any] = []
    board = board_of(Notes(), events)
    number, _ = begin(board, fault(action, target, **({"loss": 0.1} if action == "degrade" else {})))
    board.undo(number)
    assert [said["without"] for _, _, said in events] == [without, []]


def test_a_fault_that_fails_is_taken_back() -> None:
    lab = Notes(fail="cut")
    board = board_of(lab, [])
    with pytest.raises(LabError, match="cut failed"):
        begin(board, fault())
    assert lab.calls == [("cut", "r1-r2"), ("restore", "r1-r2")]
    assert board.in_effect() == []


def test_a_timeline_waits_for_the_fault_before_it() -> None:
    """A router that takes long to come back is not hit again before it is there."""
    lab, events = Notes(), []
    faults = [fault(at=0, duration=0.05), fault("silent", at=0.01, duration=0.05)]
    timeline = Timeline(scene_of(lab), faults, lambda *event: events.append(event))
    timeline.start(time.monotonic())
    while not timeline.done:
        time.sleep(0.001)
    assert timeline.error is None
    assert [call[0] for call in lab.calls] == ["cut", "restore", "silence", "unsilence"]
    assert [kind for _, kind, _ in events] == ["fault", "fault-restored"] * 2
    assert timeline.touched == ("r1-r2",)
    assert timeline.resolved == tuple(faults)


def test_a_timeline_that_is_stopped_leaves_what_lasts_and_nobody_waiting() -> None:
    lab, events = Notes(), []
    faults = [fault(at=0, duration=3600), fault("silent", at=0.0, duration=1), fault(at=3600)]
    timeline = Timeline(scene_of(lab), faults, lambda *event: events.append(event))
    timeline.start(time.monotonic())
    while not lab.calls:
        time.sleep(0.001)
    timeline.stop()
    assert timeline.done
    assert len(lab.calls) == 1


def test_a_fault_that_nothing_here_fits_is_skipped_and_told() -> None:
    lab, events = Notes(), []
    faults = [
        fault("kill", {"daemon": {"name": "pimd", "node": "r1"}}, at=0, duration=0.01),
        fault("kill", {"daemon": {"name": "controller"}}, at=0.01, duration=0.01),
        fault("kill", {"daemon": {"name": "agent", "node": "r1"}}, at=0.02, duration=0.01),
        fault("kill", {"daemon": {"name": "forwarder", "node": "r1"}}, at=0.04, duration=0.01),
    ]
    lab.nodes = {"r1": None}  # type: ignore[attr-defined]
    timeline = Timeline(scene_of(lab), faults, lambda *event: events.append(event))
    timeline.start(time.monotonic())
    while not timeline.done:
        time.sleep(0.001)
    assert timeline.error is None
    assert [said["text"] for _, kind, said in events if kind == "fault-skipped"] == [
        "kill pimd of r1",
        "kill controller",
    ]
    assert "no pimd on r1; there: zebra, ospfd, mcfwd, bier-agent" in timeline.skipped[0]
    assert "no controller" in timeline.skipped[1]
    assert [call for call in lab.calls if call[0] == "kill_daemon"] == [
        ("kill_daemon", "r1", "bier-agent"),
        ("kill_daemon", "r1", "mcfwd"),
    ]


def test_an_error_ends_the_timeline_and_is_told() -> None:
    lab = Notes(fail="cut")
    timeline = Timeline(scene_of(lab), [fault(), fault(at=3600)], lambda *_: None)
    timeline.start(time.monotonic())
    while not timeline.done:
        time.sleep(0.001)
    assert "cut failed" in str(timeline.error)


def test_a_report_pairs_a_faults_beginnings_and_ends() -> None:
    lab, events = Notes(), []
    board = board_of(lab, events)
    number, rest = begin(board, fault("flap", period=0.002, count=2))
    board.go_on(number, rest)
    other, _ = begin(board, fault("cut", {"link": "r2-r3"}))
    told = [Event(t, "x-1", kind, "", said) for t, kind, said in events]
    run = Run(scheme="x", repetition=1, seed=1, outcome="passed", zero=told[0].t)
    windows = fault_windows(told, run)
    assert [window.label for window in windows] == ["flap r1-r2", "flap r1-r2", "cut r2-r3"]
    assert [window.end_s is not None for window in windows] == [True, True, False]
    assert other == number + 1


def test_an_event_says_what_was_asked_and_what_was_hit() -> None:
    board_events: list[Any] = []
    lab = Notes()
    board = board_of(lab, board_events)
    begin(board, fault("degrade", {"link": "r2-r1"}, rate="10Mbit", towards="r2"))
    (_, kind, said) = board_events[0]
    assert kind == "fault"
    assert said == {
        "id": 1,
        "action": "degrade",
        "text": "degrade r1-r2",
        "target": "r2-r1",
        "links": ["r1-r2"],
        "nodes": [],
        "parameters": {"rate": 10_000_000, "towards": "r2"},
        "without": [],
    }


def test_all_of_frr_comes_back_with_a_killed_zebra_and_none_of_it_is_started_twice() -> None:
    def killed(daemon: str) -> Claim:
        target = Target.model_validate({"daemon": {"node": "r1", "name": daemon}})
        return claimed(Fault(at=0, action="kill", target=target), RING, ACTIONS)

    assert killed("zebra").shared(killed("pimd")) == "pimd of r1"
    assert killed("ospfd").shared(killed("zebra")) == "ospfd of r1"
    assert killed("zebra").shared(killed("agent")) == ""
    assert killed("ospfd").shared(killed("pimd")) == ""
