"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# No test asserts a time, not even hypothesis's 200 ms an example: a loaded machine is no defect.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """A shell without job control starts what is in the background with SIGINT ignored, and its children inherit that:
    a run that a test interrupts would not hear of it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
