"""Every exception the testbed raises on purpose, in one tree.

    TestbedError                     exit status 1 unless a subclass says otherwise
    ├── RequestError                 2: what was asked for is wrong; lists every Problem found
    ├── MachineError                 3: this machine cannot do it; carries the remedy
    ├── LabError                     1: the emulated network did not do what it should
    │   ├── NodeStartError              a namespace or its shell did not come up in time
    │   ├── DaemonError                 a daemon refused its configuration, died, or is not ready
    │   ├── ProgramError                one of our programs does not answer, or refused what it was told
    │   │   ├── ForwarderError             ... a router's forwarder
    │   │   └── DelaylineError             ... the lab's delay line
    │   └── NotConverged                a state was waited for and did not come; says what was seen instead
    ├── TransferError                1: a model could not be made, sent or verified
    └── Interrupted                  1: the user stopped the run (Ctrl-C, SIGTERM)

Library code raises these and never exits or prints; `testbed.cli` turns them into text and an exit status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: what, where, and what to do about it.

    `file` and `line` are None where the problem has no place in a file (a command-line value, say);
    `line` counts from 1.
    """

    what: str
    where: str = ""
    hint: str = ""
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line) if p is not None)
        head = ": ".join(p for p in (place, self.where, self.what) if p)
        return f"{head}\n    {self.hint}" if self.hint else head


class TestbedError(Exception):
    """Root of all errors of this package."""

    exit_status = 1
    __test__ = False  # the name looks like a test class to pytest


class RequestError(TestbedError):
    """The request (a file, a flag, a name) is wrong. Carries every problem found, not the first only."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = (
            (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(str(p) for p in self.problems))


class MachineError(TestbedError):
    """This machine cannot do what was asked (not root, a package or a kernel feature is missing)."""

    exit_status = 3

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}\n    {remedy}" if remedy else what)


class LabError(TestbedError):
    """The emulated network did not do what it should."""


class NodeStartError(LabError):
    """A node's namespace or shell did not come up within its deadline."""


class DaemonError(LabError):
    """A daemon refused its configuration, died, or did not become ready."""


class ProgramError(LabError):
    """A program of ours does not answer, or refused what it was told; `errors` holds every mistake it found."""

    def __init__(self, what: str, errors: Sequence[str] = ()) -> None:
        self.errors = tuple(errors)
        super().__init__("\n    ".join((what, *self.errors)))


class ForwarderError(ProgramError):
    """A forwarder does not answer, or refused what it was told."""


class DelaylineError(ProgramError):
    """The delay line does not answer, or refused what it was told."""


class NotConverged(LabError):
    """A state was waited for and did not come within its deadline."""


class TransferError(TestbedError):
    """A model could not be made, sent or verified."""


class Interrupted(TestbedError):
    """The user stopped the run; what was measured until then is kept."""
