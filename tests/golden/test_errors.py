"""What a wrong file is told, word for word.

Each `errors/topology-*.yaml` and `errors/scenario-*.yaml` stands beside a `.txt` with the whole message. After a
change of the words look at the difference they make: `UPDATE_GOLDEN=1 pytest tests/golden/test_errors.py`, `git diff`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.errors import RequestError
from testbed.run.faults import ACTIONS
from testbed.spec.check_scenario import Known
from testbed.spec.load import load_scenario, load_topology

FOLDER = Path(__file__).with_name("errors")
KNOWN = Known(
    schemes={"pim-ssm", "pim-sm"},
    transports={"uftp", "http"},
    actions=ACTIONS,
    carries={"pim-ssm": {"uftp"}, "pim-sm": {"uftp"}},
)
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def _refusal(name: str, monkeypatch: pytest.MonkeyPatch) -> RequestError:
    monkeypatch.chdir(FOLDER)  # file names in the messages are relative to the working directory
    with pytest.raises(RequestError) as caught:
        load_topology(name) if name.startswith("topology-") else load_scenario(name, known=KNOWN)
    return caught.value


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_told_everything_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"{_refusal(name, monkeypatch)}\n"
    expected = FOLDER / name.replace(".yaml", ".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_every_expected_text_has_its_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", FILES)
def test_every_problem_has_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for problem in _refusal(name, monkeypatch).problems:
        assert problem.file is not None
        assert problem.line is not None or name == "topology-empty.yaml"
