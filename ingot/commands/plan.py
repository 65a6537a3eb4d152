"""`ingot plan` and `ingot recommend`: what a host would serve and why, before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ingot.catalog import load_gpus, peaks
from ingot.commands.plan_driver import DriverAnswer
from ingot.commands.plan_sources import (
    DEFAULT_CONCURRENCY,
    DEFAULT_CONTEXT,
    ENGINE_VERSION,
    Asked,
    by_gpu,
    hosts_of,
    recorded,
    wanted_model,
    with_host,
)
from ingot.errors import IngotError
from ingot.report.page import render_page
from ingot.report.terminal import misfit, print_plan
from ingot.sizing import (
    Calibration,
    DoesNotFit,
    EngineProfile,
    HostPlan,
    ModelRequest,
    SizingError,
    fits,
    plan_host,
    vllm,
)
from ingot.sizing.units import show_gib

DEFAULT_INVENTORY = Path("inventories/prod.py")
COUNTS = (1, 2, 4, 8)
TIERS = ("entry", "mid", "large")


@dataclass
class Outcome:
    """Plans and refusals of a run, in the order of the hosts."""

    plans: list[HostPlan] = field(default_factory=list)
    misfits: dict[str, DoesNotFit] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    measured: dict[str, tuple[Calibration, ...]] = field(default_factory=dict)
    drivers: dict[str, DriverAnswer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The run as one JSON object."""
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "misfits": {
                host: {
                    "error": str(error),
                    "binding": error.binding,
                    "nearest": list(error.nearest),
                    "arithmetic": [list(row) for row in error.table],
                }
                for host, error in self.misfits.items()
            },
            "errors": self.errors,
            "drivers": {host: answer.to_dict() for host, answer in self.drivers.items()},
        }


