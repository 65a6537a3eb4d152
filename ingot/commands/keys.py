"""`ingot keys`: make, list and revoke the API keys of an inventory's teams."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingot.commands import when
from ingot.commands.options import FILE, inventory_option, json_option, print_json

if TYPE_CHECKING:
    from ingot.secrets.access import Access
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
    """Make a key for TEAM and print it, this once, with the base URL and the CA that its callers need."""
    from ingot.secrets import keys

    end = when.ends("--expires", expires, datetime.now(UTC)) if expires else None
    directory, access = _access(inventory)
    key = keys.create(directory, team, end)
    if as_json:
        print_json(_made(team, key, end, access))
    else:
        _show(key, inventory, access)
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
            "person": key.person,
            "state": "active" if key.works(now) else "expired",
        }
        for key in keys.read(_directory(inventory))
    ]
    if as_json:
        print_json({"keys": rows})
        return
    for row in rows:
        end = row["expires"] or "-"
        whose = row["person"] or ""
        click.echo(f"{row['team']:<32}  {row['id']}  {row['created']}  {end:<25}  {row['state']:<7}  {whose}".rstrip())


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
    directory, access = _access(inventory)
    key, ending = keys.rotate(directory, team, when.duration("--overlap", overlap), now)
    if as_json:
        print_json({**_made(team, key, None, access), "ending": [_ended(one) for one in ending]})
        return
    _show(key, inventory, access)
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


@keys_group.command("sync")
@click.option("--csv", "csv_file", type=FILE, help="Take people and teams from this file instead of `keys_directory`.")
@click.option("--expires", default="90d", show_default=True, metavar="DURATION", help="How long new keys are good.")
@click.option("--renew", default="14d", show_default=True, metavar="DURATION", help="Renew keys that end within.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where new keys are put, a file each.")
@click.option("--dry", is_flag=True, help="Only say what would change.")
@click.option("--allow-empty", is_flag=True, help="Let a team lose all of its people.")
@_inventory
@json_option
def sync(
    csv_file: Path | None,
    expires: str,
    renew: str,
    out: Path | None,
    dry: bool,
    allow_empty: bool,
    inventory: Path,
    as_json: bool,
) -> None:
    """Give each person of the company's directory a key for each team, and take the keys of others away.

    Keys of teams that belong to nobody (`ingot keys create`) are left alone. Run it nightly: it changes only what
    changed there, and renews keys before they end.
    """
    from ingot.inventory.fleet import keys_directory_of, selected
    from ingot.secrets import keys
    from ingot.secrets.directory import from_csv, from_ldap

    now = datetime.now(UTC)
    lasts, window = when.duration("--expires", expires), when.duration("--renew", renew)
    if window >= lasts:
        raise click.UsageError(f"--renew is {renew!r}, which is no shorter than --expires; name a shorter one.")
    directory = _directory(inventory)
    wanted = from_csv(csv_file) if csv_file else from_ldap(keys_directory_of(selected(inventory, ())))
    target = out or directory / "people"
    if dry:
        todo = keys.sync(keys.read(directory), wanted, now, window, allow_empty=allow_empty)
    else:
        todo = keys.apply_sync(directory, wanted, now, window, lasts=lasts, out=target, allow_empty=allow_empty)
    if as_json:
        made = [{"team": one.team, "person": one.person} for one in todo.make]
        removed = [{**_ended(one), "person": one.person} for one in todo.remove]
        print_json({"made": made, "removed": removed, "kept": todo.kept, "directory": str(target)})
        return
    for member in todo.make:
        click.echo(f"+ {member.team:<32}  {member.person}")
    for key in todo.remove:
        click.echo(f"- {key.team:<32}  {key.person}  {key.id}")
    verb = "would be " if dry else ""
    click.echo(f"{len(todo.make)} keys {verb}made, {len(todo.remove)} {verb}removed, {todo.kept} kept.", err=True)
    if todo.changes and not dry:
        click.echo(f"New keys are in {target}, a file each that only you can read. {_next_step(inventory)}", err=True)


def _made(team: str, key: str, end: datetime | None, access: Access) -> dict[str, Any]:
    from ingot.secrets.keys import fingerprint

    return {
        "team": team,
        "id": fingerprint(key)[:8],
        "key": key,
        "expires": end and end.isoformat(timespec="seconds"),
        "base_urls": access.base_urls,
        "ca": access.ca and str(access.ca),
    }


def _ended(key: Key) -> dict[str, Any]:
    return {"team": key.team, "id": key.id, "expires": key.expires}


def _access(inventory: Path) -> tuple[Path, Access]:
    """The inventory's secrets directory, and what its callers need besides a key."""
    from ingot.inventory.fleet import gateways_of, load, secrets_of
    from ingot.secrets.access import access

    state = load(inventory)
    directory = secrets_of(inventory, state)
    return directory, access(directory, gateways_of(state))


def _show(key: str, inventory: Path, access: Access) -> None:
    """The three lines that a caller access. The key alone goes to stdout, for a pipe into a password manager."""
    click.echo(f"base URL  {' or '.join(access.base_urls) or '(the inventory has no usable host yet)'}", err=True)
    click.echo(key)
    click.echo(f"CA        {access.ca or 'none to trust: the certificate is from a CA that all know'}", err=True)
    click.echo(f"The key is shown once. {_next_step(inventory)}", err=True)
    click.echo("Callers read how to use them at the base URL without /v1, or in docs/clients.md.", err=True)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _next_step(inventory: Path) -> str:
    return f"It takes effect with: pyinfra -y {inventory} roles.gateway.gateway"


def _directory(inventory: Path) -> Path:
    from ingot.inventory.fleet import load, secrets_of

    return secrets_of(inventory, load(inventory))
