"""A BFIR's flows in a file: as they were, or a plain word of what is wrong with it."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.control.bier_memory import Key, read, write

ADDRESS = st.integers(0, 2**32 - 1).map(IPv4Address)
KEYS = st.tuples(st.none() | ADDRESS.filter(lambda each: int(each) != 0), ADDRESS)


@given(st.dictionaries(KEYS, st.frozensets(st.integers(1, 65535), min_size=1, max_size=20), max_size=8))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, flows: dict[Key, frozenset[int]]) -> None:
    path = tmp_path_factory.mktemp("memory") / "state.json"
    write(path, flows)
    assert read(path) == flows
    write(path, {})
    assert read(path) == {}
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "{", "3", '[["10.0.0.1", "232.0.0.1"]]', '[[null, "x", [1]]]', "[[1, 2, null]]"])
def test_another_file_is_no_memory(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011  (json's, ipaddress's, ours)
        read(path)


def test_no_file_is_no_memory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "state.json")
