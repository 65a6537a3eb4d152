"""A benchmark for people: a row per level, what it is compared with, and how far it is meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ingot.bench.load import FIGURES
from ingot.bench.measured import Spread
from ingot.bench.published import beside_published
from ingot.bench.record import Level, Record, beside_estimate, compared, hit_share
from ingot.facts.engine_counters import HITS, QUERIES
from ingot.report.console import plain_table

HEADINGS = ("load", "requests", "failed", "tokens/s", "TTFT ms", "ITL ms", "e2e s", "within", "good/s", "cached")
NUMBERS = HEADINGS[1:]


def table(record: Record) -> Table:
    """A row per level: p50, p95 and p99 of each time."""
    shown = plain_table(*HEADINGS, right=NUMBERS)
    for level in record.levels:
        shown.add_row(*cells(level))
    return shown


def cells(level: Level) -> tuple[str, ...]:
    """The row of a level."""
    measured = level.measured
    if measured is None:
        return (f"{level.load.level}, stopped", *["-"] * len(NUMBERS))
    cached = hit_share(level.counters, QUERIES, HITS)
    return (
        level.load.level,
        f"{measured.requests:,}",
        f"{measured.failed:,}",
        f"{measured.output_tokens_per_s:,.0f}",
        spread(measured.ttft, 1000),
        spread(measured.itl, 1000),
        spread(measured.e2e, 1),
        "-" if measured.within is None else f"{measured.within:.0%}",
        "-" if measured.goodput_per_s is None else f"{measured.goodput_per_s:,.3g}",
        "-" if cached is None else f"{cached:.0%}",
    )


def spread(one: Spread, scale: float) -> str:
    """p50, p95 and p99 in seconds times `scale`, as far as they are told."""
    return " / ".join(_number(value * scale) for value in (one.p50_s, one.p95_s, one.p99_s) if value is not None)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def sentences(record: Record, before: Record | None) -> Iterator[str]:
    """What stands below the table."""
    yield f"{record.subject.words()}, asked at {record.url} from {record.place}"
    for lengths in dict.fromkeys(level.load.lengths for level in record.levels):
        yield f"{lengths}; a time is p50 / p95 / p99, where enough requests were made to tell"
    if record.users is not None:
        least = "at least " if record.users_at_least else ""
        yield f"{limits_words(record)} holds for {least}{record.users:,} users at once (95 % of their requests)"
    yield from beside_estimate(record)
    yield from beside_published(record)
    yield from compared(record, before)
    if record.why:
        yield f"stopped: {record.why}"


def limits_words(record: Record) -> str:
    """The limits as people write them: `ttft 1 s, itl 50 ms`."""
    words = (
        f"{name} {limit:g} s" if limit >= 1 else f"{name} {limit * 1000:g} ms"
        for name, limit in record.limits.items()
        if name in FIGURES
    )
    return ", ".join(words)


class Bars:
    """A bar for each level on a terminal; elsewhere a line when one begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def say(self, level: str, done: int, total: int, failed: int) -> None:
        """How far a level is."""
        if level not in self._tasks:
            self._tasks[level] = self._progress.add_task(level, total=total, failed=0)
            if not self._console.is_terminal:
                self._console.print(f"{level} …", soft_wrap=True)
        self._progress.update(self._tasks[level], completed=done, failed=failed)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
