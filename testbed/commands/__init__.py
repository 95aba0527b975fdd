"""The subcommands of `testbed`, one file each: `add(commands)` declares it, and its `run(options)` carries it out."""

from testbed.commands import calibrate, capture, clean, doctor, fault, hands_on, report, run, topology, up

COMMANDS = (
    doctor.add,
    run.add,
    calibrate.add,
    report.add,
    topology.add,
    up.add,
    hands_on.add,
    fault.add,
    capture.add,
    clean.add,
)

__all__ = ["COMMANDS"]
