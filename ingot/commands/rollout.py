"""`ingot rollout`: which replicas a deploy would replace, in which order and with which outages; then the deploy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@click.option("--plan-only", is_flag=True, help="Print the table and end; nothing is changed.")
@click.option("--yes", is_flag=True, help="Deploy without asking.")
@json_option
def rollout(inventory: Path | None, hosts: tuple[str, ...], plan_only: bool, yes: bool, as_json: bool) -> None:
    """Show which replicas a deploy of each HOST would replace, in order and with outages, then deploy.

    The deploy is `pyinfra -y INVENTORY deploy.py` with the same hosts. With --json nothing is deployed.
    """
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.inventory.fleet import root, selected
    from ingot.operations.preflight.rollout_table import table

    chosen = selected(inventory, hosts)
    found = table(chosen)
    if as_json:
        print_json({"replicas": [row._asdict() for row in found.rows], "errors": found.errors})
        end(found.errors)
    for line in found.lines() or ["No replica would be replaced."]:
        click.echo(line)
    if plan_only or found.errors:
        end(found.errors)
    if not yes:
        click.confirm("Deploy now?", abort=True)
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", str(chosen.path)]
    command += [str(root(chosen.path) / "deploy.py"), *(word for name in hosts for word in ("--limit", name))]
    sys.stdout.flush()
    os.execv(command[0], command)
