"""What a verification found, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from ingot.report.console import plain_table
from ingot.verification.summary import HEADINGS, HostSummary


def table(found: Iterable[HostSummary]) -> Table:
    """One row per host."""
    shown = plain_table(*HEADINGS, right=HEADINGS[1:])
    for one in found:
        shown.add_row(*one.cells())
    return shown
