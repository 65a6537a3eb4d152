"""Plans as one HTML file without any outside asset: bars, tables, and every number's formula on a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ingot.report import plan_rows
from ingot.report.page import document
from ingot.sizing import Calibration, DoesNotFit, HostPlan, ReplicaPlan


def render_page(
    plans: Sequence[HostPlan],
    misfits: Mapping[str, DoesNotFit] | None = None,
    measured: Mapping[str, Sequence[Calibration]] | None = None,
    benchmarks: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """The page for several hosts: `misfits`, `measured` and `benchmarks` by host name."""
    parts = [
        _host(plan, tuple((measured or {}).get(plan.host, ())), (benchmarks or {}).get(plan.host, {})) for plan in plans
    ]
    parts += [_misfit(host, error) for host, error in sorted((misfits or {}).items())]
    dim = '<p class="dim">Memory of the tightest GPU of each replica. Click a term for its formula and source.</p>\n'
    return document("What each host serves", dim + "\n".join(parts))


def _host(plan: HostPlan, measured: tuple[Calibration, ...], benchmarks: Mapping[str, str]) -> str:
    replicas = "\n".join(_replica(plan, replica, measured, benchmarks) for replica in plan.replicas)
    count = len(plan.replicas)
    return (
        f"<section>\n<h2>{escape(plan.host)}</h2>\n"
        f'<p class="dim">{escape(plan.engine)}, {count} replica{"" if count == 1 else "s"}</p>\n{replicas}\n</section>'
    )


def _replica(
    plan: HostPlan, replica: ReplicaPlan, measured: tuple[Calibration, ...], benchmarks: Mapping[str, str]
) -> str:
    rows = plan_rows.rows(replica)
    bars = "\n".join(
        f'<div class="gpu"><span>GPU {index}</span>{_bar(rows, replica.memory.total.bytes)}</div>'
        for index in replica.gpu_indices
    )
    legend = "".join(
        f'<span><i style="background:{row.colour}"></i>{escape(row.label)} {escape(row.size)}</span>' for row in rows
    )
    real = plan_rows.measurement(plan, replica, measured)
    facts = [("holds", plan_rows.capacity(replica)), ("speed", plan_rows.speed(replica, benchmarks, real))]
    facts.append(("loading", plan_rows.loading(replica, real)))
    facts.append(("arguments", ", ".join(f"{name} {value}" for name, value in plan_rows.arguments(replica))))
    facts += [("note", note) for note in replica.notes]
    lines = "\n".join(f'<p><span class="dim">{name}</span> {escape(value)}</p>' for name, value in facts if value)
    return (
        f"<h3>{escape(replica.model)} {escape(replica.variant)} on {escape(plan_rows.placement(replica))}</h3>\n"
        f'{bars}\n<div class="legend">{legend}</div>\n{_terms(rows)}\n{lines}\n'
        + (_differences(replica, real) if real else "")
    )


def bar(replica: ReplicaPlan) -> str:
    """The memory of a replica's tightest GPU as a bar, which says its parts to a screen reader."""
    return _bar(plan_rows.rows(replica), replica.memory.total.bytes)


def _bar(rows: Sequence[plan_rows.Row], total: int) -> str:
    cells = "".join(
        f'<span style="background:{row.colour};flex:{max(row.bytes, 0) / max(total, 1):.5f} 0 0" '
        f'title="{escape(row.label)}: {escape(row.size)}"></span>'
        for row in rows
        if row.bytes > 0
    )
    return f'<div class="bar" role="img" aria-label="{escape(_spoken(rows))}">{cells}</div>'


def _spoken(rows: Sequence[plan_rows.Row]) -> str:
    return ", ".join(f"{row.label} {row.size}" for row in rows)


def _terms(rows: Sequence[plan_rows.Row]) -> str:
    lines = "\n".join(
        f'<tr><td><details><summary><i style="background:{row.colour}"></i>{escape(row.label)}</summary>'
        f"<p>{escape(row.formula)}</p><p>source: {escape(row.source)}</p></details></td>"
        f'<td class="n">{escape(row.size)}</td><td class="n dim">{escape(row.band)}</td>'
        f'<td class="dim">{escape(row.basis)}</td></tr>'
        for row in rows
    )
    return f"<table><tr><th>per GPU</th><th>size</th><th>uncertain by</th><th>known from</th></tr>\n{lines}\n</table>"


def _differences(replica: ReplicaPlan, measured: Calibration) -> str:
    lines = "\n".join(
        f'<tr><td>{escape(one.label)}</td><td class="n">{one.predicted}</td><td class="n">{one.measured}</td>'
        f'<td class="n dim">{one.difference}</td></tr>'
        for one in plan_rows.differences(replica, measured)
    )
    return f"<table><tr><th>figure</th><th>predicted</th><th>measured</th><th>difference</th></tr>\n{lines}\n</table>\n"


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
