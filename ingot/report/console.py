"""The terminal: what is printed there is text, whatever a value or a file name holds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.table import Table


def plain_console(**options: Any) -> Console:
    """A console that prints `[/old]` and `:smile:` as they are, in lines and in tables; the only way to make one."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def plain_table(
    *headings: str, right: Collection[str] = (), whole: Collection[str] = (), title: str | None = None, **options: Any
) -> Table:
    """A table without lines; what a cell cannot hold is continued below.

    Columns named in `right` hold numbers; those in `whole` hold names, which break only where nothing else is left to.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, **options)
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=heading in whole
        )
    return table
