"""The commands around the code: make, its scripts, the CI's entry, the virtual machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p for p in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"] if p.is_file())


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a clean environment plus `variables`, from a folder that is not the project's."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", timeout=60, check=False)


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_executable_and_parse(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert run("bash", "-n", script).stderr == ""


class TestMake:
    def make(self, *words: str, **variables: str) -> str:
        done = run("make", "--dry-run", "-f", ROOT / "Makefile", *words, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_help_is_the_default_and_names_every_target(self) -> None:
        done = run("make", "-f", ROOT / "Makefile")
        phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
        assert phony
        assert all(f"make {target} " in done.stdout for target in phony[1].split())

    def test_the_main_job_installs_first_and_passes_arguments_on(self) -> None:
        said = self.make("testbed", "ARGS=--size 256MiB --scheme pim-ssm")
        assert said.index("scripts/deps") < said.index(
            ".venv/bin/testbed run scenarios/quickstart.yaml --size 256MiB --scheme pim-ssm"
        )

    def test_the_tests_install_first(self) -> None:
        said = self.make("test", "ARGS=-k quickstart")
        assert said.index("scripts/deps") < said.index("-m pytest -n ")
        assert said.rstrip().endswith("-k quickstart")

    def test_it_works_in_a_folder_with_a_blank_in_its_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "a folder"
        folder.mkdir()
        (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
        assert "make testbed" in run("make", "-f", folder / "Makefile").stdout
        assert "make testbed" in run("make", "-C", folder).stdout


class TestAsRoot:
    def as_root(self, folder: Path, uid: int, **variables: str) -> subprocess.CompletedProcess[str]:
        program(folder, "id", f"echo {uid}")
        return run("/bin/bash", ROOT / "scripts/as-root", "/bin/echo", "a  b", PATH=str(folder), **variables)

    def test_root_runs_the_command_as_it_is(self, tmp_path: Path) -> None:
        assert self.as_root(tmp_path, 0).stdout == "a  b\n"

    def test_others_go_through_sudo(self, tmp_path: Path) -> None:
        program(tmp_path, "sudo", 'echo "sudo: $*"')
        assert self.as_root(tmp_path, 1000).stdout == "sudo: /bin/echo a  b\n"

    def test_sudo_keeps_the_deadlines_scale(self, tmp_path: Path) -> None:
        program(tmp_path, "sudo", 'echo "sudo: $*"')
        done = self.as_root(tmp_path, 1000, TESTBED_DEADLINE_SCALE="3")
        assert done.stdout == "sudo: env TESTBED_DEADLINE_SCALE=3 /bin/echo a  b\n"

    def test_without_sudo_it_says_what_to_do(self, tmp_path: Path) -> None:
        done = self.as_root(tmp_path, 1000)
        assert done.returncode == 3
        assert "root is needed for: /bin/echo" in done.stderr


class TestContinuousIntegration:
    def ci(self, folder: Path, body: str, **variables: str) -> subprocess.CompletedProcess[str]:
        program(folder, "make", body)
        return run(ROOT / ".ci/run", PATH=f"{folder}:{os.environ['PATH']}", **variables)

    def test_it_runs_all_tests_whatever_the_environment_says(self, tmp_path: Path) -> None:
        done = self.ci(
            tmp_path, 'echo "make $*; $PYTEST_ADDOPTS$MAKEFLAGS"', ARGS="-k x", PYTEST_ADDOPTS="-x", MAKEFLAGS="n"
        )
        assert done.stdout == "make test ARGS=; \n"

    @pytest.mark.parametrize("status", [0, 2])
    def test_it_ends_with_pytests_closing_line_and_makes_status(self, tmp_path: Path, status: int) -> None:
        closing = "====== 1 failed, 3 passed, 2 skipped in 61.20s (0:01:01) ======"
        done = self.ci(tmp_path, f"echo '{closing}'; echo 'make: *** [test] Error 1' >&2; exit {status}")
        assert done.stdout.splitlines()[-1] == closing
        assert done.returncode == status


class TestVagrantfile:
    text = (ROOT / "Vagrantfile").read_text()

    def test_the_machine_is_provisioned_by_the_deps_target(self) -> None:
        assert "make deps" in self.text
        packages = re.findall(r"apt-get.* install (.*?);", self.text)
        assert packages == ["make"], "everything but make itself is for `make deps` to install"

    def test_what_belongs_to_a_machine_is_not_copied(self) -> None:
        assert '".venv/"' in self.text
        assert '"results/"' in self.text


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n" in text
    assert "Version 2.0, January 2004" in text
