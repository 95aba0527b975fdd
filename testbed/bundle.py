"""A bundle on disk: written while a scenario runs, read back for the report.

`record.py` says what a bundle holds; this file says how it gets there and back. The writer survives being killed
at any moment: documents are replaced whole (a temporary file, then a rename) and events are appended a line at a
time, so that at most the last line is lost. The reader accepts what such a kill leaves behind.

`manifest.json` carries two keys of this file's own beside what the run puts in: `schema_version`, and `outcome`,
which is "running" until `finish` and so tells a bundle that was cut short.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from testbed.errors import Interrupted, Problem, RequestError
from testbed.record import SCHEMA_VERSION, Event, Outcome, Run
from testbed.serial import decode, encode, plain

SCENARIO, MANIFEST, EVENTS, RUNS, REPORT = "scenario.yaml", "manifest.json", "events.jsonl", "runs.json", "report.html"
RUNNING = "running"

# From the worst to the best: a bundle is as good as its worst run.
_WORST_FIRST: tuple[Outcome, ...] = ("interrupted", "failed", "invalid", "unsupported", "passed")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle read back. `truncated`: the last event was cut off in the middle and is left out."""

    path: Path
    scenario: dict[str, Any]
    manifest: dict[str, Any]
    events: tuple[Event, ...]
    runs: tuple[Run, ...]
    truncated: bool = False

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def interrupted(self) -> bool:
        """Whether the bundle was cut short: stopped by its user, or killed before it could say so."""
        return self.manifest.get("outcome") in (RUNNING, "interrupted")

    @property
    def unfinished_runs(self) -> tuple[str, ...]:
        """Runs (`<scheme>-<repetition>`) that left events and no result, in the order they began."""
        done = {run_id(r) for r in self.runs}
        return tuple(dict.fromkeys(e.run for e in self.events if e.run and e.run not in done))


