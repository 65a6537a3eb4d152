"""`ingot plan`: what a host would serve and why, before anything is downloaded."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json
from ingot.errors import IngotError


@click.command()
@hosts_options
@click.option("--model", metavar="NAME", help="Plan this model of the catalog instead of what the host serves.")
@click.option("--variant", metavar="NAME", help="Fix the model's variant instead of taking the best that fits.")
@click.option("--gpu", metavar="NAME", help="Plan for GPUs by name, e.g. rtx4090x2 or rtx3090+rtx3060; needs no host.")
@click.option("--facts", multiple=True, type=click.Path(path_type=Path), help="Plan for recorded outputs of a host.")
@click.option("--config", type=click.Path(path_type=Path), help="Plan the model in this directory (config.json).")
@click.option("--context", type=int, help="Tokens of one sequence  [default: 8192, or the model's].")
@click.option("--concurrency", type=int, help="Sequences at once  [default: 8].")
@click.option("--offline", is_flag=True, help="Ask no host: take the GPUs that its file states (`gpus:`).")
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
    offline: bool,
    explain: bool,
    as_json: bool,
    html: Path | None,
) -> None:
    """Show what each HOST would serve, and why.

    The plan is made from the GPUs as they are right now, and shows its arithmetic.

    Without network: --gpu for GPUs by name, --facts for recorded outputs, --offline for what host files state.
    """
    if (gpu or facts) and not (model or config):
        raise click.UsageError("--gpu and --facts need --model or --config")
    from ingot.commands.plan_outcome import Outcome, plan_all, show
    from ingot.commands.plan_sources import ENGINE_VERSION, Asked, by_gpu, hosts_of, recorded, wanted_model
    from ingot.report.page import render_page
    from ingot.sizing import vllm

    outcome = Outcome()
    wanted = wanted_model(model, config, variant, context, concurrency)
    if wanted and (gpu or facts):
        hardware, driver = by_gpu(gpu) if gpu else recorded(facts)
        plan_all([Asked(hardware, (wanted,), vllm(ENGINE_VERSION), driver=driver)], outcome)
    else:
        plan_all(hosts_of(inventory, hosts, wanted, refuse=outcome.errors.append, offline=offline), outcome)
    if html:
        html.write_text(render_page(outcome.plans, outcome.misfits, outcome.measured), encoding="utf-8")
    if as_json:
        print_json(outcome.to_dict())
    else:
        show(outcome, explain=explain)
        if html:
            click.echo(f"wrote {html}")
    if not (outcome.plans or outcome.misfits or outcome.errors):
        raise IngotError("none of the hosts serves models: they only front others; name one that has GPUs.")
    end(outcome.errors, found=bool(outcome.misfits))
