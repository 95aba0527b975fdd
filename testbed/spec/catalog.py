"""Where a reference leads: a file, or a ready-made name in `topologies/` or `scenarios/`."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import Problem, RequestError
from testbed.spec.suggest import did_you_mean

_HOME = Path(__file__).resolve().parents[2]


def folder(kind: str) -> Path:
    """Where the ready-made ones are; `kind` is `topology` or `scenario`."""
    return _HOME / {"topology": "topologies", "scenario": "scenarios"}[kind]


def ready_made(kind: str) -> tuple[str, ...]:
    """Names of the ready-made topologies or scenarios, sorted."""
    return tuple(sorted(p.stem for p in folder(kind).glob("*.yaml")))


def find(ref: str, kind: str, base: Path | None = None) -> Path:
    """The file that `ref` names, seen from the folder `base` (None: the working directory).

    A file wins over a ready-made name where `ref` looks like a path. Raises RequestError.
    """
    looks_like_path = "/" in ref or ref.endswith((".yaml", ".yml"))
    named = folder(kind) / f"{ref}.yaml"
    if not looks_like_path and named.is_file():
        return named
    path = (base or Path()) / Path(ref).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise RequestError([Problem(f"{ref} is a directory, not a {kind} file")])
    if looks_like_path:
        raise RequestError([Problem(f"there is no file {path}", hint=_hint(Path(ref).stem, kind))])
    raise RequestError([Problem(f"there is no {kind} {ref!r}", hint=_hint(ref, kind))])


def read(path: Path) -> bytes:
    """The bytes of a file. Raises RequestError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestError([Problem(f"{path} cannot be read: {error.strerror}")]) from error


def display(path: Path) -> str:
    """A file's name for people: relative to the working directory where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _hint(name: str, kind: str) -> str:
    hint = did_you_mean(name, ready_made(kind), "ready-made")
    if hint.startswith("did"):
        return hint
    others = "a YAML or GraphML file, or topohub:GROUP/NAME" if kind == "topology" else "a YAML file"
    return f"{hint}; else give {others}"
