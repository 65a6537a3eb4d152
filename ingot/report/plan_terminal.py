"""Plans in the terminal: one table per host, one stacked bar per replica's GPUs, formulas on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ingot.report import plan_rows
from ingot.report.console import plain_console
from ingot.sizing import Calibration, DoesNotFit, HostPlan, ReplicaPlan
from ingot.sizing.units import show_gib

BAR_WIDTH = 60


def print_plan(
    plan: HostPlan,
    *,
    measured: Sequence[Calibration] = (),
    benchmarks: Mapping[str, str] | None = None,
    formulas: bool = False,
    console: Console | None = None,
) -> None:
    """Print one host's plan, with what benchmarks measured by model; `formulas` adds numbers' formulas and sources."""
    shown = render(plan, measured=tuple(measured), benchmarks=benchmarks, formulas=formulas)
    (console or plain_console()).print(shown)


def render(
    plan: HostPlan,
    *,
    measured: tuple[Calibration, ...] = (),
    benchmarks: Mapping[str, str] | None = None,
    formulas: bool = False,
) -> RenderableType:
    """One host's plan as something rich can print."""
    head = Text.assemble((plan.host, "bold"), f"  {plan.engine}, {_count(plan)}")
    parts: list[RenderableType] = [head]
    alike = _alike(plan.replicas)
    for replica, others in alike:
        parts.append(
            Padding(_replica(plan, replica, others, measured, benchmarks or {}, formulas=formulas), (1, 0, 0, 2))
        )
    return Group(*parts, Text(""))


def misfit(error: DoesNotFit) -> RenderableType:
    """The explanation of a DoesNotFit: arithmetic, what binds, what would fit. The caller prints its sentence."""
    parts: list[RenderableType] = []
    if error.table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for what, value, formula in error.table:
            table.add_row(what, Text(value, justify="right"), Text(formula, style="dim"))
        parts.append(table)
    if error.binding:
        parts.append(Text.assemble("binding: ", (error.binding, "bold")))
    if error.nearest:
        parts.append(Text("what would fit:"))
        parts.extend(Text(f"  - {one}") for one in error.nearest)
    return Padding(Group(*parts), (0, 0, 1, 2))


def bar(replica: ReplicaPlan, width: int = BAR_WIDTH) -> Text:
    """One GPU's memory as a stacked bar; every part that exists has at least one cell."""
    rows = [row for row in plan_rows.rows(replica) if row.bytes > 0]
    total = sum(row.bytes for row in rows) or 1
    cells = [max(1, round(row.bytes / total * width)) for row in rows]
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    text = Text()
    for row, count in zip(rows, cells, strict=True):
        text.append("█" * count, style=row.colour)
    return text


def _count(plan: HostPlan) -> str:
    models = len({replica.model for replica in plan.replicas})
    replicas = len(plan.replicas)
    return f"{replicas} replica{'' if replicas == 1 else 's'} of {models} model{'' if models == 1 else 's'}"


def _alike(replicas: Sequence[ReplicaPlan]) -> list[tuple[ReplicaPlan, list[ReplicaPlan]]]:
    """Replicas that differ only in their GPUs are shown once."""
    found: list[tuple[ReplicaPlan, list[ReplicaPlan]]] = []
    for replica in replicas:
        for first, others in found:
            same_sizes = [term.bytes for _, term in first.memory.items()] == [
                term.bytes for _, term in replica.memory.items()
            ]
            if (first.model, first.variant, plan_rows.arguments(first)) == (
                replica.model,
                replica.variant,
                plan_rows.arguments(replica),
            ) and same_sizes:
                others.append(replica)
                break
        else:
            found.append((replica, []))
    return found


def _replica(
    plan: HostPlan,
    replica: ReplicaPlan,
    others: Sequence[ReplicaPlan],
    measured: tuple[Calibration, ...],
    benchmarks: Mapping[str, str],
    *,
    formulas: bool,
) -> RenderableType:
    title = Text.assemble((replica.model, "bold cyan"), f" {replica.variant} on {plan_rows.placement(replica)}")
    parts: list[RenderableType] = [title]
    if others:
        places = "; ".join(", ".join(map(str, other.gpu_indices)) for other in others)
        parts.append(Text(f"and {len(others)} more like it on GPU {places}"))
    total = show_gib(replica.memory.total.bytes)
    parts.append(Text.assemble(bar(replica), f" {total} per GPU"))
    parts.append(_table(replica, formulas=formulas))
    real = plan_rows.measurement(plan, replica, measured)
    facts = [("holds", plan_rows.capacity(replica)), ("speed", plan_rows.speed(replica, benchmarks, real))]
    facts.append(("loading", plan_rows.loading(replica, real)))
    facts.append(("arguments", ", ".join(f"{name} {value}" for name, value in plan_rows.arguments(replica))))
    facts.extend(("note", note) for note in replica.notes)
    lines = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts:
        if value:
            lines.add_row(Text(name, style="dim"), value)
    parts.append(lines)
    if real is not None and plan_rows.differences(replica, real):
        parts.append(_differences(replica, real))
    return Group(*parts)


def _table(replica: ReplicaPlan, *, formulas: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("per GPU", justify="right")
    table.add_column("band", justify="right", style="dim")
    table.add_column("known by", style="dim")
    if formulas:
        table.add_column("formula and source", overflow="fold")
    for row in plan_rows.rows(replica):
        cells: list[RenderableType] = [
            Text.assemble(("█ ", row.colour), row.label),
            row.size,
            row.band,
            row.basis,
        ]
        if formulas:
            cells.append(Text.assemble(row.formula, (f"  [{row.source}]", "dim")))
        table.add_row(*cells)
    return table


def _differences(replica: ReplicaPlan, measured: Calibration) -> Table:
    table = Table(box=None, pad_edge=False, title="predicted and measured", title_justify="left")
    for heading in ("", "predicted", "measured", "difference"):
        table.add_column(heading, justify="left" if not heading else "right")
    for one in plan_rows.differences(replica, measured):
        table.add_row(one.label, one.predicted, one.measured, one.difference)
    return table
