"""Plots as SVG text for self-contained pages: bars against an expectation, lines over time, curves over a load.

A plot over hours of the clock (`timeline`) has gaps where nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

#: One colour per line; the same GPU has the same one in every plot of a page.
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")
#: What tells lines apart without their colours.
DASHES = ("none", "6 3", "2 2", "8 3 2 3")
WIDTH, LEFT, RIGHT, BAR = 640, 70, 90, 18
LINES_HEIGHT, TOP, BOTTOM = 180, 12, 26
#: Of a plot that has half a page's width, so that its words are as large as the others'.
HALF_WIDTH = 480


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, its value, and whether something is wrong with it."""

    name: str
    value: float
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name and its points, x ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, unit: str, values: Sequence[Bar], *, floor: float | None = None, peak: float | None = None) -> str:
    """Horizontal bars; `floor` is what was expected at least (a dashed line), `peak` the data sheet's (a solid one)."""
    # A character is about 7 wide.
    left = min(max(LEFT, *(8 + 7 * len(bar.name) for bar in values)), WIDTH // 2) if values else LEFT
    longest = max([bar.value for bar in values] + [floor or 0, peak or 0, 1e-9]) * 1.02
    scale = (WIDTH - left - RIGHT) / longest
    height = len(values) * (BAR + 6) + 20
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">']
    for number, bar in enumerate(values):
        y = number * (BAR + 6) + 14
        colour = "#d33" if bar.wrong else "#4269d0"
        parts += [
            f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect x="{left}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{left + bar.value * scale + 4:.1f}" y="{y + 13}">{bar.value:,.4g}</text>',
        ]
    for level, style, name in ((floor, "4 3", "expected"), (peak, "none", "data sheet")):
        if level:
            x = left + level * scale
            dashes = f'stroke="currentColor" stroke-dasharray="{style}"'
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="10" y2="{height}" {dashes}/>')
            parts.append(_label(x, 8, name, "middle"))
    return _figure(", ".join(filter(None, (title, unit))), "".join(parts) + "</svg>")


def lines(title: str, unit: str, series: Sequence[Line]) -> str:
    """Lines over seconds."""
    points = [point for line in series for point in line.points]
    if not points:
        return ""
    x_most = max(x for x, _ in points) or 1.0
    y_least, y_most = min(y for _, y in points), max(y for _, y in points)
    margin = (y_most - y_least) * 0.08 or max(abs(y_most) * 0.05, 1.0)
    y_least, y_most = y_least - margin, y_most + margin
    inner = LINES_HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        across = LEFT + x / x_most * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f},{TOP + (y_most - y) / (y_most - y_least) * inner:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {LINES_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0.0, 0.5, 1.0):
        level = y_least + share * (y_most - y_least)
        y = TOP + (1 - share) * inner
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>',
            _label(LEFT - 6, y + 4, f"{level:,.4g}", "end"),
        ]
    for share in (0.0, 0.5, 1.0):
        parts.append(_label(LEFT + share * (WIDTH - LEFT - RIGHT), LINES_HEIGHT - 8, _time(x_most * share), "middle"))
    for number, line in enumerate(series):
        path = " ".join(place(x, y) for x, y in line.points)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_label(WIDTH - RIGHT + 8, TOP + 8 + number * 14, line.name, "start", colour))
    return _figure(f"{title}, {unit}", "".join(parts) + "</svg>")


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement; x above 0."""

    x: float
    y: float


def curve(title: str, unit: str, across: str, series: Mapping[str, Sequence[Point]]) -> str:
    """Points joined by lines over an axis on which each doubling is as wide, from 0 upwards; x ascending."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    x_least, x_most = math.log2(min(one.x for one in points)), math.log2(max(one.x for one in points))
    y_most = max(one.y for one in points) * 1.08 or 1.0
    inner = LINES_HEIGHT - TOP - BOTTOM

    def place(point: Point) -> tuple[float, float]:
        share = (math.log2(point.x) - x_least) / (x_most - x_least) if x_most > x_least else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT), TOP + (1 - point.y / y_most) * inner

    parts = [f'<svg viewBox="0 0 {WIDTH} {LINES_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0.0, 0.5, 1.0):
        y = TOP + (1 - share) * inner
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>',
            _label(LEFT - 6, y + 4, f"{share * y_most:,.3g}", "end"),
        ]
    for x in sorted({one.x for one in points}):
        parts.append(_label(place(Point(x, 0))[0], LINES_HEIGHT - 8, f"{x:g}", "middle"))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dashes = ' stroke-dasharray="5 4"' if number else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in map(place, line)]
        parts.append(_label(WIDTH - RIGHT + 8, TOP + 8 + number * 14, name, "start", colour))
    return _figure(f"{title}, {unit}, over {across}", "".join(parts) + "</svg>")


def timeline(title: str, unit: str, series: Sequence[Line], begin_s: float, end_s: float, step_s: float) -> str:
    """Lines between two moments (seconds since 1970, shown in UTC); x is seconds since the first.

    A line is broken where a point is missing: points are `step_s` apart. What a line is called is told by `key`.
    """
    values = [y for line in series for _, y in line.points]
    y_least, y_most = min(0.0, *values), max(values) * 1.08 if max(values) > 0 else 1.0
    inner, across = LINES_HEIGHT - TOP - BOTTOM, HALF_WIDTH - LEFT - 10

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / (end_s - begin_s) * across, TOP + (y_most - y) / (y_most - y_least) * inner

    parts = [f'<svg viewBox="0 0 {HALF_WIDTH} {LINES_HEIGHT}" role="img" aria-label="{escape(title)}">']
    shown = "%m-%d %H:%M" if end_s - begin_s > 86_400 else "%H:%M"
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        level = y_least + share * (y_most - y_least)
        x, y = place(share * (end_s - begin_s), level)
        moment = datetime.fromtimestamp(begin_s + share * (end_s - begin_s), UTC)
        parts += [
            f'<line x1="{LEFT}" x2="{LEFT + across}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>',
            _label(LEFT - 6, y + 4, f"{level:,.3g}", "end"),
            _label(x, LINES_HEIGHT - 8, f"{moment:{shown}}", anchor),
        ]
    for number, line in enumerate(series):
        for piece in _pieces(line.points, step_s):
            if len(piece) == 1:
                x, y = place(*piece[0])
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="{_colour(number)}"/>')
            else:
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in piece))
                parts.append(f'<polyline points="{path}" fill="none" {_stroke(number)}/>')
    return _figure(", ".join(filter(None, (title, unit))), "".join(parts) + "</svg>")


def _pieces(points: Sequence[tuple[float, float]], step_s: float) -> list[list[tuple[float, float]]]:
    """Points without a gap between them."""
    pieces = [[points[0]]]
    for before, point in pairwise(points):
        if point[0] - before[0] > 1.5 * step_s:
            pieces.append([])
        pieces[-1].append(point)
    return pieces


def key(number: int) -> str:
    """How a timeline draws its line of this number, for a legend in HTML."""
    line = f'<line x1="0" x2="28" y1="5" y2="5" {_stroke(number)}/>'
    return f'<svg class="key" viewBox="0 0 28 10" aria-hidden="true">{line}</svg>'


def _stroke(number: int) -> str:
    dashes = DASHES[number % len(DASHES)]
    return f'stroke="{_colour(number)}" stroke-width="1.5"' + (
        f' stroke-dasharray="{dashes}"' if dashes != "none" else ""
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _label(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="{colour}" class="small">{escape(text)}</text>'


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
