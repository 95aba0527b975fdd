"""Bundles: written so that a kill loses next to nothing, read back exactly, refused with everything wrong at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sample_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.bundle import MANIFEST, BundleWriter, read_bundle, read_bundles, run_id, worst
from testbed.errors import Interrupted, RequestError
from testbed.record import SCHEMA_VERSION, Event, LinkResult, Outage, Run, SiteResult
from testbed.serial import decode, encode

texts = st.text(max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**62)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
details = st.dictionaries(texts, json_values, max_size=3)
outages = st.builds(Outage, floats, floats, counts, counts, texts)
sites = st.builds(
    SiteResult, name=texts, site=texts, sync=texts, delivered=st.booleans(), verified_bytes=counts,
    expected_bytes=counts, first_byte_s=st.none() | floats, delivery_s=st.none() | floats, reason=texts,
    outages=st.lists(outages, max_size=2).map(tuple), probes_received=counts, probes_lost=counts, duplicates=counts,
    curve=st.lists(st.tuples(floats, counts), max_size=3).map(tuple),
)  # fmt: skip
links = st.builds(LinkResult, texts, texts, texts, counts, counts, counts, counts, st.booleans())
numbers = st.dictionaries(texts, st.dictionaries(texts, counts, max_size=2), max_size=2)
runs = st.builds(
    Run, scheme=texts, repetition=counts, seed=st.integers(), reason=texts, zero=floats,
    outcome=st.sampled_from(["passed", "failed", "unsupported", "invalid", "interrupted"]),
    sites=st.lists(sites, max_size=2).map(tuple), links=st.lists(links, max_size=2).map(tuple), state=numbers,
    control=numbers, stages=st.lists(details, max_size=2).map(tuple), fidelity=details,
    bringup=st.dictionaries(texts, floats, max_size=2),
)  # fmt: skip
events = st.builds(Event, t=floats, run=texts, kind=texts, node=texts, detail=details)


@settings(deadline=None)
@given(runs | events)
def test_records_survive_json_exactly(record: Run | Event) -> None:
    text = json.dumps(encode(record), ensure_ascii=False, allow_nan=False)
    assert decode(type(record), json.loads(text)) == record


@settings(deadline=None, max_examples=20)
@given(st.lists(runs, max_size=3), st.lists(events, max_size=4))
def test_a_bundle_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, some_runs: list[Run], some_events: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("bundle")
    with BundleWriter(path) as writer:
        writer.write_scenario({"name": "x"})
        for event in some_events:
            writer.event(event)
        for run in some_runs:
            writer.add_run(run)
    bundle = read_bundle(path)
    assert bundle.runs == tuple(some_runs)
    assert bundle.events == tuple(sorted(some_events, key=lambda e: e.t))
    assert not bundle.truncated


def test_numbers_that_json_lacks_become_null() -> None:
    event = Event(1.0, "r", "log", detail={"x": float("nan"), "path": Path("/a"), "t": (1, float("inf"))})
    assert encode(event)["detail"] == {"x": None, "path": "/a", "t": [1, None]}


def test_a_later_versions_extra_keys_are_left_out_and_defaults_filled_in() -> None:
    value = {"t": 1, "run": "a-1", "kind": "log", "from_the_future": [1]}
    assert decode(Event, value) == Event(1.0, "a-1", "log")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "splendid"}, "outcome: 'splendid' is not one of passed, failed"),
        ({"sites": [{"name": "a"}]}, "sites[0]: site is missing"),
        ({"repetition": "1"}, "repetition: '1' is not int"),
        ({"repetition": True}, "repetition: True is not int"),
        ({"sites": 4}, "sites: 4 is not tuple"),
        ({"bringup": {"igp_s": None}}, "bringup.igp_s: None is not float"),
    ],
)
def test_what_is_wrong_with_a_record_says_where(changes: dict[str, Any], message: str) -> None:
    value = encode(sample_bundle.run("pim-ssm", 1)) | changes
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        decode(Run, value)
    assert message in str(caught.value)


def test_the_sample_comes_back(tmp_path: Path) -> None:
    bundle = read_bundle(sample_bundle.write(tmp_path / "b", repetitions=2))
    assert [run_id(r) for r in bundle.runs] == ["pim-ssm-1", "pim-ssm-2", "pim-sm-1", "pim-sm-2"]
    assert bundle.runs[0] == sample_bundle.run("pim-ssm", 1)
    assert bundle.manifest["outcome"] == "passed"
    assert bundle.manifest["schema_version"] == SCHEMA_VERSION
    assert bundle.scenario == sample_bundle.scenario(repetitions=2)
    assert not bundle.interrupted
    assert bundle.unfinished_runs == ()


def test_a_cut_off_last_event_is_left_out_and_said(tmp_path: Path) -> None:
    path = sample_bundle.write(tmp_path / "b")
    whole = read_bundle(path).events
    with (path / "events.jsonl").open("ab") as file:
        file.write(b'{"t": 6000.0, "run": "pim-s')
    bundle = read_bundle(path)
    assert bundle.truncated
    assert bundle.events == whole


_KILLED = """
import os, sys
from testbed.bundle import BundleWriter
from testbed.record import Event
writer = BundleWriter(sys.argv[1])
writer.write_scenario({"name": "x"})
for n in range(int(sys.argv[2])):
    writer.event(Event(float(n), "pim-ssm-1", "log", detail={"text": str(n)}))
