"""How far each of several hosts is: one table on a terminal, redrawn, and one line per step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ingot.report.console import plain_table

#: A result, and the colour of its row.
STYLES = {"pass": "green", "done": "green", "warn": "yellow", "fail": "red", "failed": "red", "error": "red"}


class Board:
    """The rows of all hosts; as a context manager it is on the screen from start to end. Asks nobody."""

    def __init__(self, console: Console, names: Sequence[str] = ()) -> None:
        self.console = console
        self.began = time.monotonic()
        self.rows = dict.fromkeys(names, ("waits for its turn", "", ""))
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def say(self, name: str, step: str, result: str = "") -> None:
        """What a host does now, and at its end how that went."""
        if self.rows.get(name, ("", ""))[:2] == (step, result):
            return
        self.rows[name] = (step, result, f"{time.monotonic() - self.began:.0f} s")
        if self.live:
            self.live.update(self.table(), refresh=True)
        elif not result:
            self.console.print(f"{name}: {step}", soft_wrap=True)

    def table(self) -> Table:
        """The rows as they are now."""
        shown = plain_table("host", "", "time", "step")
        for name, (step, result, spent) in self.rows.items():
            shown.add_row(name, result, spent, step, style=STYLES.get(result, ""))
        return shown

    def confirm(self, question: str) -> bool | None:
        """Nobody is asked: the table is drawn over and over."""
        return None

    def secret(self, prompt: str) -> str | None:
        """Nobody is asked."""
        return None

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
            self.live.update(self.table(), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
