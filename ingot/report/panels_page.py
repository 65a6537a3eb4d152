"""The panels of the dashboards as one page without any outside asset: numbers, plots and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from ingot.facts.figures import Series, Window
from ingot.monitoring.dashboards.panel import OF_SCRAPES, Shape
from ingot.report.page import document
from ingot.report.panels import Board, Panels, Shown, number_words
from ingot.report.plot import Bar, Line, bars, key, timeline
from ingot.report.scale import Scale, scale

#: Labels that come first in a table.
_FIRST = ("severity", "alertname", "host", "model", "replica")


def render(found: Panels) -> str:
    """The page."""
    begin, end = (datetime.fromtimestamp(one, UTC) for one in (found.window.begin_s, found.window.end_s))
    links = "".join(f'<a href="#{_id(one)}">{escape(one.dashboard.title)}</a> ' for one in found.boards)
    of = f"{found.inventory}, {', '.join(found.hosts)}" if found.hosts else found.inventory
    parts = [
        f'<p class="dim">{escape(of)}, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, by the Prometheus of '
        f"{escape(found.monitor)}, a point every {_step(found.window)}</p>",
        *(f"<p>{escape(one)}</p>" for one in found.errors),
        f'<nav class="legend" aria-label="Dashboards">{links}</nav>',
        *(_board(one, found) for one in found.boards),
    ]
    return document("Panels", "\n".join(parts))


def _step(window: Window) -> str:
    """The seconds between two points, in words."""
    return f"{window.step_s} s" if window.step_s < 120 else f"{window.step_s / 60:.3g} min"


def _board(board: Board, found: Panels) -> str:
    name = _id(board)
    rows = "\n".join(f"<h3>{escape(title)}</h3>\n{_row(panels, found)}" for title, panels in board.rows)
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{escape(board.dashboard.title)}</h2>\n'
        f'<p class="dim">{escape(board.dashboard.about)}</p>\n{rows}\n</section>'
    )


def _id(board: Board) -> str:
    return f"board-{board.dashboard.name}"


def _row(panels: Sequence[Shown], found: Panels) -> str:
    """Numbers first, side by side; then the others."""
    tiles = "".join(
        f"<div><dt>{escape(one.panel.title)}</dt><dd>{escape(number_words(one, found.at))}</dd></div>"
        for one in panels
        if one.panel.shape is Shape.NUMBER
    )
    others = "\n".join(_panel(one, found.window) for one in panels if one.panel.shape is not Shape.NUMBER)
    numbers = f'<dl class="numbers">{tiles}</dl>\n' if tiles else ""
    return numbers + (f'<div class="panels">{others}</div>' if others else "")


def _panel(shown: Shown, window: Window) -> str:
    panel = shown.panel
    about = f'<p class="dim">{escape(panel.about)}</p>' if panel.about else ""
    faults = "".join(f"<p>No answer: {escape(one)}.</p>" for one in shown.errors)
    named = [
        (query.called(series.labels) or panel.title, series)
        for query, answer in zip(panel.queries, shown.answers, strict=True)
        for series in answer.series
    ]
    if named:
        body = _DRAWN[panel.shape](shown, named, window)
    else:
        body = "" if faults else f"<p>{'Nothing is listed.' if panel.shape is Shape.TABLE else 'No figures.'}</p>"
    more = f'<p class="dim">and {shown.more:,} more series, {_rest(shown)}</p>' if shown.more else ""
    return f'<div class="panel"><h4>{escape(panel.title)}</h4>{about}{faults}{body}{more}</div>'


def _rest(shown: Shown) -> str:
    if shown.panel.shape is Shape.TABLE:
        return "not listed here"
    return "none of them lower" if shown.panel.lowest else "none of them higher"


Named = Sequence[tuple[str, Series]]


def _lines(shown: Shown, named: Named, window: Window) -> str:
    """The plot, and the same in a table, which is its legend too."""
    used = _scale(shown, (value for _, one in named for _, value in one.points))
    drawn = [Line(name, [(at, value * used.factor) for at, value in one.points]) for name, one in named]
    plot = timeline(shown.panel.title, used.word, drawn, window.begin_s, window.end_s, window.step_s)
    rows = (
        (f"{key(number)}{escape(name)}", *(escape(used.figure(one)) for one in _summary(series)))
        for number, (name, series) in enumerate(named)
    )
    unit = f", {used.word}" if used.word else ""
    return plot + _table(shown.panel.title, (f"series{unit}", "last", "least", "mean", "most"), rows, numbers=True)


def _summary(series: Series) -> tuple[float, float, float, float]:
    values = [value for _, value in series.points]
    return values[-1], min(values), sum(values) / len(values), max(values)


def _bars(shown: Shown, named: Named, _: Window) -> str:
    newest = [(name, one.points[-1][1]) for name, one in named]
    used = _scale(shown, (value for _, value in newest))
    plot = bars(shown.panel.title, used.word, [Bar(name, value * used.factor) for name, value in newest])
    rows = ((escape(name), escape(used.shown(value))) for name, value in newest)
    return plot + _table(shown.panel.title, ("series", "now"), rows, numbers=True)


def _listed(shown: Shown, named: Named, _: Window) -> str:
    """What there is now: a column for each label, and the figure where it says something."""
    labels = [one.labels for _, one in named]
    known = {name for one in labels for name in one if name not in OF_SCRAPES}
    columns = sorted(known, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    figures = [one.points[-1][1] for _, one in named]
    says = any(figure not in (0, 1) for figure in figures)
    used = _scale(shown, figures)
    rows = (
        (*(escape(one.get(name, "")) for name in columns), *([escape(used.shown(figure))] if says else []))
        for one, figure in zip(labels, figures, strict=True)
    )
    return _table(shown.panel.title, (*columns, *(["figure"] if says else [])), rows)


_DRAWN = {Shape.LINES: _lines, Shape.BARS: _bars, Shape.TABLE: _listed}


def _scale(shown: Shown, values: Iterable[float]) -> Scale:
    return scale(shown.panel.unit, max(map(abs, values)))


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table of cells that are HTML; the first of a row names it."""
    kind = ' class="n"' if numbers else ""
    first, *others = (escape(one) for one in headings)
    head = f'<th scope="col">{first}</th>' + "".join(f'<th scope="col"{kind}>{one}</th>' for one in others)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td{kind}>{one}</td>" for one in others)}</tr>'
        for first, *others in rows
    )
    named = escape(title)
    table = f'<table aria-label="{named}"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
    # What scrolls is reached by keyboard.
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{named}, figures">{table}</div>'
