"""Bundles read back: statistics, tables, plots, HTML. Needs no lab and no root.

    summary_table(runs, scenario, manifest)  the end of `testbed run`, for a terminal (rich)
    summary_json(bundle)                     the same figures as plain data
    make_html(bundles)                       the report, one bundle or several side by side
    write_report(directories, out)           reads the bundles, writes the report, returns its path
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from testbed.bundle import Bundle
from testbed.report.summary import summary_json
from testbed.report.terminal import summary_table

__all__ = ["make_html", "summary_json", "summary_table", "write_report"]

# matplotlib takes a second to import, which a table in a terminal should not have to wait for.


def make_html(bundles: Sequence[Bundle]) -> str:
    """See `testbed.report.html.make_html`."""
    from testbed.report import html

    return html.make_html(bundles)


def write_report(bundle_dirs: Iterable[Path | str], out: Path | str | None = None) -> Path:
    """See `testbed.report.html.write_report`."""
    from testbed.report import html

    return html.write_report(bundle_dirs, out)
