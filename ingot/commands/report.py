"""`ingot report`: the versions and decisions that each host recorded about itself."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@json_option
def report(inventory: Path | None, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show the versions and decisions that each HOST recorded.

    Driver, toolkit, plan, measurements. Changes nothing. Where hosts are named, the reasons of the driver's decision
    follow the table.
    """
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console
    from ingot.report.recorded import recorded, table

    reports = recorded(selected(inventory, hosts))
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
