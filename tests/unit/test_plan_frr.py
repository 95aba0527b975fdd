"""What decides FRR's files: versions, daemons, the RP, the profile; and how a dry run is read."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from jinja2 import StrictUndefined

from testbed.errors import MachineError, RequestError
from testbed.plan import frr, timers
from testbed.plan.build import make_plan
from testbed.plan.dryrun import dry_run_problems
from testbed.plan.frr import PimFeatures, RouterConfig, Underlay
from testbed.spec.scenario import Detection
from testbed.spec.topology import Topology

PLAN = make_plan(
    Topology.model_validate(
        {
            "name": "t",
            "nodes": {"repo": {"kind": "repository"}, "r1": {"kind": "router"}, "s1": {"kind": "site"}},
            "links": [["repo", "r1"], ["r1", "s1"]],
        }
    )
)

PLAIN = Underlay()


def render(
    node: str = "r1",
    pim: PimFeatures | None = None,
    profile: str = "fast",
    version: frr.Version = (8, 4),
    underlay: Underlay = PLAIN,
) -> RouterConfig:
    profiled = timers.profile(profile)
    return frr.render(PLAN, node, scheme_features=pim, timers=profiled, frr_version=version, underlay=underlay)


@pytest.mark.parametrize(
    ("pim", "profile", "version", "daemons"),
    [
        (None, "rfc", (8, 4), ("zebra", "ospfd")),
        (None, "fast", (8, 4), ("zebra", "bfdd", "ospfd")),
        (PimFeatures("ssm"), "fast", (8, 4), ("zebra", "bfdd", "ospfd", "pimd")),
        (PimFeatures("ssm"), "fast", (10, 3), ("mgmtd", "zebra", "bfdd", "ospfd", "pimd")),
    ],
)
def test_daemons_and_their_files(
    pim: PimFeatures | None, profile: str, version: frr.Version, daemons: tuple[str, ...]
) -> None:
    config = render(pim=pim, profile=profile, version=version)
    assert config.daemons == daemons
    assert set(config.files) == {f"{d}.conf" for d in daemons} | {"vtysh.conf"}


def test_what_nobody_asks_of_the_underlay_is_not_there() -> None:
    plain, api, srv6 = render(), render(underlay=Underlay(ospf_api=True)), render(underlay=Underlay(srv6=True))
    assert plain == render(underlay=PLAIN)
    assert (plain.options, plain.srv6) == ({}, False)
    assert api == RouterConfig(plain.files, plain.daemons, {"ospfd": ("--apiserver",)})
    assert srv6.srv6
    assert set(srv6.daemons) - set(plain.daemons) == set(srv6.options) ^ {"zebra", "ospf6d"} == {"ospf6d"}
    changed = {name for name, text in srv6.files.items() if text != plain.files.get(name)}
    assert changed == {"ospf6d.conf", "zebra.conf"}


@pytest.mark.parametrize("profile", timers.PROFILES)
@pytest.mark.parametrize("version", frr.TRIED)
def test_ospfv3_keeps_ospfv2s_pace(profile: str, version: frr.Version) -> None:
    """Every timer that both daemons have is the same; ospf6d has no throttle of LSAs."""
    files = render(profile=profile, version=version, underlay=Underlay(srv6=True)).files
    intervals = re.compile(r"^ (?:ip|ipv6) ospf6? (\S+-interval \d+|cost \d+|bfd profile core|network \S+)$", re.M)
    of_core = [part for part in files["ospfd.conf"].split("interface ") if "passive" not in part]
    assert intervals.findall(files["ospf6d.conf"]) == [each for part in of_core for each in intervals.findall(part)]
    timing = re.compile(r"^ (timers (?!throttle lsa).*)$", re.M)
    assert timing.findall(files["ospf6d.conf"]) == timing.findall(files["ospfd.conf"]) != []


@pytest.mark.parametrize("node", ["repo-src", "s1-st", "nobody"])
def test_only_routers_have_a_configuration(node: str) -> None:
    with pytest.raises(RequestError, match="not a router"):
        render(node)


def test_the_rp_must_be_a_router() -> None:
    with pytest.raises(RequestError, match="'s1-st' is not a router"):
        render(pim=PimFeatures("sm", rp="s1-st"))


def test_the_plans_rp_is_taken_unless_the_scheme_names_one() -> None:
    assert "ip pim rp 10.255.0.2 239.0.0.0/8" in render("s1", PimFeatures("sm")).files["pimd.conf"]
    assert "ip pim rp 10.255.0.3 239.0.0.0/8" in render("s1", PimFeatures("sm", rp="s1")).files["pimd.conf"]


def test_only_the_rp_runs_pim_on_its_loopback() -> None:
    """A multicast interface more: there are 32 a table."""
    sm = PimFeatures("sm", rp="r1")
    assert "interface lo\n" in render("r1", sm).files["pimd.conf"]
    assert "interface lo\n" not in render("s1", sm).files["pimd.conf"]
    assert "interface lo\n" not in render("r1", PimFeatures("ssm")).files["pimd.conf"]


def test_no_configuration_logs_or_sets_addresses() -> None:
    for version in frr.TRIED:
        for text in render("s1", PimFeatures("sm"), version=version).files.values():
            assert "log file" not in text
            assert "ip address" not in text


def test_templates_are_strict() -> None:
    assert frr._environment().undefined is StrictUndefined


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("zebra version 8.4.4\nCopyright 1996-2005 Kunihiro Ishiguro, et al.", (8, 4)),
        ("zebra version 10.3\n", (10, 3)),
        ("zebra version 9.1-dev\n", (9, 1)),
    ],
)
def test_version_is_read(text: str, version: frr.Version) -> None:
    assert frr.parse_version(text) == version


@pytest.mark.parametrize("text", ["zebra version 7.5.1", "no such thing"])
def test_version_too_old_or_unreadable(text: str) -> None:
    with pytest.raises(MachineError):
        frr.parse_version(text)


def test_profiles() -> None:
    assert list(timers.PROFILES) == ["fast", "default", "rfc"]
    for profile in timers.PROFILES.values():
        assert profile.ospf.dead >= 4 * profile.ospf.hello
        assert profile.pim.hold >= 3.5 * profile.pim.hello
        # pimd drops a query interval that is not longer than the response time, without a word.
        assert profile.igmp.query_interval * 10 > profile.igmp.query_response_ds
    assert timers.FAST.bfd is not None
    assert timers.FAST.bfd.detection == pytest.approx(0.15)
    assert timers.FAST.cold_start < 5 < timers.RFC.cold_start


@pytest.mark.parametrize(
    ("detection", "bfd", "unnoticed", "hidden"),
    [
        ("carrier", None, 4, False),
        ("bfd-3x50", timers.BfdTimers(50, 3), 0.15, True),
        ("bfd-3x300", timers.BfdTimers(300, 3), 0.9, True),
        ("dead-timer", None, 4, True),
    ],
)
def test_a_detection_takes_the_place_of_the_profiles_bfd(
    detection: str, bfd: timers.BfdTimers | None, unnoticed: float, hidden: bool
) -> None:
    for links in (1, 1000):  # as asked, however large the network
        asked = timers.profile("fast", detection).on(links)
        assert (asked.bfd, asked.unnoticed) == (bfd, pytest.approx(unnoticed))
    assert timers.hides_carrier(detection) == hidden
    assert set(get_args(Detection)) == set(timers.DETECTIONS)


def test_unknown_profile_and_detection_are_told_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        timers.profile("quick", "psychic")
    assert "fast, default, rfc" in str(caught.value)
    assert "carrier, bfd-3x50, bfd-3x300, dead-timer" in str(caught.value)


def test_unknown_profile_lists_the_known() -> None:
    with pytest.raises(RequestError, match="fast, default, rfc"):
        timers.profile("quick")


LOG = "2026/01/31 12:00:00 PIM: [SHWNK-NWT5S][EC 100663304] "


def test_dry_run_good() -> None:
    noise = "2026/01/31 12:00:00 ZEBRA: [NNACN-54BDA][EC 4043309110] Disabling MPLS support (no kernel support)\n"
    assert dry_run_problems("zebra.conf", noise) == ()
    assert dry_run_problems("zebra.conf", "") == ()


def test_dry_run_names_every_bad_line() -> None:
    stderr = f"{LOG}No such command on config line 2: frobnicate 1\n{LOG}No such command on config line 9:  ip pin\n"
    found = dry_run_problems("r1/pimd.conf", stderr)
    assert [(p.file, p.line, p.what) for p in found] == [
        ("r1/pimd.conf", 2, "No such command: frobnicate 1"),
        ("r1/pimd.conf", 9, "No such command: ip pin"),
    ]


def test_dry_run_gives_the_commands_reason() -> None:
    stderr = (
        f"{LOG}libyang: HoldTime must be greater than Hello (/frr-interface:lib)\n"
        "% Configuration failed.\n\n Error: HoldTime must be greater than Hello\n"
        "exit from config node while reading config file"
        f"{LOG}Command returned Warning Config Failed on config line 4:  ip pim hello 5 3\n"
    )
    (problem,) = dry_run_problems("pimd.conf", stderr)
    assert problem.line == 4
    assert problem.what == "Command returned Warning Config Failed: ip pim hello 5 3"
    assert problem.hint == "% Configuration failed.; Error: HoldTime must be greater than Hello"


def test_dry_run_refusal_without_a_line() -> None:
    """FRR 8.4's `ip ospf bfd profile` without `ip ospf bfd` says only this."""
    (problem,) = dry_run_problems("ospfd.conf", "ip ospf bfd has not been set\nip ospf bfd has not been set\n")
    assert (problem.what, problem.line) == ("ip ospf bfd has not been set", None)


def test_dry_run_without_a_way_to_the_rp_is_good() -> None:
    said = "No Path to RP address specified: 10.255.0.3\n"
    logged = f"{LOG}No such command on config line 32: ip pim rp 10.255.0.3 239.0.0.0/8\n"
    assert dry_run_problems("pimd.conf", said + logged) == (), "FRR 8.4"
    assert dry_run_problems("pimd.conf", said) == (), "FRR 10.3"
    assert dry_run_problems("pimd.conf", logged), "without that reason it is an error"


def test_dry_run_of_several_routers_is_good() -> None:
    """ospf6d's word for what the second of them has: a loopback in the area."""
    assert dry_run_problems("ospf6d.conf", "lo already attached to Area 0\nlo already attached to Area 0\n") == ()
    (problem,) = dry_run_problems("ospf6d.conf", "r1-eth0 already attached to Area 1\n")
    assert problem.what == "r1-eth0 already attached to Area 1"


def test_dry_run_missing_file() -> None:
    (problem,) = dry_run_problems("x", f"{LOG}vty_open_config: can't open configuration file [/etc/frr/x]\n")
    assert "could not open" in problem.what
