"""What the machine can do, and what the doctor makes of it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from testbed.errors import MachineError
from testbed.lab.capabilities import (
    FEATURES,
    NOT_TRIED,
    Capabilities,
    Feature,
    frr_version,
    parse_version,
    probe_machine,
)
from testbed.lab.requirements import Check, Needs, doctor_report, require, requirements
from testbed.serial import decode, encode

GIB = 2**30

FIT = Capabilities(
    root=True,
    system="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-30-amd64",
    python=(3, 11, 2),
    features=dict.fromkeys(FEATURES, ""),
    root_is_mount=True,
    frr=(8, 4, 4),
    frr_daemons=("bfdd", "ospfd", "pimd", "zebra"),
    mininet=(2, 3, 0),
    mnexec="/usr/bin/mnexec",
    uftp=(4, 10, 2),
    uftpd=(4, 10, 2),
    nginx=(1, 22, 1),
    curl=(7, 88, 1),
    iproute2=(6, 1, 0),
    cores=2,
    memory_total=8 * GIB,
    memory_available=7 * GIB,
    shm_free=4 * GIB,
    disk_free=50 * GIB,
    bundle_free=20 * GIB,
    one_disk=False,
    rmem_max=4 * 2**20,
)


def without(*features: Feature) -> dict[str, str]:
    return FIT.features | dict.fromkeys(features, "not in this kernel")


def by_name(cap: Capabilities) -> dict[str, Check]:
    return {check.name: check for check in doctor_report(cap)}


class TestProbing:
    def test_everything_is_said_of_this_machine(self) -> None:
        cap = probe_machine()
        assert set(cap.features) == set(FEATURES)
        assert cap.root == (os.geteuid() == 0)
        assert cap.cores >= 1
        assert cap.memory_total >= cap.memory_available > 0

    def test_nothing_of_the_trial_remains(self) -> None:
        forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        before = (os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt"), threading.active_count())
        probe_machine()
        assert before == (
            os.readlink("/proc/self/ns/net"),
            os.readlink("/proc/self/ns/mnt"),
            threading.active_count(),
        )
        assert forwarding.read_text().strip() in ("0", "1")
        assert not [name for name in os.listdir("/sys/class/net") if name.startswith("try-")]

    def test_nothing_is_tried_without_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        cap = probe_machine()
        assert not cap.root
        assert set(cap.features.values()) == {NOT_TRIED}

    def test_a_machine_without_the_programs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("testbed.lab.capabilities._FRR", tmp_path)
        monkeypatch.setattr("testbed.lab.capabilities._SYSTEM_PATH", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        cap = probe_machine(tmp_path)
        assert (cap.frr, cap.frr_daemons, cap.mnexec, cap.uftp, cap.uftpd, cap.iproute2) == (
            None,
            (),
            "",
            None,
            None,
            None,
        )

    def test_the_bundles_place_need_not_exist_yet(self, tmp_path: Path) -> None:
        cap = probe_machine(tmp_path, tmp_path / "not" / "yet")
        assert cap.one_disk
        assert cap.bundle_free > 0

    @pytest.mark.parametrize(
        ("version", "release"), [((8, 4, 4), (8, 4)), ((10, 3), (10, 3)), ((9,), (9, 0)), (None, (0, 0))]
    )
    def test_the_release_of_frr(self, version: tuple[int, ...] | None, release: tuple[int, int]) -> None:
        assert replace(FIT, frr=version).frr_release == release

    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ("zebra version 8.4.4\nCopyright 1996-2005", (8, 4, 4)),
            ("zebra version 10.3", (10, 3)),
            ("ip utility, iproute2-6.15.0, libbpf 1.5.0", (6, 15, 0)),
            ("no version here", None),
        ],
    )
    def test_versions(self, text: str, version: tuple[int, ...] | None) -> None:
        assert parse_version(text) == version

    def test_frr_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("testbed.lab.capabilities._FRR", tmp_path)
        with pytest.raises(MachineError, match="make deps"):
            frr_version()

    def test_frr_for_the_templates(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("testbed.lab.capabilities._FRR", tmp_path)
        (tmp_path / "zebra").write_text("#!/bin/sh\necho zebra version 10.3.1\n")
        (tmp_path / "zebra").chmod(0o755)
        assert frr_version() == (10, 3)

    def test_capabilities_go_through_json(self) -> None:
        assert decode(Capabilities, json.loads(json.dumps(encode(FIT)))) == FIT


class TestDoctor:
    def test_a_fit_machine_is_all_well(self) -> None:
        checks = doctor_report(FIT)
        assert {check.status for check in checks} == {"ok"}
        assert not any(check.remedy for check in checks)

    def test_every_shortcoming_comes_with_a_remedy(self) -> None:
        nothing = replace(
            FIT,
            features=dict.fromkeys(FEATURES, "Operation not permitted"),
            root_is_mount=False,
            frr=None,
            frr_daemons=(),
            mininet=None,
            mnexec="",
            uftp=None,
            uftpd=None,
            nginx=None,
            curl=None,
            iproute2=None,
            cores=1,
            memory_available=GIB,
            shm_free=64 * 2**20,
            disk_free=0,
            rmem_max=212_992,
        )
        checks = doctor_report(nothing)
        assert {check.name for check in checks if check.status == "ok"} == {"kernel", "Python"} | {"root"}
        assert all(check.remedy for check in checks if check.status != "ok")

    def test_no_netem_is_a_warning(self) -> None:
        check = by_name(replace(FIT, features=without("netem")))["netem"]
        assert (check.status, check.found) == ("warn", "not in this kernel")
        assert "modprobe sch_netem" in check.remedy

    def test_multicast_routing_needs_the_register_interface_too(self) -> None:
        assert by_name(replace(FIT, features=without("pim-register")))["multicast routing"].status == "warn"

    @pytest.mark.parametrize(
        ("version", "daemons", "said"),
        [
            ((7, 5, 1), FIT.frr_daemons, "7.5.1"),
            (None, (), "absent"),
        ],
    )
    def test_frr_too_old_or_absent(self, version: tuple[int, ...] | None, daemons: tuple[str, ...], said: str) -> None:
        check = by_name(replace(FIT, frr=version, frr_daemons=daemons))["FRR"]
        assert (check.status, check.found) == ("missing", said)
        assert "make deps" in check.remedy

    @pytest.mark.parametrize(
        ("version", "daemons", "said"),
        [
            ((8, 4, 4), ("ospfd", "zebra"), "without bfdd, pimd"),
            ((10, 3), FIT.frr_daemons, "without mgmtd"),
        ],
    )
    def test_frr_without_some_daemons(self, version: tuple[int, ...], daemons: tuple[str, ...], said: str) -> None:
        checks = by_name(replace(FIT, frr=version, frr_daemons=daemons))
        assert checks["FRR"].status == "ok"
        assert (checks["FRR's daemons"].status, checks["FRR's daemons"].found) == ("missing", said)
        assert "make deps" in checks["FRR's daemons"].remedy

    def test_frr_10_with_mgmtd(self) -> None:
        cap = replace(FIT, frr=(10, 3), frr_daemons=(*FIT.frr_daemons, "mgmtd"))
        assert by_name(cap)["FRR"] == Check("FRR", "ok", "10.3")
        assert by_name(cap)["FRR's daemons"] == Check("FRR's daemons", "ok", "zebra, ospfd, bfdd, pimd, mgmtd")

    def test_without_root_the_kernel_is_not_blamed(self) -> None:
        checks = by_name(replace(FIT, root=False, features=dict.fromkeys(FEATURES, NOT_TRIED)))
        assert checks["root"].status == "missing"
        assert checks["netem"] == Check("netem", "warn", NOT_TRIED)

    def test_the_report_is_plain_data(self) -> None:
        assert json.dumps([asdict(check) for check in doctor_report(FIT)])


class TestRequirements:
    def test_a_fit_machine_lacks_nothing(self) -> None:
        needs = Needs(daemons=("zebra", "ospfd", "pimd"), netem=True, memory=GIB, shm=GIB, disk=GIB)
        assert requirements(FIT, needs) == []
        require(FIT, needs)

    def test_what_is_not_needed_is_not_asked_for(self) -> None:
        cap = replace(FIT, features=without("netem", "tbf", "multicast-routing"), uftpd=None)
        assert requirements(cap, Needs(shaping=False, multicast_routing=False, uftp=False)) == []
        assert requirements(replace(FIT, nginx=None, curl=None), Needs()) == []

    def test_netem_is_asked_for_where_links_have_delay(self) -> None:
        (problem,) = requirements(replace(FIT, features=without("netem")), Needs(netem=True))
        assert problem.what == "netem: not in this kernel"

    def test_ipv6_is_asked_for_where_routers_have_locators(self) -> None:
        cap = replace(FIT, features=without("ipv6"))
        assert requirements(cap, Needs()) == []
        (problem,) = requirements(cap, Needs(ipv6=True))
        assert "IPv6" in problem.what
        assert "ipv6.disable=1" in problem.hint

    def test_http_names_what_is_absent_and_installs_only_that(self) -> None:
        (problem,) = requirements(replace(FIT, nginx=None), Needs(uftp=False, http=True))
        assert problem.what == "HTTP: without nginx"
        assert problem.hint == "make deps (or: apt-get install --no-install-recommends nginx)"
        (problem,) = requirements(replace(FIT, nginx=None, curl=None), Needs(http=True))
        assert problem.what == "HTTP: without nginx, curl"
        assert by_name(FIT)["HTTP"].found == "nginx 1.22.1, curl 7.88.1"

    def test_not_root_is_one_problem(self) -> None:
        cap = replace(FIT, root=False, features=dict.fromkeys(FEATURES, NOT_TRIED))
        (problem,) = requirements(cap, Needs(netem=True))
        assert problem.what == "root: you are not root"
        assert "sudo" in problem.hint

    def test_sizes_name_what_is_needed(self) -> None:
        problems = requirements(FIT, Needs(memory=9 * GIB, shm=5 * GIB, disk=99 * GIB))
        assert [problem.what for problem in problems] == [
            "7 GiB memory available, 9 GiB needed",
            "4 GiB free in /dev/shm, 5 GiB needed",
            "50 GiB free in /var/tmp, 99 GiB needed",
        ]
        assert "size=5120M" in problems[1].hint

    def test_what_is_kept_shares_the_disk_with_the_models_or_does_not(self) -> None:
        needs = Needs(disk=30 * GIB, bundle=15 * GIB)
        assert requirements(FIT, needs) == []
        (problem,) = requirements(replace(FIT, one_disk=True, disk_free=40 * GIB, bundle_free=40 * GIB), needs)
        assert problem.what == "40 GiB free where the bundle goes, 45 GiB needed"
        assert "--keep" in problem.hint
        (problem,) = requirements(FIT, Needs(bundle=21 * GIB))
        assert problem.what == "20 GiB free where the bundle goes, 21 GiB needed"
        full = replace(FIT, one_disk=True, bundle_free=0)
        assert requirements(full, Needs(disk=30 * GIB)) == []

    def test_a_daemon_that_no_router_runs_is_not_missed(self) -> None:
        assert requirements(replace(FIT, frr_daemons=("ospfd", "zebra")), Needs()) == []

    def test_a_daemon_that_the_package_lacks(self) -> None:
        (problem,) = requirements(FIT, Needs(daemons=("zebra", "pathd")))
        assert problem.what == "FRR without pathd"

    def test_all_problems_come_at_once_with_status_3(self) -> None:
        cap = replace(FIT, mininet=None, uftp=None)
        with pytest.raises(MachineError) as caught:
            require(cap, Needs())
        assert caught.value.exit_status == 3
        assert "Mininet: absent" in str(caught.value)
        assert "UFTP: absent" in str(caught.value)
