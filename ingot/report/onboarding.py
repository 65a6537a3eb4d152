"""How onboarding is shown: lines for one server, its hardware, a summary of many at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingot.facts.hardware import HardwareSeen
from ingot.onboarding import description
from ingot.onboarding.request import Outcome
from ingot.operations.preflight.preflight import Judged
from ingot.report.console import plain_table


class Lines:
    """One line per step. Asks on a terminal, and nobody elsewhere."""

    def __init__(self, console: Console, *, asks: bool) -> None:
        self.console = console
        self.asks = asks

    def say(self, name: str, step: str, result: str = "") -> None:
        """What is being done now."""
        self.console.print(f"{name}: {step}", soft_wrap=True)

    def confirm(self, question: str) -> bool | None:
        """A yes or a no."""
        return click.confirm(question, default=False, err=True) if self.asks else None

    def secret(self, prompt: str) -> str | None:
        """A password, not shown while it is typed."""
        return str(click.prompt(prompt, hide_input=True, err=True)) if self.asks else None


def show_one(console: Console, outcome: Outcome, *, dry: bool) -> None:
    """What a server is made of, and what was or would be changed."""
    if outcome.seen:
        console.print(hardware_table(outcome.name, outcome.seen))
    verb = "would change" if dry else "changed"
    for change in outcome.changes:
        console.print(f"{outcome.name}: {verb}: {change}", soft_wrap=True)
    if not outcome.changes and not outcome.error:
        console.print(f"{outcome.name}: nothing to change", soft_wrap=True)
    for remark in outcome.remarks:
        console.print(f"{outcome.name}: note: {remark}.", soft_wrap=True)


def show_judged(console: Console, name: str, judged: Judged) -> None:
    """What preflight says of a new member."""
    for sentence in judged.stops:
        console.print(f"{name}: preflight refuses: {sentence}.", soft_wrap=True)
    for note in judged.notes:
        console.print(f"{name}: preflight notes: {note}.", soft_wrap=True)
    if not judged.stops:
        console.print(f"{name}: preflight: nothing stands in the way of a deploy", soft_wrap=True)


def hardware_table(name: str, seen: HardwareSeen) -> Table:
    """Everything that was seen of a server, one row per part."""
    shown = plain_table("", "", title=f"{name}: hardware as found", show_header=False)
    for part, text in description.rows(seen):
        shown.add_row(Text(part, style="bold"), text)
    return shown


def result_of(outcome: Outcome, held: Collection[str]) -> str:
    """How it went in a word or two; `held` are those that preflight refuses."""
    return "failed" if outcome.error else "preflight refuses" if outcome.name in held else "member"


def summary(outcomes: Sequence[Outcome], held: Collection[str]) -> Table:
    """One row per server: how it went and what it is; `held` are those that preflight refuses."""
    shown = plain_table("server", "address", "result", "hardware", "changes", title="servers")
    for outcome in outcomes:
        result = result_of(outcome, held)
        style = {"failed": "red", "member": "green"}.get(result, "yellow")
        made = description.summary(outcome.seen) if outcome.seen else "-"
        shown.add_row(outcome.name, outcome.address, Text(result, style), made, str(len(outcome.changes)))
    return shown


def to_dict(outcome: Outcome, held: Collection[str]) -> dict[str, Any]:
    """A server that did not fail, as JSON-able values."""
    return {
        "host": outcome.name,
        "address": outcome.address,
        "result": result_of(outcome, held),
        "hardware": description.summary(outcome.seen) if outcome.seen else None,
        "changes": list(outcome.changes),
        "remarks": list(outcome.remarks),
    }
