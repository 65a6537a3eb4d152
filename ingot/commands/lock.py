"""`ingot lock`: who changes a host now, and a way to take it from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingot.commands.options import end, hosts_options, json_option, print_json
from ingot.errors import IngotError

if TYPE_CHECKING:
    from pyinfra.api.host import Host


@click.group("lock")
def lock_group() -> None:
    """Show or break the lock by which one run at a time changes a host."""


@lock_group.command("show")
@hosts_options
@json_option
def show(inventory: Path | None, hosts: tuple[str, ...], as_json: bool) -> None:
    """Say of each HOST which run changes it now, and for how long it has.

    Changes nothing. A lock ends with its run's connection: there is nothing to tidy up after a run that died.
    """
    from ingot.inventory.fleet import asked, selected
    from ingot.report.locks import locked, sentence

    chosen = selected(inventory, hosts)
    answers = asked(chosen, locked)
    found = [one for one in answers if not isinstance(one, IngotError)]
    errors = [str(one) for one in answers if isinstance(one, IngotError)]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found], "errors": errors})
    else:
        for one in found:
            click.echo(sentence(one))
    end(errors)


@lock_group.command("break")
@hosts_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def break_(inventory: Path | None, hosts: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Take one HOST from the run that changes it: that run stops at its next step.

    For a run that nobody can end where it was started. What it began is healed by the next run.
    """
    if not hosts:
        raise click.UsageError("lock break takes one host by its name; give it.")
    if not (yes or sys.stdin.isatty()):
        raise IngotError(f"{hosts[0]}: nothing was changed, since nobody can be asked; give --yes to go on.")
    from ingot.inventory.fleet import asked, selected
    from ingot.report.locks import broken, locked, sentence

    chosen = selected(inventory, hosts)
    if len(chosen.hosts) > 1:
        raise IngotError(f"{', '.join(chosen.names)}: locks are broken one by one; name one of these hosts.")

    def one(host: Host) -> dict[str, Any]:
        found = locked(host)
        click.echo(sentence(found), err=as_json)
        if not found.held:
            return {**found.to_dict(), "broken": False}
        if not yes and click.prompt("Type the host's name to go on", default="", err=True) != found.host:
            raise IngotError(f"{found.host}: nothing was changed.")
        broken(host)
        click.echo(f"{found.host}: its lock is broken; the run stops at its next step.", err=as_json)
        return {**found.to_dict(), "broken": True}

    (done,) = asked(chosen, one)
    if isinstance(done, IngotError):
        raise done
    if as_json:
        print_json({"hosts": [done], "errors": []})
