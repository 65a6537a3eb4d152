"""`ingot decommission`: a host is drained, emptied of what Ingot installed, and taken out of the inventory."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ingot.commands.options import hosts_options, json_option, print_json
from ingot.errors import IngotError


@click.command()
@hosts_options
@click.option("--keep-driver", is_flag=True, help="Leave the NVIDIA driver, its holds, pins and package source.")
@click.option("--keep-docker", is_flag=True, help="Leave Docker and the container toolkit.")
@click.option("--wipe-keys", is_flag=True, help="Overwrite the TLS key and the key map before deleting them.")
@click.option("--wipe-models", is_flag=True, help="Delete the models too.")
@click.option("--drain-seconds", default=300, show_default=True, help="How long running requests may go on.")
@click.option("--inventory-only", is_flag=True, help="For a host that is dead: only take it out of the inventory.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
def decommission(
    inventory: Path | None,
    hosts: tuple[str, ...],
    keep_driver: bool,
    keep_docker: bool,
    wipe_keys: bool,
    wipe_models: bool,
    drain_seconds: int,
    inventory_only: bool,
    yes: bool,
    dry: bool,
    as_json: bool,
) -> None:
    """Take one HOST out of service and out of the inventory.

    What others installed stays, and is listed. Safe to repeat: the next run finishes what an interrupted one left.
    """
    if not hosts:
        raise click.UsageError("decommission takes one host by its name; give it.")
    if not (yes or dry or sys.stdin.isatty()):
        raise IngotError(f"{hosts[0]}: nothing was changed, since nobody can be asked; give --yes to go on.")
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.departure.membership import membership
    from ingot.departure.removal import Removal
    from ingot.inventory.fleet import selected
    from ingot.operations.departure.departure import Wish, of_group
    from ingot.settings import of_host

    chosen = selected(inventory, hosts)
    if len(chosen.hosts) > 1:
        raise IngotError(f"{', '.join(chosen.names)}: decommission takes hosts one by one; name one of them.")
    (host,) = chosen.hosts
    name = host.name
    if together := of_group(host):
        raise IngotError(together)
    entry = membership(chosen.path, name)
    removal = None
    if not inventory_only:
        wish = Wish(
            keep_driver=keep_driver,
            keep_docker=keep_docker,
            wipe_keys=wipe_keys,
            wipe_models=wipe_models,
            drain_s=drain_seconds,
            stop_grace_s=of_host(host).engine_stop_grace_s,
        )
        removal = Removal(chosen.state, host, wish)
    steps = [*(removal.sentences() if removal else ()), *entry.sentences()]
    for step in steps:
        click.echo(f"{name}: {step}", err=as_json)
    if not dry:
        if not yes and click.prompt("Type the host's name to go on", default="", show_default=False, err=True) != name:
            raise IngotError(f"{name}: nothing was changed.")
        if removal:
            removal.carry_out()
        entry.end()
        click.echo(
            f"{name} is out of {chosen.path}; commit that, and deploy gateways that sent requests to it.", err=as_json
        )
    if as_json:
        print_json({"hosts": [{"host": name, "steps": steps, "done": not dry}], "errors": []})
