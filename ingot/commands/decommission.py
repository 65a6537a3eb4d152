"""`ingot decommission`: a host is drained, emptied of what Ingot installed, and taken out of the inventory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from ingot.errors import IngotError


@click.command()
@click.argument("name")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory file given to pyinfra [default: inventories/prod.py, or the first that has the host].",
)
@click.option("--keep-driver", is_flag=True, help="Leave the NVIDIA driver, its holds, pins and package source.")
@click.option("--keep-docker", is_flag=True, help="Leave Docker and the container toolkit.")
@click.option("--wipe-keys", is_flag=True, help="Overwrite the TLS key and the key map before deleting them.")
@click.option("--wipe-models", is_flag=True, help="Delete the models too.")
@click.option("--drain-seconds", default=300, show_default=True, help="How long running requests may go on.")
@click.option("--inventory-only", is_flag=True, help="For a host that is dead: only take it out of the inventory.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry", is_flag=True, help="Show what would be done, and do nothing.")
def decommission(
    name: str,
    inventory: Path | None,
    keep_driver: bool,
    keep_docker: bool,
    wipe_keys: bool,
    wipe_models: bool,
    drain_seconds: int,
    inventory_only: bool,
    yes: bool,
    dry: bool,
) -> None:
    """Take NAME out of service and out of the inventory.

    What others installed on it stays, and is said. Safe to repeat: what a run left that was cut off, the next removes.
    """
    if not (yes or dry or sys.stdin.isatty()):
        raise IngotError(f"{name}: nothing was changed, since nobody can be asked; give --yes to go on.")
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.inventory.fleet import chosen, load, meant
    from ingot.operations.departure.departure import Wish
    from ingot.verification.departure import Leaving
    from ingot.verification.membership import membership

    path = meant(inventory, (name,))
    state = load(path)
    ((_, host),) = chosen(state, path, (name,))
    entry = membership(path, name)
    leaving = None
    if not inventory_only:
        wish = Wish(
            keep_driver=keep_driver,
            keep_docker=keep_docker,
            wipe_keys=wipe_keys,
            wipe_models=wipe_models,
            drain_s=drain_seconds,
            stop_grace_s=int(host.data.engine_stop_grace_s),
        )
        leaving = Leaving(state, host, wish)
    _show(name, (*(leaving.sentences() if leaving else ()), *entry.sentences()))
    if dry:
        return
    if not yes:
        _confirm(name)
    if leaving:
        logging.getLogger("pyinfra").addHandler(_Echo())
        leaving.leave()
    entry.end()
    click.echo(f"{name} is out of {path}; commit that, and deploy gateways that sent requests to it.")


def _show(name: str, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        click.echo(f"{name}: {sentence}")


def _confirm(name: str) -> None:
    """Raises: IngotError unless the host's name is typed."""
    if click.prompt("Type the host's name to go on", default="", show_default=False) != name:
        raise IngotError(f"{name}: nothing was changed.")


class _Echo(logging.Handler):
    """What the work on the host says goes to the terminal, line by line."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=record.levelno >= logging.WARNING)
