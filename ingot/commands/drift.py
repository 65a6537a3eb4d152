"""`ingot drift`: where hosts differ from the repository, for a person and for a nightly job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingot.verification.drift import HostDrift


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory file given to pyinfra [default: inventories/prod.py, or the first that has the hosts].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def drift(hosts: tuple[str, ...], inventory: Path | None, as_json: bool) -> None:
    """What a deploy would change on each HOST, by role; nothing is changed.

    The exit status is 0 when hosts are as the repository says, 2 when one differs, 1 when one could not be compared.
    """
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.inventory.fleet import chosen, load, meant, root
    from ingot.verification.drift import compare, status

    path = meant(inventory, hosts)
    state = load(path)
    found = compare(state, [host for _, host in chosen(state, path, hosts)], root(path) / "deploy.py")
    if as_json:
        click.echo(json.dumps({"hosts": [one.to_dict() for one in found]}, indent=1))
    else:
        _show(found)
    raise SystemExit(status(found))


def _show(found: Sequence[HostDrift]) -> None:
    for one in found:
        for error in one.errors:
            click.echo(f"{one.host}: {error}", err=True)
        for change in one.changes:
            for line in change.lines():
                click.echo(f"{one.host}: {change.role}: {line}")
    clean = sum(not one.changes and not one.errors for one in found)
    click.echo(f"{clean} of {len(found)} hosts are as the repository says.")
