"""`ingot migrate`: another way to serve becomes the item that replaces it."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import json_option, print_json

SITE = Path("inventories/models.site.yaml")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--from",
    "program",
    type=click.Choice(("lmstudio", "ollama", "tgi")),
    required=True,
    help="What serves now.",
)
@click.option("--only", metavar="MODEL", help="One model of a store, or the one that variables do not name.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FLAGS|FILE|STORE")
@json_option
def migrate(program: str, only: str | None, words: tuple[str, ...], as_json: bool) -> None:
    """Read the FLAGS of a running setup, the FILE that starts it, or the STORE of its models.

    Prints the `serve:` item that replaces it, and what will differ. Changes nothing, here or there. FILE is a Compose
    file, a unit of systemd or a script; STORE is ~/.ollama/models, or LM Studio's folder of downloads.
    """
    from ingot.migration.source import setups
    from ingot.migration.writing import replacements

    found = replacements(setups(program, words, only), SITE)
    if as_json:
        print_json({"replacements": [{"item": dict(one.item), "differences": one.differences} for one in found]})
        return
    click.echo("\n".join(one.text() for one in found), nl=False)