def run_id(run: Run) -> str:
    """The name of a run in `events.jsonl`: `<scheme>-<repetition>`, the scheme with its options."""
    return f"{run.scheme}-{run.repetition}"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a whole from those of its parts; of nothing at all: "failed"."""
    seen = set(outcomes)
    return next((o for o in _WORST_FIRST if o in seen), "failed")


class BundleWriter:
    """Writes a bundle into `path`, a directory that holds none yet. Used as a context manager.

    Left without `finish`, it is finished for the caller: "interrupted" after Ctrl-C or `Interrupted`, "failed" after
    any other exception, else the worst outcome of the runs added. `event` may be called from several threads.
    Numbers that are not finite are written as null, since JSON has none.
    Raises RequestError when `path` cannot be used.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = Problem(
                f"cannot make the directory: {error.strerror}", str(self.path), "give another directory with --out"
            )
            raise RequestError([problem]) from None
        if (self.path / MANIFEST).exists():
            raise RequestError(
                [Problem("holds a bundle already", str(self.path), "give another directory with --out, or remove it")]
            )
        self._lock = threading.Lock()
        self._runs: list[Run] = []
        self._manifest: dict[str, Any] = {}
        self._finished = False
        # Unbuffered: a line is one write(2), and what the kernel has, a killed process cannot lose.
        self._events = (self.path / EVENTS).open("ab", buffering=0)
        self.write_manifest({})
        self._write_json(RUNS, [])

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not self._finished:
            if kind is None:
                self.finish(worst(r.outcome for r in self._runs))
            else:
                self.finish("interrupted" if issubclass(kind, (KeyboardInterrupt, Interrupted)) else "failed")
        self._events.close()

    def write_scenario(self, scenario: Mapping[str, Any]) -> None:
        """Writes `scenario.yaml` from the scenario as plain data (pydantic's `model_dump(mode="json")`)."""
        self._replace(SCENARIO, yaml.safe_dump(dict(scenario), sort_keys=False, allow_unicode=True))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Writes `manifest.json`; keys given in earlier calls stay unless given again."""
        own = {"schema_version": SCHEMA_VERSION, "outcome": self._manifest.get("outcome", RUNNING)}
        self._manifest = {**self._manifest, **manifest, **own}
        self._write_json(MANIFEST, self._manifest)

    def event(self, event: Event) -> None:
        """Appends one event; once this returns, killing the process does not lose it."""
        line = json.dumps(encode(event), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._events.write(line)

    def add_run(self, run: Run) -> None:
        """Adds a finished run to `runs.json`."""
        self._runs.append(run)
        self._write_json(RUNS, [encode(r) for r in self._runs])

    def run_dir(self, run: str) -> Path:
        """The folder for the files of a run, made if need be. It is called as the run is, with + for what would be a
        separator to programs that are given its path."""
        path = self.path / "runs" / re.sub("[:,]", "+", run)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, outcome: Outcome) -> None:
        """Marks the bundle complete."""
        self._finished = True
        self._manifest["outcome"] = outcome
        self._write_json(MANIFEST, self._manifest)

    def _write_json(self, name: str, value: Any) -> None:
        self._replace(name, json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n")

    def _replace(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the new one, whole, and never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bundle(path: Path | str) -> Bundle:
    """Reads one bundle. Raises RequestError with everything wrong with it."""
    return read_bundles([path])[0]


def read_bundles(paths: Iterable[Path | str]) -> tuple[Bundle, ...]:
    """Reads several bundles. Raises RequestError with everything wrong with any of them."""
    problems: list[Problem] = []
    read = [_read(Path(p), problems) for p in paths]
    if problems:
        raise RequestError(problems)
    return tuple(b for b in read if b is not None)


def _read(path: Path, problems: list[Problem]) -> Bundle | None:
    before = len(problems)
    if not (path / MANIFEST).is_file():
        what = "is not a bundle: it holds no manifest.json" if path.is_dir() else "no such directory"
        hint = "give the directory that `testbed run` wrote and named at its end, for example results/quickstart-..."
        problems.append(Problem(what, str(path), hint))
        return None
    manifest = _load_json(path / MANIFEST, dict, problems)
    if manifest is not None and (version := manifest.get("schema_version")) != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        what = f"has schema version {version!r}; this testbed reads {SCHEMA_VERSION}"
        hint = "update the testbed" if newer else "read it with the version of the testbed that wrote it"
        problems.append(Problem(what, str(path), hint))
        return None
    scenario = _load_scenario(path / SCENARIO, problems)
    raw_runs = _load_json(path / RUNS, list, problems) if (path / RUNS).exists() else []
    runs = _decode_all(Run, raw_runs or [], path / RUNS, problems)
    events, truncated = _load_events(path / EVENTS, problems) if (path / EVENTS).exists() else ((), False)
    if len(problems) > before or scenario is None or manifest is None:
        return None
    return Bundle(path, scenario, manifest, events, runs, truncated)


def _load_scenario(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(Problem("is missing", str(path), "the run ended before it began; run the scenario again"))
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(Problem(f"cannot be read: {error}", str(path), _DAMAGED))
        return None
    if isinstance(value, dict):
        return value
    problems.append(Problem("is not a mapping", str(path), _DAMAGED))
    return None


_DAMAGED = "the file was damaged after the run wrote it; restore it or run the scenario again"


def _load_json(path: Path, kind: type[T], problems: list[Problem]) -> T | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(Problem(f"cannot be read: {error}", str(path), _DAMAGED))
        return None
    if isinstance(value, kind):
        return value
    problems.append(Problem(f"is not a JSON {'list' if kind is list else 'object'}", str(path), _DAMAGED))
    return None


def _load_events(path: Path, problems: list[Problem]) -> tuple[tuple[Event, ...], bool]:
    """The events in the order of their times (threads may have written them a little out of order)."""
    *lines, last = path.read_bytes().split(b"\n")
    truncated = bool(last)  # a whole file ends in a newline
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(decode(Event, json.loads(line)))
        except ValueError as error:
            problems.append(Problem(f"is not an event: {error}", hint=_DAMAGED, file=str(path), line=number))
    return tuple(sorted(events, key=lambda e: e.t)), truncated


def _decode_all(kind: type[T], values: list[Any], path: Path, problems: list[Problem]) -> tuple[T, ...]:
    decoded: list[T] = []
    for index, value in enumerate(values):
        try:
            decoded.append(decode(kind, value))
        except ValueError as error:
            problems.append(Problem(str(error), f"{path}[{index}]", _DAMAGED))
    return tuple(decoded)
