"""The `testbed` command: parses, calls, prints. No logic lives here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from testbed.commands import COMMANDS
from testbed.errors import TestbedError
from testbed.terminal import say_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit statuses: 0 all passed, 1 a run failed or was invalid, 2 the request was wrong, 3 this machine cannot."""
    parser = argparse.ArgumentParser(
        prog="testbed",
        description="Measures how PIM-SM, BIER and SR-P2MP deliver large models to many GPU clouds.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except TestbedError as error:
        say_error(error, as_json=getattr(options, "json", False))
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain at its end
        return 1


if __name__ == "__main__":
    sys.exit(main())