@click.command()
@click.argument("inventory", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this host of the inventory (repeatable).")
@click.option("--model", metavar="NAME", help="Plan this model of the catalog instead of what the host serves.")
@click.option("--variant", metavar="NAME", help="Fix the model's variant instead of taking the best that fits.")
@click.option("--gpu", metavar="NAME", help="Plan for GPUs by name, e.g. rtx4090x2 or rtx3090+rtx3060; needs no host.")
@click.option("--facts", multiple=True, type=click.Path(path_type=Path), help="Plan for recorded outputs of a host.")
@click.option("--config", type=click.Path(path_type=Path), help="Plan the model in this directory (config.json).")
@click.option("--context", type=int, help=f"Tokens of one sequence [default: {DEFAULT_CONTEXT}, or the model's].")
@click.option("--concurrency", type=int, help=f"Sequences at once [default: {DEFAULT_CONCURRENCY}].")
@click.option("--offline", is_flag=True, help="Ask no host: take the GPUs that its file states (`gpus:`).")
@click.option("--explain", is_flag=True, help="Show each number's formula and source.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write an HTML page here.")
def plan(
    inventory: Path | None,
    hosts: tuple[str, ...],
    model: str | None,
    variant: str | None,
    gpu: str | None,
    facts: tuple[Path, ...],
    config: Path | None,
    context: int | None,
    concurrency: int | None,
    offline: bool,
    explain: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """What each host of INVENTORY serves, with the arithmetic; from its GPUs as they are right now.

    Without network: --gpu for GPUs by name, --facts for recorded outputs, --offline for what host files state.
    """
    outcome = Outcome()
    wanted = wanted_model(model, config, variant, context, concurrency)
    if gpu or facts:
        if wanted is None:
            raise click.UsageError("--gpu and --facts need --model or --config")
        hardware, driver = by_gpu(gpu) if gpu else recorded(facts)
        _plan_all([Asked(hardware, (wanted,), vllm(ENGINE_VERSION), driver=driver)], outcome)
    else:
        _plan_all(
            hosts_of(inventory or DEFAULT_INVENTORY, hosts, wanted, refuse=outcome.errors.append, offline=offline),
            outcome,
        )
    if html:
        html.write_text(render_page(outcome.plans, outcome.misfits, outcome.measured), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(outcome.to_dict(), indent=2))
    else:
        _show(outcome, explain=explain)
        if html:
            click.echo(f"wrote {html}")
    if outcome.misfits or outcome.errors:
        raise SystemExit(1)
    if not outcome.plans:
        raise IngotError(f"{inventory or DEFAULT_INVENTORY}: no host in it; add one, or pass --gpu.")


@click.command()
@click.argument("model")
@click.option("--context", type=int, default=DEFAULT_CONTEXT, show_default=True, help="Tokens of one sequence.")
@click.option("--concurrency", type=int, default=DEFAULT_CONCURRENCY, show_default=True, help="Sequences at once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recommend(model: str, context: int, concurrency: int, as_json: bool) -> None:
    """Which GPUs would serve MODEL, smallest first: from one entry-level card to eight of the largest."""
    request = wanted_model(model, None, None, context, concurrency)
    assert request is not None
    found = recommendations(request, vllm(ENGINE_VERSION))
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
        return
    table = Table(title=f"{model}: {context} tokens x {concurrency} sequences", title_justify="left", box=None)
    for heading in ("tier", "GPUs", "memory", "variant", "cache", "split", "sequences", "tokens/s (estimate)"):
        table.add_column(heading, justify="right" if heading in ("memory", "sequences") else "left")
    for one in found:
        table.add_row(*one.cells())
    Console().print(table)
    if not found:
        raise IngotError(
            f"{model}: no GPU configuration of the catalog serves {context} tokens for {concurrency} sequences; "
            "ask for less context or fewer sequences."
        )


@dataclass(frozen=True)
class Recommendation:
    """One GPU configuration that serves a request with one replica."""

    gpu: str
    count: int
    tier: str
    memory: int
    plan: HostPlan

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        replica = self.plan.replicas[0]
        split = f"TP {replica.tensor_parallel_size}"
        if replica.pipeline_parallel_size > 1:
            split += f" x PP {replica.pipeline_parallel_size}"
        if replica.data_parallel_size > 1:
            split += f" x DP {replica.data_parallel_size}"
        rate = f"{replica.estimate.decode_tokens_per_s:,.0f}" if replica.estimate else "-"
        return (
            self.tier,
            f"{self.count} x {self.gpu}",
            show_gib(self.memory),
            replica.variant,
            replica.kv_cache_dtype,
            split,
            f"{replica.max_concurrency:g}",
            rate,
        )

    def to_dict(self) -> dict[str, Any]:
        """The recommendation as JSON-able values."""
        return {"gpu": self.gpu, "count": self.count, "tier": self.tier, "plan": self.plan.to_dict()}


def recommendations(request: ModelRequest, engine: EngineProfile) -> list[Recommendation]:
    """For every GPU of the catalog the fewest that serve the request, by tier and then by memory.

    Raises: IngotError for a request that no GPU could serve because it is wrong.
    """
    found = []
    one_replica = replace(request, replicas=1)
    for key, gpu in load_gpus().items():
        for count in COUNTS:
            if count > gpu.largest:
                break
            hardware = gpu.hardware(count)
            try:
                if not fits(hardware, [one_replica], engine=engine):
                    continue
                made = plan_host(hardware, [one_replica], engine=engine, peaks=peaks())
            except SizingError as error:
                raise IngotError(str(error).removeprefix(f"{hardware.host}: ")) from error
            used = len(made.replicas[0].gpu_indices)
            memory = used * gpu.hardware(1).gpus[0].vram_bytes
            found.append(Recommendation(key, used, gpu.tier, memory, made))
            break
    return sorted(found, key=lambda one: (TIERS.index(one.tier), one.memory, one.gpu))


# --- planning and showing


def _plan_all(asked: Iterable[Asked], outcome: Outcome) -> None:
    known: list[Asked] = []
    for one in asked:
        known.append(one)
        if one.driver:
            outcome.drivers[one.hardware.host] = one.driver
            if one.driver.refusal and not one.driver.assumed:
                outcome.errors.append(with_host(one.hardware.host, f"{one.driver.refusal}."))
        try:
            made = plan_host(one.hardware, one.requests, engine=one.engine, calibrations=one.measured, peaks=peaks())
        except DoesNotFit as error:
            outcome.misfits[one.hardware.host] = error
        except SizingError as error:
            outcome.errors.append(with_host(one.hardware.host, str(error)))
        else:
            outcome.plans.append(made)
            outcome.measured[one.hardware.host] = one.measured
    _suggest_hosts(known, outcome)


def _suggest_hosts(known: Sequence[Asked], outcome: Outcome) -> None:
    """To a host's misfit, the other hosts of the inventory that could serve it alone."""
    for one in known:
        error = outcome.misfits.get(one.hardware.host)
        if error is None:
            continue
        fitting = [other.hardware.host for other in known if other is not one and _serves(other, one.requests)]
        if fitting:
            nearest = (*error.nearest, f"serve it on {' or '.join(fitting[:3])}, which could")
            outcome.misfits[one.hardware.host] = DoesNotFit(str(error), error.table, error.binding, nearest)


def _serves(other: Asked, requests: Sequence[ModelRequest]) -> bool:
    try:
        return fits(other.hardware, requests, engine=other.engine)
    except SizingError:
        return False


def _show(outcome: Outcome, *, explain: bool) -> None:
    console = Console()
    for made in outcome.plans:
        print_plan(made, measured=outcome.measured.get(made.host, ()), formulas=explain, console=console)
        _show_driver(outcome, made.host, console)
    for host, error in outcome.misfits.items():
        click.echo(f"ingot: {error}", err=True)
        console.print(misfit(error))
        _show_driver(outcome, host, console)
    for sentence in outcome.errors:
        click.echo(f"ingot: {sentence}", err=True)


def _show_driver(outcome: Outcome, host: str, console: Console) -> None:
    if host in outcome.drivers:
        console.print(*outcome.drivers[host].lines(), sep="\n", markup=False, highlight=False, soft_wrap=True)
