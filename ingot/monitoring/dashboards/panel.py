"""What a dashboard shows, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

#: Grafana's grid.
COLUMNS = 24
#: Labels that tell how a series was read, not what it is of.
OF_SCRAPES = ("__name__", "alertstate", "instance", "job")


class Shape(StrEnum):
    """How a panel draws its series; the value is Grafana's name of it."""

    LINES = "timeseries"
    NUMBER = "stat"
    BARS = "bargauge"
    TABLE = "table"


class Unit(StrEnum):
    """Units by Grafana's names (packages/grafana-data, valueFormats/categories.ts)."""

    NONE = "short"
    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_S = "Bps"
    CELSIUS = "celsius"
    WATTS = "watt"
    HERTZ = "hertz"
    PER_S = "reqps"
    SINCE = "dateTimeFromNow"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL with the dashboard's variables (`$host`, …), and what a series is called: its labels as `{{label}}`."""

    expr: str
    legend: str = ""

    def called(self, labels: Mapping[str, str]) -> str:
        """What a series with these labels is called; its labels one after the other where nothing is said."""
        if not self.legend:
            return " ".join(value for name, value in sorted(labels.items()) if name not in OF_SCRAPES)
        return " ".join(re.sub(r"\{\{(\w+)\}\}", lambda one: labels.get(one[1], ""), self.legend).split())


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `width` in columns. `lowest`: of many series, those with the lowest values are the ones to look at."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = Unit.NONE
    shape: Shape = Shape.LINES
    width: int = 8
    about: str = ""
    lowest: bool = False
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one title, from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses above the panels: values of a label of a metric. It is `$<name>` in queries."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard; `name` is also the end of its lasting address (uid) and its file's name."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


HOST = Variable("host", 'up{job="node"}', "host")
MODEL = Variable("model", "ingot_replica_in_pool", "model")
TEAM = Variable("team", "ingot_gateway_requests_total", "team")


def one(
    title: str,
    expr: str,
    unit: Unit = Unit.NONE,
    legend: str = "",
    about: str = "",
    width: int = 8,
    *,
    lowest: bool = False,
) -> Panel:
    """Lines of one query."""
    return Panel(title, (Query(expr, legend),), unit, about=about, width=width, lowest=lowest)


def number(title: str, expr: str, unit: Unit = Unit.NONE, about: str = "") -> Panel:
    """A single number."""
    return Panel(title, (Query(expr),), unit, Shape.NUMBER, width=4, about=about)


def table(title: str, expr: str, about: str = "", width: int = 24) -> Panel:
    """What there is now, a row for each series."""
    return Panel(title, (Query(expr),), shape=Shape.TABLE, width=width, about=about)


def quantiles(title: str, histogram: str, by: str, selector: str, unit: Unit = Unit.SECONDS) -> Panel:
    """p50, p95 and p99 of a histogram: summed over ranks and replicas before, since quantiles do not add up."""
    summed = f"sum by (le, {by}) (rate({histogram}_bucket{{{selector}}}[$__rate_interval]))"
    return Panel(
        title,
        tuple(Query(f"histogram_quantile({q / 100:g}, {summed})", f"{{{{{by}}}}} p{q}") for q in (50, 95, 99)),
        unit,
    )
