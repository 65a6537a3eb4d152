"""Usage as one HTML file without any outside asset: what each team and each model took, day by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from html import escape

from ingot.report.page import document
from ingot.report.plot import Bar, Line, bars, lines
from ingot.report.usage import Used

#: Lines of a plot at most: more of them cannot be told apart.
MOST_LINES = 8
DAY_S = 86400.0


def usage_page(
    used: Mapping[tuple[str, ...], Used], begin: datetime, end: datetime, currency: str | None = None
) -> str:
    """The page of a time: totals and days of teams and of models, and what they cost where there is a currency.

    `used` is by team, model and day.
    """
    parts = [f'<p class="dim">{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC</p>']
    for title, position in (("Teams", 0), ("Models", 1)):
        parts += [
            f"<section>\n<h2>{title}</h2>",
            _totals(used, position, currency),
            _plots(used, position, begin.date(), currency),
            "</section>",
        ]
    return document("Usage", "\n".join(parts))


def _totals(used: Mapping[tuple[str, ...], Used], position: int, currency: str | None) -> str:
    totals: dict[str, Used] = defaultdict(Used)
    for group, one in used.items():
        total = totals[group[position]]
        total.requests += one.requests
        total.prompt_tokens += one.prompt_tokens
        total.completion_tokens += one.completion_tokens
        total.cost += one.cost
    heads = [
        ("team", "model")[position],
        "requests",
        "tokens in",
        "tokens out",
        *([f"cost, {currency}"] if currency else []),
    ]
    rows = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    for name, one in sorted(totals.items(), key=lambda item: (-item[1].cost, -item[1].completion_tokens, item[0])):
        numbers = [f"{one.requests:,}", f"{one.prompt_tokens:,}", f"{one.completion_tokens:,}"]
        numbers += [f"{one.cost:,.2f}"] if currency else []
        rows.append(f"<td>{escape(name or '-')}</td>" + "".join(f'<td class="n">{number}</td>' for number in numbers))
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _plots(used: Mapping[tuple[str, ...], Used], position: int, first: date, currency: str | None) -> str:
    tokens: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    costs: dict[str, float] = defaultdict(float)
    for group, one in used.items():
        at = (date.fromisoformat(group[2]) - first).days * DAY_S
        tokens[group[position]][at] += one.prompt_tokens + one.completion_tokens
        costs[group[position]] += one.cost
    largest = sorted(tokens, key=lambda name: (-sum(tokens[name].values()), name))[:MOST_LINES]
    shown = lines("Tokens per day", "tokens", [Line(name or "-", sorted(tokens[name].items())) for name in largest])
    if currency and any(costs.values()):
        dear = sorted(costs, key=lambda name: (-costs[name], name))[:MOST_LINES]
        shown += bars("Cost", currency, [Bar(name or "-", costs[name]) for name in dear])
    return shown
