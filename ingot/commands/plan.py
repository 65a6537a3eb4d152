"""`ingot plan`: what a host would serve and why, before anything is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingot.commands import words
from ingot.commands.options import FILE, end, hosts_options, json_option, print_json
from ingot.errors import IngotError

if TYPE_CHECKING:
    from ingot.operations.preflight.forecast import Forecast
    from ingot.sizing import Goal


@click.command()
@hosts_options
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=words.models,
    help="Plan this model of the catalog instead of what the host serves.",
)
@click.option("--variant", metavar="NAME", help="Fix the model's variant instead of taking the best that fits.")
@click.option(
    "--gpu",
    metavar="NAME",
    shell_complete=words.gpus,
    help="Plan for GPUs by name, e.g. rtx4090x2 or rtx3090+rtx3060; needs no host.",
)
@click.option("--facts", multiple=True, type=click.Path(path_type=Path), help="Plan for recorded outputs of a host.")
@click.option("--config", type=click.Path(path_type=Path), help="Plan the model in this directory (config.json).")
@click.option("--context", type=int, help="Tokens of one sequence  [default: 8192, or the model's].")
@click.option("--concurrency", type=int, help="Sequences at once, over all replicas of a host  [default: 8].")
@click.option(
    "--goal",
    type=click.Choice(["throughput", "latency"]),
    default="throughput",
    help="Serve the most tokens/s at that concurrency, or a request that comes alone fastest  [default: throughput].",
)
@click.option("--offline", is_flag=True, help="Ask no host: take the GPUs that its file states (`gpus:`).")
@click.option("--alternatives", is_flag=True, help="Show the three next best ways for each model and why they lost.")
@click.option("--explain", is_flag=True, help="Show each number's formula and source.")
@click.option("--html", type=FILE, help="Also write an HTML page here.")
@json_option
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
    goal: Goal,
    offline: bool,
    alternatives: bool,
    explain: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Show what each HOST would serve, and why.

    The plan is made from the GPUs as they are right now, and shows its arithmetic.

    Without network: --gpu for GPUs by name, --facts for recorded outputs, --offline for what host files state.
    """
    if gpu is not None and not gpu.strip():
        raise click.UsageError("--gpu names no GPU, expected one such as rtx4090x2")
    if (gpu or facts) and not (model or config):
        raise click.UsageError("--gpu and --facts need --model or --config")
    from ingot.bench.measured_plan import benchmarked
    from ingot.bench.record import DIRECTORY, records
    from ingot.catalog.described import from_catalog, from_directory, request_for
    from ingot.inventory.fleet import secrets_of, selected
    from ingot.operations.preflight.forecast import by_gpu, by_records, forecast
    from ingot.operations.preflight.hosts_to_plan import hosts_to_plan
    from ingot.report.plan_page import render_page
    from ingot.sizing import SizingError

    if model and config:
        raise click.UsageError("give --model or --config, not both")
    try:
        named = from_directory(config) if config else from_catalog(model) if model else None
        wanted = (
            request_for(named, variant=variant, context=context, concurrency=concurrency, goal=goal) if named else None
        )
        if wanted and gpu:
            made = forecast([by_gpu(gpu, wanted)], alternatives=alternatives)
        elif wanted and facts:
            made = forecast([by_records(facts, wanted)], alternatives=alternatives)
        else:
            chosen = selected(inventory, hosts)
            made = forecast(hosts_to_plan(chosen, wanted, offline=offline), alternatives=alternatives)
            known = records(secrets_of(chosen.path, chosen.state) / DIRECTORY)
            made.benchmarks = {plan.host: benchmarked(plan, known) for plan in made.plans}
    except SizingError as error:
        raise IngotError(str(error)) from error
    if html:
        html.write_text(render_page(made.plans, made.misfits, made.measured, made.benchmarks), encoding="utf-8")
    if as_json:
        print_json(made.to_dict())
    else:
        _show(made, explain=explain)
        if html:
            click.echo(f"wrote {html}")
    if not (made.plans or made.misfits or made.errors):
        raise IngotError("none of the hosts serves models: they only front others; name one that has GPUs.")
    end(made.errors, found=bool(made.misfits))


def _show(made: Forecast, *, explain: bool) -> None:
    """Print the plans for people; `explain` adds each number's formula and source."""
    from ingot.report.console import plain_console
    from ingot.report.plan_rows import alternatives_of
    from ingot.report.plan_terminal import misfit, print_plan

    console = plain_console()

    def beside(host: str) -> None:
        lines = [f"plan {made.because[host]}"] if made.because.get(host) else []
        lines += made.drivers[host].lines() if host in made.drivers else []
        lines += alternatives_of(made.alternatives.get(host, ()))
        lines += [f"a deploy is refused: {made.unlocked[host]}"] if host in made.unlocked else []
        if lines:
            console.print(*lines, sep="\n", soft_wrap=True)

    for plan in made.plans:
        print_plan(
            plan,
            measured=made.measured.get(plan.host, ()),
            benchmarks=made.benchmarks.get(plan.host),
            formulas=explain,
            console=console,
        )
        beside(plan.host)
    for host, error in made.misfits.items():
        click.echo(f"ingot: {error}", err=True)
        console.print(misfit(error))
        beside(host)
