"""`ingot panels`: the dashboards' panels on one page, for whoever has no Grafana."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json
from ingot.secrets import files


@click.command()
@hosts_options
@click.option("--html", type=FILE, help="Write the page here: every panel, with plots.")
@click.option(
    "--hours",
    type=click.FloatRange(0.25, 24 * 366),
    default=6.0,
    show_default=True,
    help="How far back the figures go.",
)
@json_option
def panels(inventory: Path | None, hosts: tuple[str, ...], html: Path | None, hours: float, as_json: bool) -> None:
    """Show the panels of the dashboards for each HOST.

    Without --html or --json, the numbers of now. Asks the Prometheus of the group `monitor`, over SSH as everything
    else. The panels are those of `ingot dashboards`; those of the fleet are of all hosts, whichever are named. The exit
    status is 1 where no monitor answers, or one of its panels has no answer.
    """
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console
    from ingot.report.panels import fleet_panels, numbers
    from ingot.report.panels_page import render

    chosen = selected(inventory, hosts)
    found = fleet_panels(chosen, datetime.now(UTC), hours, everybody=not hosts)
    if html and found.boards:
        files.replace(html, render(found), 0o600)
        click.echo(f"wrote {html}", err=True)
    if as_json:
        print_json(found.to_dict())
    elif found.boards and not html:
        plain_console().print(numbers(found))
    end(found.errors)