os.kill(os.getpid(), 9)
"""


def test_kill_minus_9_loses_no_event_and_leaves_a_bundle_to_read(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "b"), "50"], check=False)
    assert done.returncode == -signal.SIGKILL
    bundle = read_bundle(tmp_path / "b")
    assert [e.t for e in bundle.events] == list(range(50))
    assert bundle.interrupted
    assert bundle.runs == ()
    assert bundle.unfinished_runs == ("pim-ssm-1",)


def test_events_of_several_threads_keep_to_their_lines(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.write_scenario({})

        def write(name: str) -> None:
            for n in range(200):
                writer.event(Event(float(n), name, "log", detail={"text": "x" * 300}))

        threads = [threading.Thread(target=write, args=(f"run-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_bundle(tmp_path / "b").events) == 800


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(KeyboardInterrupt, "interrupted"), (Interrupted, "interrupted"), (ZeroDivisionError, "failed")],
)
def test_an_error_finishes_the_bundle_and_goes_on(tmp_path: Path, error: type[BaseException], outcome: str) -> None:
    def fail() -> None:
        with BundleWriter(tmp_path / "b") as writer:
            writer.write_scenario({})
            writer.add_run(sample_bundle.run("pim-ssm", 1))
            raise error

    with pytest.raises(error):
        fail()
    bundle = read_bundle(tmp_path / "b")
    assert bundle.manifest["outcome"] == outcome
    assert bundle.interrupted == (outcome == "interrupted")
    assert len(bundle.runs) == 1


def test_finish_says_the_last_word_and_the_manifest_grows(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.write_scenario({})
        writer.write_manifest({"seed": 1, "outcome": "passed", "schema_version": 99})
        assert json.loads((tmp_path / "b" / MANIFEST).read_text())["outcome"] == "running"
        writer.write_manifest({"flags": ["x"]})
        writer.add_run(sample_bundle.run("pim-ssm", 1))
        writer.finish("unsupported")
    expected = {"schema_version": SCHEMA_VERSION, "outcome": "unsupported", "seed": 1, "flags": ["x"]}
    assert read_bundle(tmp_path / "b").manifest == expected


def test_worst() -> None:
    assert worst(["passed", "unsupported", "passed"]) == "unsupported"
    assert worst(["invalid", "failed"]) == "failed"
    assert worst(["interrupted", "failed"]) == "interrupted"
    assert worst([]) == "failed"


def test_nothing_temporary_stays_behind(tmp_path: Path) -> None:
    path = sample_bundle.write(tmp_path / "b")
    assert sorted(os.listdir(path)) == ["events.jsonl", "manifest.json", "runs.json", "scenario.yaml"]


def test_a_bundle_is_not_written_over(tmp_path: Path) -> None:
    path = sample_bundle.write(tmp_path / "b")
    with pytest.raises(RequestError, match="holds a bundle already"):
        BundleWriter(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot make the directory"):
        BundleWriter(tmp_path / "file")


def test_everything_wrong_with_all_bundles_comes_at_once(tmp_path: Path) -> None:
    newer = sample_bundle.write(tmp_path / "newer")
    (newer / MANIFEST).write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    broken = sample_bundle.write(tmp_path / "broken")
    lines = (broken / "events.jsonl").read_text().splitlines(keepends=True)
    lines[3] = "{oops\n"
    (broken / "events.jsonl").write_text("".join(lines))
    raw = json.loads((broken / "runs.json").read_text())
    raw[1]["outcome"] = "splendid"
    (broken / "runs.json").write_text(json.dumps(raw))
    (broken / "scenario.yaml").unlink()
    (tmp_path / "empty").mkdir()
    fine = sample_bundle.write(tmp_path / "fine")

    with pytest.raises(RequestError) as caught:
        read_bundles([newer, fine, broken, tmp_path / "empty", tmp_path / "nowhere"])
    said = [str(p) for p in caught.value.problems]
    assert len(said) == 6
    assert all(p.hint for p in caught.value.problems)
    assert f"has schema version {SCHEMA_VERSION + 1}" in said[0]
    assert "update the testbed" in said[0]
    assert "scenario.yaml: is missing" in said[1]
    assert "runs.json[1]: outcome: 'splendid'" in said[2]
    assert "events.jsonl:4: is not an event" in said[3]
    assert "is not a bundle" in said[4]
    assert "no such directory" in said[5]


@pytest.mark.parametrize(("name", "text"), [("runs.json", "{}"), ("runs.json", "["), ("scenario.yaml", "- a"),
                                            ("scenario.yaml", "a: [")])  # fmt: skip
def test_damaged_documents_are_named(tmp_path: Path, name: str, text: str) -> None:
    path = sample_bundle.write(tmp_path / "b")
    (path / name).write_text(text)
    with pytest.raises(RequestError, match=name.replace(".", r"\.")):
        read_bundle(path)


def test_runs_of_one_scheme_with_other_options_have_folders_of_their_own(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "bundle") as bundle:
        folders = [bundle.run_dir(run) for run in ("bier-1", "bier:bsl=64,ways=2-1", "bier:bsl=64,ways=4-1")]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and not set(folder.name) & set(":,") for folder in folders)
