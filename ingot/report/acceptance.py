"""What acceptances came to, in the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingot.acceptance.evidence import Outcome
from ingot.acceptance.finding import label
from ingot.acceptance.speed import METRICS
from ingot.report.acceptance_page import render
from ingot.report.board import STYLES
from ingot.report.console import plain_table
from ingot.secrets import files


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Each host's verdict, its findings, and what its GPUs measured."""
    for one in outcomes:
        verdict = str(one.verdict)
        console.print(Text.assemble(f"{one.host}: ", (verdict, STYLES[verdict]), f" ({one.level})"))
        for finding in one.findings:
            console.print(f"  {finding.verdict}: {finding.text}", soft_wrap=True)
        if one.measured.burn_in and one.measured.burn_in.gpus:
            console.print(figures(one))


def figures(outcome: Outcome) -> Table:
    """What each GPU measured."""
    headings = [f"{words}\n{unit}" for words, unit, _ in METRICS.values()]
    shown = plain_table("", *headings, right=headings)
    assert outcome.measured.burn_in
    for one in outcome.measured.burn_in.gpus:
        values = [read(one) for _, _, read in METRICS.values()]
        cells = ["-" if value is None else f"{value:,.1f}" for value in values]
        shown.add_row(label(outcome.measured, one.uuid), *cells)
    return shown


def write_page(outcomes: Sequence[Outcome], directory: Path) -> Path:
    """The page of a run, where only its owner may read it; returns where it is."""
    at = max(one.at for one in outcomes).replace(":", "").replace("+0000", "Z")
    path = directory / f"{at}-{outcomes[0].level.replace(' ', '-')}.html"
    files.replace(path, render([one.to_dict() for one in outcomes]), 0o600)
    return path
