"""`ingot rollback`: hosts go back to what they served before."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="The state of `ingot history`.  [default: the one before]",
)
@click.option("--dry", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
def rollback(inventory: Path | None, hosts: tuple[str, ...], number: int | None, dry: bool, as_json: bool) -> None:
    """Have each HOST, or `all`, go back to a state that was proven.

    Image, model, arguments and gateway come back as they were, one replica after the other and one host after the
    other, and are proven again; with a host of a group go all of it, as one. Nothing is fetched. Keys stay as they are:
    one that was revoked does not come back.
    The next deploy brings what the fleet's repository says: correct that first.
    """
    if not hosts:
        raise click.UsageError("rollback names no host; name the ones that shall go back, or all.")
    from ingot.inventory.fleet import selected
    from ingot.rollback.hosts import roll_back

    chosen = selected(inventory, () if hosts == ("all",) else hosts)
    returned = roll_back(chosen, number, lambda line: click.echo(line, err=True), dry=dry)
    done = [one for one in returned if one.state]
    errors = [one.error for one in returned if one.error]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in done], "errors": list(map(str, errors))})
    else:
        for one in done:
            assert one.state
            what = "would go back to" if dry else "serves"
            click.echo(f"{one.host}: {what} state {one.state.number} of {one.state.at}: {one.state.words()}.")
    end(errors)
