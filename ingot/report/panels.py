"""The panels of the dashboards with their figures, as the Prometheus of the group `monitor` has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyinfra.api.host import Host
from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.figures import Answer, Asked, Figures, MonitorFigures, Window
from ingot.inventory.fleet import Selected, asked, monitors_of
from ingot.monitoring.dashboards.catalogue import DASHBOARDS
from ingot.monitoring.dashboards.panel import Dashboard, Panel, Shape, Unit
from ingot.monitoring.metrics import INTERVAL_S
from ingot.report.console import plain_table
from ingot.report.scale import scale

NO_MONITOR = (
    "{path}: no host is in the group `monitor`, so nobody keeps figures; name one there and deploy, or look with "
    "`ingot status`."
)
#: Points of a line.
POINTS = 120
#: Series that a panel names, by its shape, shared out among its queries; the others are counted.
NAMED = {Shape.LINES: 8, Shape.NUMBER: 1, Shape.BARS: 16, Shape.TABLE: 20}


@dataclass(frozen=True, slots=True)
class Shown:
    """One panel, and the answer to each of its queries."""

    panel: Panel
    answers: tuple[Answer, ...]

    @property
    def number(self) -> float | None:
        """The newest figure of its first series; None where there is none."""
        series = self.answers[0].series
        return series[0].points[-1][1] if series else None

    @property
    def errors(self) -> tuple[str, ...]:
        """Why there is no answer, once for each reason."""
        return tuple(dict.fromkeys(one.error for one in self.answers if one.error))

    @property
    def more(self) -> int:
        """How many series there are besides those that are named."""
        return sum(one.more for one in self.answers)


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: its panels by the title of their row."""

    dashboard: Dashboard
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]


@dataclass(frozen=True, slots=True)
class Panels:
    """Every panel with its figures, as `monitor` has them at `at`.

    `hosts` names those that were asked for; empty: all. `errors` are sentences, also of monitors that did not answer.
    """

    at: datetime
    window: Window
    inventory: str
    hosts: tuple[str, ...] = ()
    monitor: str = ""
    boards: tuple[Board, ...] = ()
    errors: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "monitor": self.monitor or None,
            "begin_s": self.window.begin_s,
            "end_s": self.window.end_s,
            "step_s": self.window.step_s,
            "dashboards": [
                {
                    "name": one.dashboard.name,
                    "rows": [
                        {"title": title, "panels": [_panel_dict(shown) for shown in panels]}
                        for title, panels in one.rows
                    ],
                }
                for one in self.boards
            ],
            "errors": list(self.errors),
        }


def _panel_dict(one: Shown) -> dict[str, Any]:
    return {
        "title": one.panel.title,
        "unit": str(one.panel.unit),
        "shape": str(one.panel.shape),
        "series": [
            {"name": query.called(series.labels), "labels": dict(series.labels), "points": list(series.points)}
            for query, answer in zip(one.panel.queries, one.answers, strict=True)
            for series in answer.series
        ],
        "more": one.more,
        "errors": list(one.errors),
    }


def window(at: datetime, hours: float) -> Window:
    """The hours up to a moment."""
    step = max(INTERVAL_S, round(hours * 3600 / POINTS))
    end = int(at.timestamp())
    return Window(end - step * round(hours * 3600 / step), end, step)


def queries() -> tuple[Asked, ...]:
    """Every query of every panel, in their order."""
    return tuple(
        Asked(query.expr, panel.shape is Shape.LINES, _most(panel), panel.lowest)
        for panel in _panels()
        for query in panel.queries
    )


def _most(panel: Panel) -> int:
    """Of each query of a panel: three at least where it has several."""
    return NAMED[panel.shape] if len(panel.queries) == 1 else max(NAMED[panel.shape] // len(panel.queries), 3)


def _panels() -> Iterator[Panel]:
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            yield from row.panels


def values(hosts: Sequence[str], step_s: int) -> dict[str, str]:
    """What stands for a dashboard's variables: these hosts (empty: all), all models and teams."""
    # A name may have a dot. A rate needs four scrapes, and no point may be lost between two steps.
    chosen = "|".join(name.replace(".", "[.]") for name in hosts) or ".*"
    rate = max(4 * INTERVAL_S, step_s + INTERVAL_S)
    return {"__rate_interval": f"{rate}s", "host": chosen, "model": ".*", "team": ".*"}


def fleet_panels(chosen: Selected, at: datetime, hours: float, *, everybody: bool) -> Panels:
    """The figures of the chosen hosts; `everybody`: of hosts that left the inventory, too."""
    names = () if everybody else chosen.names
    made = Panels(at, window(at, hours), str(chosen.path), names)
    monitors = monitors_of(chosen)
    if not monitors.hosts:
        return replace(made, errors=(NO_MONITOR.format(path=chosen.path),))

    def ask(host: Host) -> Figures:
        return host.get_fact(
            MonitorFigures, window=made.window, values=values(names, made.window.step_s), queries=queries()
        )

    errors: list[str] = []
    for name, answer in zip(monitors.names, asked(monitors, ask), strict=True):
        if isinstance(answer, IngotError):
            errors.append(str(answer))
        elif answer.fault:
            errors.append(f"{name}: {answer.fault}.")
        elif not made.boards:
            # Each monitor watches the whole fleet: the first that answers has all.
            made = replace(made, monitor=name, boards=boards(answer.answers))
            errors += unanswered(name, made.boards)
    return replace(made, errors=tuple(errors))


def boards(answers: Sequence[Answer]) -> tuple[Board, ...]:
    """The dashboards with the answers to `queries`."""
    left = iter(answers)
    return tuple(
        Board(
            dashboard,
            tuple(
                (row.title, tuple(Shown(panel, tuple(next(left) for _ in panel.queries)) for panel in row.panels))
                for row in dashboard.rows
            ),
        )
        for dashboard in DASHBOARDS
    )


def unanswered(monitor: str, found: Sequence[Board]) -> Iterator[str]:
    """One sentence for each reason why panels have no answer."""
    reasons: dict[str, list[str]] = {}
    for board in found:
        for _, panels in board.rows:
            for shown in panels:
                for reason in shown.errors:
                    reasons.setdefault(reason, []).append(f"{board.dashboard.title}: {shown.panel.title}")
    for reason, titles in reasons.items():
        rest = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        yield f"{monitor}: no answer for the panel {titles[0]}{rest} ({reason})."


def numbers(found: Panels) -> Table:
    """The panels that are one number, for the terminal."""
    shown = plain_table("dashboard", "panel", "now")
    for board in found.boards:
        for _, panels in board.rows:
            for one in panels:
                if one.panel.shape is Shape.NUMBER:
                    shown.add_row(board.dashboard.title, one.panel.title, number_words(one, found.at))
    return shown


def number_words(shown: Shown, at: datetime) -> str:
    """A panel's one number with its unit; `no figures` where there is none."""
    if shown.number is None:
        return "no answer" if shown.errors else "no figures"
    if shown.panel.unit is Unit.SINCE:
        ago = at.timestamp() - shown.number / 1000
        return f"{scale(Unit.SECONDS, ago).shown(ago)} ago"
    return scale(shown.panel.unit, shown.number).shown(shown.number)
