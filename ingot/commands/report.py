"""`ingot report`: the versions and decisions that each host recorded about itself, and the page of the fleet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json
from ingot.secrets import files


@click.command()
@hosts_options
@click.option("--html", type=FILE, help="Also write a page of the fleet here, with acceptances, usage and deploys.")
@click.option("--drift", is_flag=True, help="On the page, also what a deploy would change: asks more of each host.")
@json_option
def report(inventory: Path | None, hosts: tuple[str, ...], html: Path | None, drift: bool, as_json: bool) -> None:
    """Show the versions and decisions that each HOST recorded.

    Driver, toolkit, plan, measurements. Changes nothing. Where hosts are named, the reasons of the driver's decision
    follow the table.
    """
    if drift and not html:
        raise click.UsageError("--drift is for the page; give --html, or run `ingot drift`.")
    from ingot.inventory.fleet import root, selected
    from ingot.report.console import plain_console
    from ingot.report.recorded import recorded, table

    chosen = selected(inventory, hosts)
    reports = recorded(chosen)
    if html:
        from ingot.report.fleet import fleet
        from ingot.report.fleet_page import render
        from ingot.verification.drift import compare

        # A dry run of a deploy takes the inventory as a deploy loads it.
        again = selected(inventory, hosts) if drift else None
        drifted = compare(again.state, again.hosts, root(again.path) / "deploy.py") if again else []
        files.replace(html, render(fleet(chosen, datetime.now(UTC), reports, drifted)), 0o600)
        click.echo(f"wrote {html}", err=True)
    errors = [one.error for one in reports if one.error]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in reports if not one.error], "errors": errors})
    else:
        console = plain_console()
        console.print(table(reports))
        for one in reports if hosts else ():
            for line in one.reasons():
                console.print(f"{one.host}: {line}", soft_wrap=True)
    end(errors)
