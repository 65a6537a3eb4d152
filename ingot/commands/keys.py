"""`ingot keys`: make, list and revoke the API keys of an inventory's teams."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingot.commands import when
from ingot.commands.options import inventory_option, json_option, print_json

if TYPE_CHECKING:
    from ingot.secrets.keys import Key

_inventory = inventory_option("Whose keys: the inventory file given to pyinfra.")


@click.group("keys")
def keys_group() -> None:
    """Make, list and revoke the API keys of teams.

    Hosts learn of a change at the next deploy, and know hashes only.
    """


@keys_group.command("create")
@click.argument("team")
@click.option("--expires", metavar="DAY|DURATION", help="Last day (2027-01-31, UTC), or how long (90d) it is good.")
@_inventory
@json_option
def create(team: str, expires: str | None, inventory: Path, as_json: bool) -> None:
    """Make a key for TEAM and print it, this once."""
    from ingot.secrets import keys

    end = when.ends("--expires", expires, datetime.now(UTC)) if expires else None
    key = keys.create(_directory(inventory), team, end)
    if as_json:
        print_json(_made(team, key, end))
    else:
        _show(key, inventory)
    if end:
        click.echo(f"It works until {_moment(end)}, also where nobody deploys.", err=True)


@keys_group.command("list")
@_inventory
@json_option
def list_keys(inventory: Path, as_json: bool) -> None:
    """List the keys: team, id (the start of the key's SHA-256), when it was made, when it ends, state."""
    from ingot.secrets import keys

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
        print_json({"keys": rows})
        return
    for row in rows:
        click.echo(f"{row['team']:<32}  {row['id']}  {row['created']}  {row['expires'] or '-':<25}  {row['state']}")


@keys_group.command("rotate")
@click.argument("team")
@click.option(
    "--overlap", default="7d", show_default=True, metavar="DURATION", help="How long the old keys still work."
)
@_inventory
@json_option
def rotate(team: str, overlap: str, inventory: Path, as_json: bool) -> None:
    """Make a new key for TEAM and print it, this once; its other keys end after the overlap."""
    from ingot.secrets import keys

    now = datetime.now(UTC)
    key, ending = keys.rotate(_directory(inventory), team, when.duration("--overlap", overlap), now)
    if as_json:
        print_json({**_made(team, key, None), "ending": [_ended(one) for one in ending]})
        return
    _show(key, inventory)
    for one in ending:
        click.echo(f"Key {one.id} works until {_moment(one.end or now)}.", err=True)


@keys_group.command("revoke")
@click.argument("team", required=False)
@click.option("--id", "key_id", metavar="ID", help="Only the key with this id.")
@_inventory
@json_option
def revoke(team: str | None, key_id: str | None, inventory: Path, as_json: bool) -> None:
    """Revoke every key of TEAM, or the one with an id."""
    if bool(team) == bool(key_id):
        raise click.UsageError("revoke takes a team or --id: name one of them, as `ingot keys list` shows them.")
    from ingot.secrets import keys

    directory = _directory(inventory)
    removed = keys.revoke_id(directory, key_id) if key_id else keys.revoke(directory, str(team))
    if as_json:
        print_json({"revoked": [_ended(one) for one in removed]})
        return
    click.echo(f"{len(removed)} {'key' if len(removed) == 1 else 'keys'} of {removed[0].team} revoked.")
    click.echo(_next_step(inventory), err=True)


def _made(team: str, key: str, end: datetime | None) -> dict[str, Any]:
    from ingot.secrets.keys import fingerprint

    return {"team": team, "id": fingerprint(key)[:8], "key": key, "expires": end and end.isoformat(timespec="seconds")}


def _ended(key: Key) -> dict[str, Any]:
    return {"team": key.team, "id": key.id, "expires": key.expires}


def _show(key: str, inventory: Path) -> None:
    # The key alone goes to stdout, so that it can be piped into a password manager.
    click.echo(key)
    click.echo(f"This key is shown once. {_next_step(inventory)}", err=True)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _next_step(inventory: Path) -> str:
    return f"It takes effect with: pyinfra -y {inventory} roles.gateway.gateway"


def _directory(inventory: Path) -> Path:
    from ingot.inventory.fleet import load, secrets_of

    return secrets_of(inventory, load(inventory))
