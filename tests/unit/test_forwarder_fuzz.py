"""The forwarder's core under its fuzzer: every input that is kept, and a short search for more (docs: scripts/fuzz)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FORWARDER = Path(__file__).resolve().parents[2] / "testbed" / "forwarder"
CORPUS = FORWARDER / "corpus"
RUNS = 20_000  # some five seconds


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make` left it if that is up to date, else built for this process."""
    make = ["make", "-s", "-j2", "-C", str(FORWARDER / "src")]
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    if subprocess.run([*make, "-q", "../bin/fuzz"], env=environment, stderr=subprocess.DEVNULL).returncode == 0:
        return FORWARDER / "bin" / "fuzz"
    if not shutil.which("clang"):
        pytest.fail("clang is missing: scripts/deps tests")
    folder = tmp_path_factory.mktemp("fuzzer")
    subprocess.run([*make, f"BIN={folder}", f"{folder}/fuzz"], env=environment, check=True)
    return folder / "fuzz"


def run(fuzzer: Path, *options: str | Path) -> str:
    """What it says. An input that breaks the core ends it."""
    done = subprocess.run([fuzzer, *options], capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr[-10_000:]
    return done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_seeds_are_what_makes_them(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CORPUS / "make.py", tmp_path], check=True)
    assert files(tmp_path) == files(CORPUS / "seeds"), f"run {CORPUS / 'make.py'}"


@pytest.mark.parametrize("folder", ["seeds", "findings"])
def test_every_kept_input(fuzzer: Path, folder: str, tmp_path: Path) -> None:
    inputs = sorted((CORPUS / folder).iterdir())
    said = run(fuzzer, f"-artifact_prefix={tmp_path}/", *inputs)
    assert said.count("Executed ") == len(inputs)


def test_a_short_search(fuzzer: Path, tmp_path: Path) -> None:
    """From a fixed seed, so that it looks for the same every time; `make fuzz` looks further."""
    (tmp_path / "corpus").mkdir()
    said = run(
        fuzzer,
        "-seed=1",
        f"-runs={RUNS}",
        "-max_len=800",
        "-detect_leaks=0",
        f"-dict={CORPUS / 'words.dict'}",
        f"-artifact_prefix={tmp_path}/",
        "-print_final_stats=1",
        tmp_path / "corpus",
        CORPUS / "findings",
        CORPUS / "seeds",
    )
    stats = dict(re.findall(r"stat::(\w+): +(\d+)", said))
    assert int(stats["number_of_executed_units"]) >= RUNS
    assert int(stats["new_units_added"]) > 0, "it is not guided by coverage"
