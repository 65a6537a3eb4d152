"""`ingot keys`: make, list and revoke the API keys of an inventory's teams."""

from __future__ import annotations

from pathlib import Path

import click

from ingot import fleet, keys
from ingot.errors import IngotError

_inventory = click.option(
    "--inventory",
    default="inventories/prod.py",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Whose keys: the inventory file given to pyinfra.",
)


@click.group("keys")
def keys_group() -> None:
    """API keys of teams. Hosts learn of a change at the next deploy and then know hashes only."""


@keys_group.command("create")
@click.argument("team")
@_inventory
def create(team: str, inventory: Path) -> None:
    """Make a key for TEAM and print it, this once."""
    key = keys.create(_directory(inventory), team)
    # The key alone goes to stdout, so that it can be piped into a password manager.
    click.echo(key)
    click.echo(f"This key is shown once. {_next_step(inventory)}", err=True)


@keys_group.command("list")
@_inventory
def list_keys(inventory: Path) -> None:
    """List the active keys: team, id (the start of the key's SHA-256), when it was made."""
    for key in keys.read(_directory(inventory)):
        click.echo(f"{key.team:<32}  {key.id}  {key.created}")


@keys_group.command("revoke")
@click.argument("team")
@_inventory
def revoke(team: str, inventory: Path) -> None:
    """Revoke every key of TEAM."""
    removed = keys.revoke(_directory(inventory), team)
    click.echo(f"{len(removed)} {'key' if len(removed) == 1 else 'keys'} of {team} revoked.")
    click.echo(_next_step(inventory), err=True)


def _next_step(inventory: Path) -> str:
    return f"It takes effect with: pyinfra {inventory} deploy.py"


def _directory(inventory: Path) -> Path:
    """The secrets directory of an inventory file, found as a deploy finds it."""
    configured = {host.data.get("secrets_dir") for host in fleet.load(inventory).inventory}
    if len(configured) > 1:
        raise IngotError(
            f"{inventory}: its hosts have different secrets_dir values ({', '.join(sorted(map(str, configured)))}); "
            "an inventory has one, set it in group_data/all.py."
        )
    return keys.secrets_dir(configured.pop() if configured else None, inventory.stem)
