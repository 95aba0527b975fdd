"""A YAML file read so that every value keeps its line, and nothing is silently overwritten."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from testbed.errors import Problem, RequestError

# Where a value stands: keys and indices from the root.
Path = tuple[Hashable, ...]

# More values than any honest file has; stops alias bombs.
_MAX_VALUES = 200_000
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Finding:
    """A problem by its place in the data; `Document.problems` adds the file and, where none is set, the line."""

    path: Path
    what: str
    hint: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Document:
    """The data of one file, the line (from 1) of every value in it, and the keys that were given twice."""

    data: Any
    file: str | None = None
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: tuple[Finding, ...] = ()

    def line(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest value around it."""
        return next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)

    def problems(self, findings: Iterable[Finding]) -> list[Problem]:
        """All of them in the order of the file, each once."""
        found = dict.fromkeys(
            Problem(f.what, show_path(f.path), f.hint, self.file, f.line or self.line(f.path)) for f in findings
        )
        return sorted(found, key=lambda p: p.line or 0)


def show_path(path: Path) -> str:
    """`("links", 3, "rate")` -> `links[3].rate`."""
    text = ""
    for part in path:
        word = str(part).lower() if isinstance(part, bool) else part
        text += f"[{part}]" if type(part) is int else f".{word}"
    return text.removeprefix(".")


def read_document(text: str | bytes, file: str | None = None) -> Document:
    """Parse YAML 1.1 (safe tags only). Raises RequestError, with the line, for what is no YAML."""

    def refuse(what: str, hint: str = "") -> RequestError:
        return RequestError([Problem(what, hint=hint, file=file)])

    try:
        return _read(text, file)
    except yaml.MarkedYAMLError as error:
        raise RequestError([_syntax(error, file)]) from error
    except yaml.reader.ReaderError as error:
        raise refuse(f"not a text file: {error.reason} (position {error.position})", "save it as UTF-8") from error
    except RecursionError as error:
        raise refuse("values are nested too deeply, or one contains itself") from error
    except ValueError as error:  # a date or a number that looks right and is not; too many values
        raise refuse(str(error), "quote a value that is meant as text") from error


def _read(text: str | bytes, file: str | None) -> Document:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise RequestError([Problem("the file is empty", file=file)])
        duplicates = tuple(_duplicates(root))
        data = loader.construct_document(root)
        lines: dict[Path, int] = {}
        # After construction, when merge keys (<<) have been replaced by what they stand for.
        _note_lines(loader, root, (), lines)
    finally:
        loader.dispose()
    return Document(data, file, lines, duplicates)


def _syntax(error: yaml.MarkedYAMLError, file: str | None) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(str(part) for part in (error.context, error.problem) if part)
    hint = ""
    if "\\t" in what:
        hint = "indent with spaces, not tabs"
    elif "mapping values are not allowed" in what:
        hint = "check the indentation here and on the line before; quote text that holds a colon"
    return Problem(f"not valid YAML: {what}", hint=hint, file=file, line=mark.line + 1 if mark else None)


def _duplicates(root: yaml.Node) -> list[Finding]:
    """Keys given twice in one mapping, which YAML forbids and PyYAML lets the last one win."""
    found: list[Finding] = []
    seen: set[int] = set()  # an alias is the same node again, and may even contain itself

    def visit(node: yaml.Node, path: Path) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name is not None and key.tag != _MERGE:
                    line = key.start_mark.line + 1
                    if name in first:
                        where = f"on line {first[name]}" + (f" and on line {line}" if line != first[name] else "")
                        what = f"{name!r} is given twice, {where}"
                        found.append(Finding((*path, name), what, "keep one of them", line))
                    first.setdefault(name, line)
                visit(value, (*path, name))

    visit(root, ())
    return found


def _note_lines(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    if len(lines) > _MAX_VALUES:
        raise ValueError(f"the file has more than {_MAX_VALUES} values")
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(loader, item, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, loader.construct_object(key, deep=True))
            lines[place] = key.start_mark.line + 1
            _note_lines(loader, value, place, lines)
