"""The page of a benchmark: its levels as plots with a table beside them, made from the record alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from html import escape

from ingot.bench.measured import Measured
from ingot.bench.record import Record
from ingot.report.bench import HEADINGS, NUMBERS, cells, sentences
from ingot.report.page import document
from ingot.report.plot import Point, curve

#: What is plotted over the load: its name, its unit, and the figure of a level.
PLOTS: tuple[tuple[str, str, Callable[[Measured], float]], ...] = (
    ("output tokens", "per second", lambda one: one.output_tokens_per_s),
    ("time to first token, p50", "ms", lambda one: one.ttft.p50_s * 1000),
    ("time between tokens, p50", "ms", lambda one: one.itl.p50_s * 1000),
    ("whole answer, p50", "s", lambda one: one.e2e.p50_s),
)


def render(record: Record, before: Record | None) -> str:
    """The page of one benchmark, beside the last one of the same."""
    words = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in sentences(record, before))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADINGS)
    rows = "\n".join(f"<tr>{_row(cells(level))}</tr>" for level in record.levels)
    return document(
        f"benchmark of {record.subject.model}",
        f'<p class="dim">{escape(record.host)}, {escape(record.at)}, {escape(record.by)}</p>\n{words}'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>\n{''.join(_plots(record, before))}",
    )


def _row(words: tuple[str, ...]) -> str:
    return "".join(
        f'<td class="n">{escape(word)}</td>' if heading in NUMBERS else f"<td>{escape(word)}</td>"
        for heading, word in zip(HEADINGS, words, strict=True)
    )


def _plots(record: Record, before: Record | None) -> Iterator[str]:
    rated = any(load.per_s is not None for load, _ in record.measured)
    across = "requests per second" if rated else "requests at once"
    lengths = {load.lengths for load, _ in record.measured}
    for title, unit, read in PLOTS:
        series = {"now": _points(record, read, lengths, rated=rated)}
        if before:
            series["before"] = _points(before, read, lengths, rated=rated)
        yield curve(title, unit, across, {name: points for name, points in series.items() if points})


def _points(record: Record, read: Callable[[Measured], float], lengths: Collection[str], *, rated: bool) -> list[Point]:
    """The levels of the same kind whose requests are alike."""
    found = {
        load.per_s if rated else load.at_once: read(one)
        for load, one in record.measured
        if load.lengths in lengths and (load.per_s is not None) == rated
    }
    return [Point(float(x), y) for x, y in sorted(found.items(), key=lambda pair: pair[0] or 0) if x]
