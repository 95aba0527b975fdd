"""YAML with its places: lines, keys given twice, and what is no YAML."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RequestError
from testbed.spec.document import Finding, read_document, show_path

TEXT = """\
name: here
links:
  - [a, b]
  - a: c
    b: d
base: &base
  rate: 1
merged:
  <<: *base
  cost: 2
"""


def test_every_value_knows_its_line() -> None:
    document = read_document(TEXT)
    assert document.line(("name",)) == 1
    assert document.line(("links", 0, 1)) == 3
    assert document.line(("links", 1, "b")) == 5
    assert document.line(("merged", "cost")) == 10


def test_a_merged_value_is_where_it_was_written() -> None:
    document = read_document(TEXT)
    assert document.data["merged"] == {"rate": 1, "cost": 2}
    assert document.line(("merged", "rate")) == 7


def test_a_missing_value_is_at_the_nearest_one_around_it() -> None:
    document = read_document(TEXT)
    assert document.line(("links", 1, "cost", "unit")) == 4
    assert document.line(("nowhere",)) == 1


def test_problems_come_in_the_order_of_the_file_and_once() -> None:
    document = read_document(TEXT, "x.yaml")
    late, early = Finding(("merged",), "late"), Finding(("name",), "early")
    assert [str(p) for p in document.problems([late, early, late])] == [
        "x.yaml:1: name: early",
        "x.yaml:8: merged: late",
    ]


def test_path_text() -> None:
    assert show_path(("links", 3, "rate")) == "links[3].rate"
    assert show_path(("nodes", False)) == "nodes.false"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "a: [1",
        "a: b: c",
        "a: *nowhere",
        "a: !!python/object:os.system {}",
        "---\na: 1\n---\n",
        "a: 2024-13-45",
        "a: \x00",
        "? [1, 2]\n: 3",
        "[" * 5000,
        "a: &a [*a]",
        b"a: \x80\x81",
    ],
)
def test_what_is_no_usable_yaml_is_one_clear_error(text: str | bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_document(text, "bad.yaml")
    (problem,) = caught.value.problems
    assert problem.file == "bad.yaml"


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(RequestError, match="more than"):
        read_document("\n".join(lines))


@given(st.text(alphabet="ab:[]{}-&*!|>'\"#,?%@ \n\t01", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(RequestError):
        read_document(text)
