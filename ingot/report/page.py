"""Plans as one HTML file without any outside asset: bars, tables, and every number's formula on a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ingot.report import explain
from ingot.sizing import Calibration, DoesNotFit, HostPlan, ReplicaPlan

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem; border-top: 1px solid var(--line);
  padding-top: 1rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .2rem 0; } .dim { color: var(--dim); }
.bar { display: flex; height: 1.7rem; border-radius: 4px; overflow: hidden; margin: .4rem 0; }
.bar span { min-width: 2px; } .gpu { display: grid; grid-template-columns: 5rem 1fr; align-items: center; gap: .5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .3rem 0 .6rem; }
.legend i, td i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .2rem .7rem .2rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); } td.n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; } details p { margin-left: 1.1rem; color: var(--dim); }
figure { margin: 1rem 0; } svg { max-width: 44rem; width: 100%; font-size: 12px; fill: currentColor; }
code { font-size: .92em; } .misfit { border-left: 4px solid #d33; padding-left: 1rem; }
"""


def render_page(
    plans: Sequence[HostPlan],
    misfits: Mapping[str, DoesNotFit] | None = None,
    measured: Mapping[str, Sequence[Calibration]] | None = None,
) -> str:
    """The page for several hosts: `misfits` and `measured` by host name."""
    parts = [_host(plan, tuple((measured or {}).get(plan.host, ()))) for plan in plans]
    parts += [_misfit(host, error) for host, error in sorted((misfits or {}).items())]
    dim = '<p class="dim">Memory of the tightest GPU of each replica. Click a term for its formula and source.</p>\n'
    return document("What each host serves", dim + "\n".join(parts))


def document(title: str, body: str) -> str:
    """A whole page: `body` is HTML, `title` text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Ingot: {escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _host(plan: HostPlan, measured: tuple[Calibration, ...]) -> str:
    replicas = "\n".join(_replica(plan, replica, measured) for replica in plan.replicas)
    count = len(plan.replicas)
    return (
        f"<section>\n<h2>{escape(plan.host)}</h2>\n"
        f'<p class="dim">{escape(plan.engine)}, {count} replica{"" if count == 1 else "s"}</p>\n{replicas}\n</section>'
    )


def _replica(plan: HostPlan, replica: ReplicaPlan, measured: tuple[Calibration, ...]) -> str:
    rows = explain.rows(replica)
    bars = "\n".join(
        f'<div class="gpu"><span>GPU {index}</span>{_bar(rows, replica.memory.total.bytes)}</div>'
        for index in replica.gpu_indices
    )
    legend = "".join(
        f'<span><i style="background:{row.colour}"></i>{escape(row.label)} {escape(row.size)}</span>' for row in rows
    )
    facts = [("holds", explain.capacity(replica)), ("speed", explain.speed(replica))]
    facts.append(("arguments", ", ".join(f"{name} {value}" for name, value in explain.arguments(replica))))
    facts += [("note", note) for note in replica.notes]
    lines = "\n".join(f'<p><span class="dim">{name}</span> {escape(value)}</p>' for name, value in facts if value)
    real = explain.measurement(plan, replica, measured)
    return (
        f"<h3>{escape(replica.model)} {escape(replica.variant)} on {escape(explain.placement(replica))}</h3>\n"
        f'{bars}\n<div class="legend">{legend}</div>\n{_terms(rows)}\n{lines}\n'
        + (_differences(replica, real) if real else "")
    )


def _bar(rows: Sequence[explain.Row], total: int) -> str:
    cells = "".join(
        f'<span style="background:{row.colour};flex:{max(row.bytes, 0) / max(total, 1):.5f} 0 0" '
        f'title="{escape(row.label)}: {escape(row.size)}"></span>'
        for row in rows
        if row.bytes > 0
    )
    return f'<div class="bar" role="img" aria-label="{escape(_spoken(rows))}">{cells}</div>'


def _spoken(rows: Sequence[explain.Row]) -> str:
    return ", ".join(f"{row.label} {row.size}" for row in rows)


def _terms(rows: Sequence[explain.Row]) -> str:
    lines = "\n".join(
        f'<tr><td><details><summary><i style="background:{row.colour}"></i>{escape(row.label)}</summary>'
        f"<p>{escape(row.formula)}</p><p>source: {escape(row.source)}</p></details></td>"
        f'<td class="n">{escape(row.size)}</td><td class="n dim">{escape(row.band)}</td>'
        f'<td class="dim">{escape(row.basis)}</td></tr>'
        for row in rows
    )
    return f"<table><tr><th>per GPU</th><th></th><th></th><th></th></tr>\n{lines}\n</table>"


def _differences(replica: ReplicaPlan, measured: Calibration) -> str:
    lines = "\n".join(
        f'<tr><td>{escape(one.label)}</td><td class="n">{one.predicted}</td><td class="n">{one.measured}</td>'
        f'<td class="n dim">{one.difference}</td></tr>'
        for one in explain.differences(replica, measured)
    )
    return f"<table><tr><th></th><th>predicted</th><th>measured</th><th>difference</th></tr>\n{lines}\n</table>\n"


def _misfit(host: str, error: DoesNotFit) -> str:
    table = "\n".join(
        f'<tr><td>{escape(what)}</td><td class="n">{escape(value)}</td><td class="dim">{escape(formula)}</td></tr>'
        for what, value, formula in error.table
    )
    nearest = "".join(f"<li>{escape(one)}</li>" for one in error.nearest)
    binding = f"<p>Binding: <b>{escape(error.binding)}</b></p>" if error.binding else ""
    fits = f"<p>What would fit:</p><ul>{nearest}</ul>" if nearest else ""
    return (
        f'<section class="misfit">\n<h2>{escape(host)}</h2>\n<p>{escape(str(error))}</p>\n'
        f"<table>{table}</table>\n{binding}{fits}\n</section>"
    )
