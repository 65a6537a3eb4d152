"""What series came to over the last hours, as the Prometheus of the host that watches has them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from pyinfra.api.facts import FactBase

from ingot.facts.alerts import PROMETHEUS
from ingot.facts.errors import ParseError
from ingot.facts.sections import compose, split

SCRIPT = (files(__package__) / "figures_on_host.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query in PromQL. `over_time`: with what it was, not only what it is at the end. `most` series are kept: those
    with the highest values, or with the `lowest`."""

    expr: str
    over_time: bool
    most: int
    lowest: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when, seconds since 1970, and the seconds between two points."""

    begin_s: float
    end_s: float
    step_s: int


@dataclass(frozen=True, slots=True)
class Series:
    """One series; its points are seconds since the window's beginning and values, ascending, at least one."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query came to: the series that were kept and how many more there are; `error`: why there is none."""

    series: tuple[Series, ...] = ()
    more: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """An answer for each query, in their order; `fault`: why there is none of any."""

    answers: tuple[Answer, ...] = ()
    fault: str | None = None


class MonitorFigures(FactBase[Figures]):
    """Series of the monitor's Prometheus, asked on that host. `values` is what `$name` stands for in queries.

    Returns: Figures((Answer((Series({"host": "gpu-07"}, ((0, 71.0), (180, 72.5))),), more=12),))
    """

    @staticmethod
    def default() -> Figures:
        return Figures(fault="its Prometheus did not answer in time; see `systemctl status prometheus` there")

    def command(self, window: Window, values: Mapping[str, str], queries: Sequence[Asked]) -> str:
        asked = {
            "url": PROMETHEUS,
            **asdict(window),
            "values": dict(values),
            "queries": [asdict(one) for one in queries],
        }
        told = json.dumps(asked, separators=(",", ":"))
        return compose(
            {
                "python": "command -v python3",
                "figures": f"python3 -c {shlex.quote(SCRIPT)} {shlex.quote(told)}",
            }
        )

    def process(self, output: Iterable[str]) -> Figures:
        return parse_figures(output)


def parse_figures(output: Iterable[str]) -> Figures:
    """The answer of `MonitorFigures`."""
    try:
        found = split(output)
    except ParseError as error:
        return Figures(fault=str(error).rstrip("."))
    if "figures" not in found:
        return MonitorFigures.default()
    if found["python"].status != 0:
        return Figures(fault="it has no python3, which asks its Prometheus; install python3 there")
    said = found["figures"]
    if said.status != 0:
        last = (said.output.strip().splitlines() or ["nothing"])[-1]
        return Figures(fault=f"its Prometheus does not answer ({last}); see `systemctl status prometheus` there")
    return Figures(
        tuple(
            Answer(
                tuple(
                    Series(series["labels"], tuple((at, value) for at, value in series["points"]))
                    for series in one.get("series", [])
                ),
                one.get("more", 0),
                one.get("error"),
            )
            for one in json.loads(said.output)["answers"]
        )
    )
