"""`ingot recommend`: which GPUs would serve a model."""

from __future__ import annotations

import click

from ingot.commands import words
from ingot.commands.options import json_option, print_json
from ingot.errors import IngotError


@click.command()
@click.argument("model", shell_complete=words.models)
@click.option("--context", type=int, help="Tokens of one sequence  [default: 8192, or the model's].")
@click.option("--concurrency", type=int, help="Sequences at once  [default: 8].")
@json_option
def recommend(model: str, context: int | None, concurrency: int | None, as_json: bool) -> None:
    """List the GPUs that would serve MODEL, smallest first.

    From one entry-level card to eight of the largest.
    """
    from ingot.catalog.described import from_catalog, request_for
    from ingot.catalog.recommendation import HEADINGS, recommendations
    from ingot.report.console import plain_console, plain_table
    from ingot.settings.defaults import defaults
    from ingot.sizing import SizingError, vllm

    try:
        request = request_for(from_catalog(model), context=context, concurrency=concurrency)
        found = recommendations(request, vllm(defaults().engine_version))
    except SizingError as error:
        raise IngotError(str(error)) from error
    asked = f"{request.workload.context} tokens x {request.workload.concurrency} sequences"
    if as_json:
        print_json({"model": model, "recommendations": [one.to_dict() for one in found]})
    elif found:
        table = plain_table(*HEADINGS, right=("memory", "sequences"), title=f"{model}: {asked}")
        for one in found:
            table.add_row(*one.cells())
        plain_console().print(table)
    if not found:
        raise IngotError(
            f"{model}: no GPU configuration of the catalog serves {asked}; ask for less context or fewer sequences."
        )
