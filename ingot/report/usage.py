"""Usage of teams: each host sums its own logs, the sums are added up here and shown as rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.usage import HostUsage, Usage
from ingot.facts.usage_on_host import STEPS
from ingot.inventory.fleet import Selected, asked
from ingot.report.console import plain_table

#: Summing takes some seconds per gigabyte of logs.
TIMEOUT_S = 900
HEADINGS = ("requests", "refused", "aborted", "in", "out", "p50 s", "p95 s")


@dataclass
class Used:
    """What one group asked for: `first_byte` counts answers by the time to their first byte, in steps of 5 %."""

    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_byte: Counter[int] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one host's row."""
        self.requests += row["requests"]
        self.refused.update(row["refused"])
        self.aborted += row["aborted"]
        self.prompt_tokens += row["prompt_tokens"]
        self.completion_tokens += row["completion_tokens"]
        self.first_byte.update({int(step): count for step, count in row["first_byte"].items()})

    def first_byte_s(self, share: float) -> float | None:
        """The time in seconds within which this share of answers began, within 5 %; None without answers."""
        wanted, seen = share * self.first_byte.total(), 0
        for step, count in sorted(self.first_byte.items()):
            seen += count
            if seen >= wanted:
                return float(10 ** (step / STEPS))
        return None

    def cells(self) -> dict[str, Any]:
        """What is shown of it, by column; times in seconds."""
        p50, p95 = self.first_byte_s(0.5), self.first_byte_s(0.95)
        return {
            "requests": self.requests,
            "refused": " ".join(f"{count}x{status}" for status, count in sorted(self.refused.items())),
            "aborted": self.aborted,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_byte_p50_s": p50 and round(p50, 3),
            "first_byte_p95_s": p95 and round(p95, 3),
        }


def merged(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], Used]:
    """Rows of any number of hosts, added up by group and sorted by it."""
    found: dict[tuple[str, ...], Used] = {}
    for row in rows:
        found.setdefault(tuple(row["group"]), Used()).add(row)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Answers:
    """What the hosts summed: rows of all of them, lines that could not be read, a sentence for each that gave none."""

    rows: tuple[Mapping[str, Any], ...]
    wrong_lines: int
    errors: tuple[str, ...]


def summed(chosen: Selected, begin: datetime, end: datetime, by: Sequence[str]) -> Answers:
    """The sums of each host's logs between two moments, grouped by `by`; all hosts are asked at once."""
    period = {"since": begin.timestamp(), "until": end.timestamp()}
    answers: list[HostUsage | IngotError] = asked(
        chosen, lambda host: host.get_fact(Usage, **period, by=by, _timeout=TIMEOUT_S, _ignore_errors=True)
    )
    good = [one for one in answers if isinstance(one, HostUsage)]
    errors = []
    for name, one in zip(chosen.names, answers, strict=True):
        if isinstance(one, IngotError):
            errors.append(str(one))
        elif one.fault:
            errors.append(f"{name}: {one.fault}.")
    return Answers(tuple(row for one in good for row in one.rows), sum(one.wrong_lines for one in good), tuple(errors))


def table(used: Mapping[tuple[str, ...], Used], groups: Sequence[str]) -> Table:
    """One row per group."""
    shown = plain_table(*groups, *HEADINGS, right=HEADINGS)
    for names, one in used.items():
        cells = [f"{cell:,}" if type(cell) is int else str(cell or "-") for cell in one.cells().values()]
        shown.add_row(*(name or "-" for name in names), *cells)
    return shown


def csv_text(used: Mapping[tuple[str, ...], Used], groups: Sequence[str]) -> str:
    """A line of headings, and one per group."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*groups, *Used().cells()))
    writer.writerows((*group, *one.cells().values()) for group, one in used.items())
    return text.getvalue()


def to_dicts(used: Mapping[tuple[str, ...], Used], groups: Sequence[str]) -> list[dict[str, Any]]:
    """The same as JSON-able values: refused requests by status."""
    return [
        {**dict(zip(groups, group, strict=True)), **one.cells(), "refused": dict(one.refused)}
        for group, one in used.items()
    ]
