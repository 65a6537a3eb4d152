"""`ingot keys`: make, list and revoke the API keys of an inventory's teams."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from ingot.commands import when
from ingot.errors import IngotError
from ingot.inventory import fleet
from ingot.secrets import keys

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
@click.option("--expires", metavar="DAY|DURATION", help="Last day (2027-01-31, UTC), or how long (90d) it is good.")
@_inventory
def create(team: str, expires: str | None, inventory: Path) -> None:
    """Make a key for TEAM and print it, this once."""
    end = when.ends("--expires", expires, datetime.now(UTC)) if expires else None
    _show(keys.create(_directory(inventory), team, end), inventory)
    if end:
        click.echo(f"It works until {_moment(end)}, also where nobody deploys.", err=True)


@keys_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_inventory
def list_keys(as_json: bool, inventory: Path) -> None:
    """List the keys: team, id (the start of the key's SHA-256), when it was made, when it ends, state."""
    now = datetime.now(UTC)
    rows = [
        {
            "team": key.team,
            "id": key.id,
            "created": key.created,
            "expires": key.expires,
            "state": "active" if key.works(now) else "expired",
        }
        for key in keys.read(_directory(inventory))
    ]
    if as_json:
        click.echo(json.dumps({"keys": rows}, indent=2))
        return
    for row in rows:
        click.echo(f"{row['team']:<32}  {row['id']}  {row['created']}  {row['expires'] or '-':<25}  {row['state']}")


@keys_group.command("rotate")
@click.argument("team")
@click.option(
    "--overlap", default="7d", show_default=True, metavar="DURATION", help="How long the old keys still work."
)
@_inventory
def rotate(team: str, overlap: str, inventory: Path) -> None:
    """Make a new key for TEAM and print it, this once; its other keys end after the overlap."""
    now = datetime.now(UTC)
    key, ending = keys.rotate(_directory(inventory), team, when.duration("--overlap", overlap), now)
    _show(key, inventory)
    for one in ending:
        click.echo(f"Key {one.id} works until {_moment(one.end or now)}.", err=True)


@keys_group.command("revoke")
@click.argument("team", required=False)
@click.option("--id", "key_id", metavar="ID", help="Only the key with this id.")
@_inventory
def revoke(team: str | None, key_id: str | None, inventory: Path) -> None:
    """Revoke every key of TEAM, or the one with an id."""
    if bool(team) == bool(key_id):
        raise IngotError("revoke takes a team or --id: name one of them, as `ingot keys list` shows them.")
    directory = _directory(inventory)
    removed = keys.revoke_id(directory, key_id) if key_id else keys.revoke(directory, str(team))
    click.echo(f"{len(removed)} {'key' if len(removed) == 1 else 'keys'} of {removed[0].team} revoked.")
    click.echo(_next_step(inventory), err=True)


def _show(key: str, inventory: Path) -> None:
    # The key alone goes to stdout, so that it can be piped into a password manager.
    click.echo(key)
    click.echo(f"This key is shown once. {_next_step(inventory)}", err=True)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _next_step(inventory: Path) -> str:
    return f"It takes effect with: pyinfra -y {inventory} roles.gateway.gateway"


def _directory(inventory: Path) -> Path:
    """The secrets directory of an inventory file, found as a deploy finds it."""
    configured = {host.data.get("secrets_dir") for host in fleet.load(inventory).inventory}
    if len(configured) > 1:
        raise IngotError(
            f"{inventory}: its hosts have different secrets_dir values ({', '.join(sorted(map(str, configured)))}); "
            "an inventory has one, set it in group_data/all.py."
        )
    return keys.secrets_dir(configured.pop() if configured else None, inventory.stem)
