"""The page: complete, self-contained, escaped, the same every time."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sample_bundle

from testbed.bundle import Bundle, read_bundle, run_id
from testbed.errors import RequestError
from testbed.record import Event, Run
from testbed.report import make_html, tables_fidelity, write_report
from testbed.report.figures import series_of, studies
from testbed.report.svg import figure, render, style
from testbed.report.tables_costs import costs
from testbed.report.tables_detail import control, state
from testbed.report.tables_setup import setups
from testbed.report.tables_stages import stages_brief
from testbed.report.timeline import timelines

VOID = {"meta", "br", "hr", "img", "link", "input", "path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects ids, links, tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src", "xlink:href") and value:
                self.links.add(value)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(sample_bundle.write(tmp_path_factory.mktemp("report") / "b"))


@pytest.fixture(scope="module")
def html(sample: Bundle) -> str:
    return make_html([sample])


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    page = Page(html)
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_ids_are_unique(html: str) -> None:
    ids = Page(html).ids
    assert sorted(set(ids)) == sorted(ids)


def test_every_part_is_there(html: str) -> None:
    text = Page(html).text
    for part in (
        "quickstart", "Verdict", "Every site received the whole model", "Schemes compared", "Delivery curves", "Sites",
        "Length of every outage", "After: cut r1-r2", "After: cut r1-r2 restored", "Convergence, stage by stage",
            "Stages at each site",
        "Outages, one by one", "Bytes on each link", "Control traffic", "State", "Fidelity", "Bringing up the lab",
        "fast, BFD 3 × 300 ms", "BFD every 300 ms instead of",
        "stands for 44.3", "Threats to validity", "Method", "Provenance", "8.4.4", "events.jsonl",
    ):  # fmt: skip
        assert part in text
    assert html.count("<svg") == 7


def test_the_numbers_are_those_of_the_runs(sample: Bundle, html: str) -> None:
    text = Page(html).text
    for run in sample.runs:
        for site in run.sites:
            assert site.delivery_s is not None
            assert f"{site.delivery_s:.2f} s" in text
            for outage in site.outages:
                assert f"{outage.length_ms:.0f} ms" in text or f"{outage.length_ms:.1f} ms" in text


def test_the_same_bundle_gives_the_same_page(sample: Bundle, html: str) -> None:
    assert make_html([sample]) == html


def test_stand_in_colours_are_all_replaced(html: str) -> None:
    assert "#0a0b" not in html
    used = set(re.findall(r"var\(--(\w+)\)", html))
    defined = set(re.findall(r"--(\w+):", html))
    assert used <= defined


def test_everything_from_a_bundle_is_escaped(sample: Bundle) -> None:
    evil = '<script>alert("x")</script>&$y$'
    run = replace(sample.runs[0], scheme=evil, reason=evil, outcome="failed", control={evil: {evil: 1}},
                  state={"r1": {evil: 1}}, fidelity={evil: 1, "warnings": [evil]}, bringup={evil: 1.0},
                  stages=({"fault": evil, "site": evil, f"{evil}_ms": 1.0},),
                  sites=tuple(replace(s, site=evil + s.site, name=evil + s.name, reason=evil,
                                      outages=tuple(replace(o, cause=evil) for o in s.outages))
                              for s in sample.runs[0].sites),
                  links=tuple(replace(x, link=evil, src=evil + x.src) for x in sample.runs[0].links))  # fmt: skip
    events = (
        Event(run.zero + 10, f"{evil}-1", "fault", detail={"action": evil, "link": evil}),
        Event(run.zero + 10.01, f"{evil}-1", "route", evil),
    )
    manifest = {"flags": [evil], "versions": {evil: evil}, "note": evil}
    scenario = {**sample.scenario, "description": evil}
    page = make_html([replace(sample, runs=(run,), events=events, manifest=manifest, scenario=scenario)])
    assert "script" not in Page(page).tags
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 20


def test_what_changes_the_meaning_stands_before_the_numbers(tmp_path: Path) -> None:
    path = sample_bundle.write(
        tmp_path / "b", manifest_changes={"flags": ["impairments-ignored: delays were left out"]}
    )
    bundle = read_bundle(path)
    bundle = replace(bundle, manifest={**bundle.manifest, "outcome": "running"}, truncated=True)
    text = Page(make_html([bundle])).text
    for notice in ("NOT applied", "This run was interrupted", "was cut off and is left out"):
        assert notice in text
        assert text.index(notice) < text.index("Verdict", text.index("Comparison"))


def test_invalid_runs_are_shown_and_marked(tmp_path: Path) -> None:
    outcomes = {"pim-sm-1": "invalid", "pim-ssm-1": "failed"}
    text = Page(make_html([read_bundle(sample_bundle.write(tmp_path / "b", outcomes=outcomes))])).text
    for said in ("shown, not averaged", "every core was busy", "invalid: not counted", "Greyed: a run that does not",
                 "milan-st: no packet for 60 s"):  # fmt: skip
        assert said in text


def test_a_bundle_cut_short_before_its_first_result_still_has_a_page(sample: Bundle) -> None:
    text = Page(make_html([replace(sample, runs=())])).text
    assert "No run gave numbers that count." in text
    assert "pim-ssm-1 and pim-sm-1 began and left no result." in text


def test_a_run_that_broke_off_early_has_a_page(sample: Bundle) -> None:
    bare = replace(sample.runs[0], outcome="interrupted", sites=(), links=(), stages=(), control={}, state={},
                   fidelity={}, bringup={})  # fmt: skip
    assert "interrupted" in Page(make_html([replace(sample, runs=(bare,), events=())])).text


def test_several_bundles_side_by_side(sample: Bundle, tmp_path: Path) -> None:
    changes = {"timers": "default"}
    other = read_bundle(sample_bundle.write(tmp_path / "other", repetitions=2, scenario_changes=changes))
    html = make_html([sample, other])
    page = Page(html)
    assert sorted(set(page.ids)) == sorted(page.ids)
    assert "Where the bundles differ" in page.text
    assert "scenario: timers" in page.text
    assert "b · pim-ssm" in page.text
    assert html.count('colspan="2"') >= 2
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_bundles_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [sample_bundle.write(tmp_path / d / "b") for d in ("x", "y")]
    text = Page(make_html([read_bundle(p) for p in paths])).text
    assert str(paths[0]) in text
    assert str(paths[1]) in text


def test_where_the_report_goes(tmp_path: Path) -> None:
    one, two = sample_bundle.write(tmp_path / "one"), sample_bundle.write(tmp_path / "two")
    assert write_report([one]) == one / "report.html"
    assert write_report([str(one), two]) == tmp_path / "comparison.html"
    assert write_report([one], tmp_path / "x.html").read_text() == (one / "report.html").read_text()
    with pytest.raises(RequestError, match="cannot write the report"):
        write_report([one], tmp_path / "nowhere" / "x.html")
    with pytest.raises(RequestError, match="no bundle"):
        write_report([])


def test_a_dollar_sign_is_no_formula_and_a_picture_says_what_it_is() -> None:
    with style("x"):
        made = figure(2, 1)
        made.subplots().set_title("a$b$c")
        svg = render(made, "x", 'what "it" <is>')
    assert ">a$b$c</text>" in svg
    assert 'aria-label="what &quot;it&quot; &lt;is>"' in svg
    assert "<metadata" not in svg


def test_the_stages_tell_the_igps_repair_and_what_came_beyond(sample: Bundle) -> None:
    run = sample.runs[0]
    stages = tuple({**stage, "igp_ms": 29.9, "first_probe_ms": 27.2} for stage in run.stages)
    text = Page(make_html([replace(sample, runs=(replace(run, stages=stages),))])).text
    for said in ("IGP repaired the path", "30 ms", "none", "packets were back before its repair was seen"):
        assert said in text
    old = tuple({k: v for k, v in stage.items() if k != "igp_ms"} for stage in run.stages)
    text = Page(make_html([replace(sample, runs=(replace(run, stages=old),))])).text
    assert "Convergence, stage by stage" in text
    assert "IGP repaired the path" not in text


def test_the_stages_of_a_fault_stand_in_their_course_with_the_medians_of_the_last_site(sample: Bundle) -> None:
    def run(repetition: int, *last: float) -> Run:
        stages = tuple(
            {"fault": "cut a-b", "t": 10.0, "site": f"s{i}", "detection_ms": 1.0, "detected_by": "bfd", "lsa_ms": 3.0,
             "igp_ms": ms - 2, "route_ms": 99.0, "tree_computed_ms": 4.0, "outage_start_ms": 0.0, "first_probe_ms": ms}
            for i, ms in enumerate(last)
        )  # fmt: skip
        return replace(sample.runs[0], repetition=repetition, stages=stages)

    table = stages_brief(series_of([run(1, 10.0, 20.0), run(2, 30.0, 12.0), run(3, 40.0)]))
    rows = [[cell.text for cell in row] for row in table.rows if row]
    assert rows == [
        ["cut a-b", "Detected", "1.0 ms"],
        ["cut a-b", "LSA arrived", "3.0 ms"],
        ["cut a-b", "IGP repaired the path", "28 ms"],
        ["cut a-b", "First packet after", "30 ms"],
        ["cut a-b", "From detection to packets", "29 ms"],
        ["cut a-b", "Beyond the IGP", "2.0 ms"],
        ["cut a-b", "Tree computed", "4.0 ms"],  # a scheme's own, unknown here
    ]
    assert table.rows[0] is not None
    assert table.rows[0][2].note == "by bfd"
    assert table.rows[3] is not None
    assert table.rows[3][2].note == "20–40"


def test_state_says_at_how_many_nodes_there_is_any(sample: Bundle) -> None:
    run = replace(sample.runs[0], state={"r1": {"flows (BFIR)": 2}, "r2": {"flows (BFIR)": 0}, "r3": {}})
    (row,) = state(series_of([run])).rows
    assert row is not None
    assert (row[1].text, row[1].note) == ("2", "at 1 of 3 nodes, at most 2 at one")


def test_no_message_of_a_protocol_is_said_to_be_none(sample: Bundle) -> None:
    run = replace(sample.runs[0], control={"bier": {"messages": 0, "LSAs originated": 0}})
    rows = control(series_of([run])).rows
    assert [[cell.text for cell in row] for row in rows if row] == [["bier", "Messages", "0"]]


def test_a_timeline_has_a_lane_for_each_router_that_changed(sample: Bundle) -> None:
    ((_, svg), (_, restored)) = timelines(studies([sample])[0], "x")
    for lane in ("r1", "r2", "r4", "r5", "site warsaw", "carrier lost", "router-LSA originated", "first packet after"):
        assert f">{lane}</text>" in svg, lane
    assert ">r10</text>" in svg  # its multicast route changed
    assert ">r3</text>" not in svg
    assert "carrier back" in restored
    # What a scheme calls a stage is drawn by that name, and its other events are not.
    run = sample.runs[0]
    said = [Event(run.zero + 10.02, run_id(run), kind, "ctl") for kind in ("tree-computed", "tree-pondered")]
    stages = tuple({**stage, "tree_computed_ms": 20.0} for stage in run.stages)
    more = replace(sample, runs=(replace(run, stages=stages),), events=(*sample.events, *said))
    svg = timelines(studies([more])[0], "x")[0][1]
    assert ">ctl</text>" in svg
    assert ">tree computed</text>" in svg
    assert "pondered" not in svg


def _on_demand(scheme: str, repetition: int, times: dict[str, float | None]) -> Run:
    """Two syncs to half of the sites each: one whose times these are, and one that was set up beforehand."""
    run = sample_bundle.run(scheme, repetition)
    sites = tuple(
        replace(site, sync="cold" if site.site in times else "warm", setup_ms=times.get(site.site))
        for site in run.sites
    )
    row = {"sync": "cold", "t": run.zero, "flow_ms": 3.0 + repetition, "listening_ms": 90.0}
    return replace(run, sites=sites, setups=(row,))


def test_setting_up_on_demand_is_told_at_the_median_site_and_at_the_last() -> None:
    nobody = setups(series_of([sample_bundle.run("pim-ssm", 1)]))
    assert not nobody.rows
    fast, slow = {"milan": 10.0, "paris": 20.0, "madrid": 30.0}, {"milan": 12.0, "paris": 22.0, "madrid": 50.0}
    runs = [_on_demand("pim-ssm", 1, {**fast}), _on_demand("pim-ssm", 2, {**slow})]
    said = {row[0].text: (row[1].text, row[1].note) for row in setups(series_of(runs)).rows if row}
    assert said["Start to first packet at a site"] == ("21 ms", "10–50 ms")
    assert said["… at a sync's last site"] == ("40 ms", "30–50 ms")
    assert said["… at the last site of all"][0] == "50 ms"
    assert said["Start to flow prepared by the scheme"] == ("4.5 ms", "4.0–5.0 ms")
    assert said["Own messages in the run, hellos left out"][0] == "52"
    assert "… for each sync" not in said  # the messages of the one set up beforehand are among them
    # A site that never had a packet is no site that had one soon.
    lost = _on_demand("pim-ssm", 1, {**fast, "madrid": None})
    rows = {row[0].text: row[1].text for row in setups(series_of([lost])).rows if row}
    assert rows["Start to first packet at a site"] == "15 ms"
    assert "… at a sync's last site" not in rows


def test_what_an_outage_went_to_is_told_of_the_site_with_the_longest() -> None:
    parts = {"before_ms": 1.0, "detection_ms": 2.0, "igp_ms": 5.0, "routers_ms": 4.0, "packet_ms": 1.5,
             "controller_ms": 0.0, "distance_ms": 0.0, "held_ms": 0.0, "unexplained_ms": 0.0}  # fmt: skip
    controlled = {"controller_ms": 3.0, "distance_ms": 2.0, "held_ms": 7.0, "rounds": 4, "computing_ms": 0.4,
                  "computing_cpu_ms": 0.3}  # fmt: skip

    def run(scheme: str, *told: dict[str, float]) -> Run:
        rows = ({"fault": "cut a-b", "t": 1.0, "site": f"s{n}-st", "costs": each} for n, each in enumerate(told))
        return replace(sample_bundle.run(scheme, 1), stages=tuple(rows))

    table = costs(series_of([run("bier", parts, parts | {"igp_ms": 9.0}), run("sr-p2mp", parts | controlled, parts)]))
    told = {row[1].text: (row[2].text, row[3].text) for row in table.rows if row}
    assert told == {
        "Detection": ("2.0 ms", "2.0 ms"),
        "IGP": ("9.0 ms", "5.0 ms"),
        "Controller": ("–", "3.0 ms"),
        "Distance, of its messages": ("–", "2.0 ms"),
        "… held up on their way": ("–", "7.0 ms"),
        "Routers": ("4.0 ms", "4.0 ms"),
        "First packet's way": ("1.5 ms", "1.5 ms"),
        "Unexplained": ("0 ms", "0 ms"),
        "Outage": ("16 ms", "24 ms"),
        "… one after another": ("–", "4"),
        "… trees, wall clock": ("–", "0.4 ms"),
        "… trees, processor": ("–", "0.3 ms"),
    }
    assert not costs(series_of([sample_bundle.run("bier", 1)])).rows  # of a bundle from before


def test_what_the_emulator_was_like_is_a_table(tmp_path: Path) -> None:
    study = studies([read_bundle(sample_bundle.write(tmp_path / "b"))])[0]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in tables_fidelity.fidelity(study.series).rows}
    assert rows["Wait for a core, the worst process"][0] == "0.400 ms"
    assert rows["… the worst forwarder"][0] == "0.060 ms"
    assert rows["Forwarder drops"][0] == "11"
    assert rows["Carried by the slowest link, of what was asked"][0] == "99 %"
