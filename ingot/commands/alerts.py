"""`ingot alerts`: what fires over the fleet."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@json_option
def alerts(inventory: Path | None, hosts: tuple[str, ...], as_json: bool) -> None:
    """List the alerts that fire for each HOST.

    Read from the Prometheus and the Alertmanager of the group `monitor`, over SSH as everything else. docs/alerts.md
    says what each alert means. The exit status is 1 where an alert asks for somebody (critical or warning, and not
    held back), or no monitor answers.
    """
    from ingot.inventory.fleet import selected
    from ingot.report.alerts import NO_MONITOR, fleet_alerts, table
    from ingot.report.console import plain_console

    chosen = selected(inventory, hosts)
    found = fleet_alerts(chosen, everybody=not hosts)
    errors = list(found.errors) if found.watched else [NO_MONITOR.format(path=chosen.path)]
    if as_json:
        print_json({**found.to_dict(), "errors": errors})
    elif found.firing:
        console = plain_console()
        console.print(table(found.firing))
        # One by each kind: many hosts may have the same.
        for name, action in {one.name: one.action for one in found.firing if one.asks}.items():
            console.print(f"{name}: {action}", soft_wrap=True)
    elif not errors:
        click.echo("Nothing fires.")
    end(errors, found=any(one.asks for one in found.firing))
