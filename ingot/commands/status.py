"""`ingot status`: the fleet on one screen, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json
from ingot.errors import IngotError

#: Seconds between two looks of --watch.
EVERY_S = 2


@click.command()
@hosts_options
@click.option("--watch", is_flag=True, help="Show it anew every few seconds, until Ctrl-C.")
@json_option
def status(inventory: Path | None, hosts: tuple[str, ...], watch: bool, as_json: bool) -> None:
    """Show what each HOST serves now.

    Replicas that serve, requests that run and wait, the share of the KV cache in use, tokens per second over the last
    second, what is wrong, and alerts where a host watches the fleet. Changes nothing. The exit status is 1 where
    something is wrong.
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people; leave out --json, or run the command again and again.")
    from ingot.inventory.fleet import selected
    from ingot.report.alerts import fleet_alerts
    from ingot.report.console import plain_console
    from ingot.report.status import HostStatus, statuses, table, watch_fleet, with_alerts

    chosen = selected(inventory, hosts)
    if watch:

        def look() -> tuple[list[HostStatus], Sequence[str]]:
            alerts = fleet_alerts(chosen)
            return with_alerts(statuses(chosen), alerts), alerts.errors

        watch_fleet(look, plain_console(), lambda: time.sleep(EVERY_S))
        return
    alerts = fleet_alerts(chosen)
    found = with_alerts(statuses(chosen), alerts)
    errors: list[str | IngotError] = [*(one.error for one in found if one.error), *alerts.errors]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found if not one.error], "errors": [str(one) for one in errors]})
    else:
        plain_console().print(table(found))
    end(errors, found=not all(one.is_well for one in found))
