"""Usage of teams: each host sums its own logs, the sums are added up here and shown as rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pyinfra.api.host import Host
from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.usage import HostUsage, Usage
from ingot.facts.usage_on_host import STEPS
from ingot.inventory.fleet import Selected, asked
from ingot.report.console import plain_table
from ingot.settings.read import section
from ingot.settings.usage import Price
from ingot.settings.usage import Usage as Prices

#: Summing takes some seconds per gigabyte of logs.
TIMEOUT_S = 900
HEADINGS = ("requests", "refused", "aborted", "in", "out", "p50 s", "p95 s")


@dataclass
class Used:
    """What one group asked for: `first_byte` counts answers by the time to their first byte, in steps of 5 %.

    `cost` is in the currency of the prices; `unpriced` are models that have tokens and no price.
    """

    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_byte: Counter[int] = field(default_factory=Counter)
    cost: float = 0.0
    unpriced: set[str] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one host's row."""
        self.requests += row["requests"]
        self.refused.update(row["refused"])
        self.aborted += row["aborted"]
        self.prompt_tokens += row["prompt_tokens"]
        self.completion_tokens += row["completion_tokens"]
        self.first_byte.update({int(step): count for step, count in row["first_byte"].items()})
        self.cost += row.get("cost", 0.0)
        self.unpriced |= row.get("unpriced", set())

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


def by_groups(
    rows: Iterable[Mapping[str, Any]], asked_by: Sequence[str], groups: Sequence[str]
) -> dict[tuple[str, ...], Used]:
    """Rows that were asked for by more, added up by some of it."""
    places = [asked_by.index(name) for name in groups]
    return merged({**row, "group": [row["group"][place] for place in places]} for row in rows)


@dataclass(frozen=True)
class Answers:
    """What the hosts summed: rows of all of them, lines that could not be read, a sentence for each that gave none."""

    rows: tuple[Mapping[str, Any], ...]
    wrong_lines: int
    errors: tuple[str, ...]


def summed(chosen: Selected, begin: datetime, end: datetime, by: Sequence[str], *, priced: bool = False) -> Answers:
    """The sums of each host's logs between two moments, grouped by `by`; all hosts are asked at once.

    `priced`: each row has its cost by the prices of its own host.
    """
    period = {"since": begin.timestamp(), "until": end.timestamp()}
    asks = (*by, "model") if priced and "model" not in by else tuple(by)

    def of(host: Host) -> HostUsage:
        prices = section(host, Prices).prices if priced else {}
        found: HostUsage = host.get_fact(Usage, **period, by=asks, _timeout=TIMEOUT_S, _ignore_errors=True)
        if not priced:
            return found
        return replace(found, rows=tuple(_priced(row, asks, len(by), prices) for row in found.rows))

    answers: list[HostUsage | IngotError] = asked(chosen, of)
    good = [one for one in answers if isinstance(one, HostUsage)]
    errors = []
    for name, one in zip(chosen.names, answers, strict=True):
        if isinstance(one, IngotError):
            errors.append(str(one))
        elif one.fault:
            errors.append(f"{name}: {one.fault}.")
    return Answers(tuple(row for one in good for row in one.rows), sum(one.wrong_lines for one in good), tuple(errors))


def _priced(row: Mapping[str, Any], asked_by: Sequence[str], shown: int, prices: Mapping[str, Price]) -> dict[str, Any]:
    """A host's row with what it cost, grouped by what is shown."""
    model = row["group"][asked_by.index("model")]
    price = prices.get(model)
    tokens = row["prompt_tokens"], row["completion_tokens"]
    cost = (tokens[0] * price.input + tokens[1] * price.output) / 1e6 if price else 0.0
    unpriced = {model} if price is None and any(tokens) else set()
    return {**row, "group": row["group"][:shown], "cost": cost, "unpriced": unpriced}


def table(used: Mapping[tuple[str, ...], Used], groups: Sequence[str], currency: str | None = None) -> Table:
    """One row per group; with what it cost where there is a currency."""
    money = (currency,) if currency else ()
    shown = plain_table(*groups, *HEADINGS, *money, right=(*HEADINGS, *money))
    for names, one in used.items():
        cells = [f"{cell:,}" if type(cell) is int else str(cell or "-") for cell in one.cells().values()]
        shown.add_row(*(name or "-" for name in names), *cells, *([f"{one.cost:,.2f}"] if currency else []))
    if currency:
        total = sum(one.cost for one in used.values())
        shown.add_row("total", *([""] * (len(groups) - 1 + len(HEADINGS))), f"{total:,.2f}")
    return shown


def csv_text(used: Mapping[tuple[str, ...], Used], groups: Sequence[str], currency: str | None = None) -> str:
    """A line of headings, and one per group."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*groups, *Used().cells(), *([f"cost_{currency.lower()}"] if currency else [])))
    for group, one in used.items():
        writer.writerow((*group, *one.cells().values(), *([f"{one.cost:.6f}"] if currency else [])))
    return text.getvalue()


def to_dicts(
    used: Mapping[tuple[str, ...], Used], groups: Sequence[str], currency: str | None = None
) -> list[dict[str, Any]]:
    """The same as JSON-able values: refused requests by status."""
    return [
        {
            **dict(zip(groups, group, strict=True)),
            **one.cells(),
            "refused": dict(one.refused),
            **({"cost": round(one.cost, 6), "currency": currency} if currency else {}),
        }
        for group, one in used.items()
    ]


def currency_of(chosen: Selected) -> str:
    """The currency of the prices.

    Raises: IngotError when hosts have different ones: their costs cannot be added up.
    """
    found = sorted({section(host, Prices).prices_currency for host in chosen.hosts})
    if len(found) > 1:
        raise IngotError(
            f"{chosen.path}: its hosts have prices in {' and '.join(found)}; set one prices_currency in "
            "group_data/all.py, or name hosts that have the same."
        )
    return found[0]
