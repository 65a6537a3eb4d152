"""`ingot migrate`: another way to serve becomes the item that replaces it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingot.commands.options import FILE, json_option, print_json

if TYPE_CHECKING:
    from ingot.migration.setup import Setup

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
@click.option("--host", metavar="HOST", help="A host of the inventory on which it runs, instead of FLAGS.")
@click.option("--inventory", type=FILE, help="The inventory of that host.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FLAGS|FILE|STORE")
@json_option
def migrate(
    program: str, only: str | None, host: str | None, inventory: Path | None, words: tuple[str, ...], as_json: bool
) -> None:
    """Read the FLAGS of a running setup, the FILE that starts it, or the STORE of its models.

    Prints the `serve:` item that replaces it, and what will differ. Changes nothing, here or there. FILE is a Compose
    file, a unit of systemd or a script; STORE is ~/.ollama/models, or LM Studio's folder of downloads. With --host what
    runs there is read over SSH: its command line, variables that name models and limits, and small files of its store.
    """
    from ingot.migration.writing import replacements

    if host and words:
        raise click.UsageError("--host reads what runs there; give no FLAGS, FILE or STORE besides.")
    if host:
        read = _on_host(host, inventory, program, only)
    else:
        from ingot.migration.source import setups

        read = setups(program, words, only)
    found = replacements(read, SITE)
    if as_json:
        print_json({"replacements": [{"item": dict(one.item), "differences": one.differences} for one in found]})
        return
    click.echo("\n".join(one.text() for one in found), nl=False)


def _on_host(name: str, inventory: Path | None, program: str, only: str | None) -> list[Setup]:
    from ingot.facts.running_setup import RunningProgram, RunningSetup
    from ingot.inventory.fleet import asked, selected
    from ingot.migration.on_host import setups_on

    read: list[Setup] = []
    chosen = selected(inventory, (name,))
    answers = asked(chosen, lambda one: one.get_fact(RunningSetup, program=program))
    for one, answer in zip(chosen.names, answers, strict=True):
        if not isinstance(answer, RunningProgram):
            raise answer
        read += setups_on(one, program, answer, only)
    return read
