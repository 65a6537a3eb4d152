"""How onboarding is shown: lines for one server or a log, a live table for many on a terminal, a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ingot.onboarding import table
from ingot.onboarding.request import Outcome
from ingot.operations.preflight.preflight import Judged


class Lines:
    """One line per step. Asks on a terminal, and nobody elsewhere."""

    def __init__(self, console: Console, *, asks: bool) -> None:
        self.console = console
        self.asks = asks

    def say(self, name: str, step: str) -> None:
        """What is being done now."""
        self.console.print(f"{name}: {step}", markup=False, highlight=False, soft_wrap=True)

    def confirm(self, question: str) -> bool | None:
        """A yes or a no."""
        return click.confirm(question, default=False, err=True) if self.asks else None

    def secret(self, prompt: str) -> str | None:
        """A password, not shown while it is typed."""
        return str(click.prompt(prompt, hide_input=True, err=True)) if self.asks else None


class Board:
    """Many servers on a terminal: one row each, kept up to date. Asks nobody."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self.began = time.monotonic()
        self.steps = dict.fromkeys(names, "waits for its turn")
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=4)

    def render(self) -> RenderableType:
        """The rows as they are now."""
        done = sum(step in ("done", "failed") for step in self.steps.values())
        took = time.monotonic() - self.began
        shown = Table(
            title=f"{done} of {len(self.steps)} servers, {took:.0f} s", title_justify="left", box=None, min_width=60
        )
        for heading in ("server", "step"):
            shown.add_column(heading, no_wrap=True, overflow="ellipsis")
        for name, step in self.steps.items():
            style = {"done": "green", "failed": "red"}.get(step, "")
            shown.add_row(escape(name), escape(step), style=style)
        return shown

    def say(self, name: str, step: str) -> None:
        """What is being done now."""
        self.steps[name] = step

    def confirm(self, question: str) -> bool | None:
        """Nobody is asked: the table is drawn over and over."""
        return None

    def secret(self, prompt: str) -> str | None:
        """Nobody is asked."""
        return None


def show_one(console: Console, outcome: Outcome, *, dry: bool) -> None:
    """What a server is made of, and what was or would be changed."""
    if outcome.seen:
        console.print(table.table(outcome.name, outcome.seen))
    verb = "would change" if dry else "changed"
    for change in outcome.changes:
        console.print(f"{outcome.name}: {verb}: {change}", markup=False, highlight=False, soft_wrap=True)
    if not outcome.changes and not outcome.error:
        console.print(f"{outcome.name}: nothing to change", markup=False, highlight=False)
    for remark in outcome.remarks:
        console.print(f"{outcome.name}: note: {remark}.", markup=False, highlight=False, soft_wrap=True)


def show_judged(console: Console, name: str, judged: Judged) -> None:
    """What preflight says of a new member."""
    for sentence in judged.stops:
        console.print(f"{name}: preflight refuses: {sentence}.", markup=False, highlight=False, soft_wrap=True)
    for note in judged.notes:
        console.print(f"{name}: preflight notes: {note}.", markup=False, highlight=False, soft_wrap=True)
    if not judged.stops:
        console.print(f"{name}: preflight: nothing stands in the way of a deploy", markup=False, highlight=False)


def summary(outcomes: Sequence[Outcome], held: Collection[str]) -> Table:
    """One row per server: how it went and what it is; `held` are those that preflight refuses."""
    shown = Table(title="servers", title_justify="left", box=None, pad_edge=False)
    for heading in ("server", "address", "result", "hardware", "changes"):
        shown.add_column(heading, no_wrap=heading != "hardware")
    for outcome in outcomes:
        result = "failed" if outcome.error else "preflight refuses" if outcome.name in held else "member"
        style = {"failed": "red", "member": "green"}.get(result, "yellow")
        made = table.summary(outcome.seen) if outcome.seen else "-"
        shown.add_row(outcome.name, outcome.address, f"[{style}]{result}[/]", made, str(len(outcome.changes)))
    return shown
