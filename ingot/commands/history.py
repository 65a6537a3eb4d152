"""`ingot history`: what was done to hosts, by whom, and what they can go back to."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@click.option(
    "--last", "most", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="The last N runs."
)
@json_option
def history(inventory: Path | None, hosts: tuple[str, ...], most: int, as_json: bool) -> None:
    """Show which runs changed each HOST, and the states that it can go back to.

    Changes nothing. Of a host that does not answer, the runs that this machine started are shown.
    """
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console
    from ingot.report.history import show
    from ingot.rollback.history import histories

    found = histories(selected(inventory, hosts))
    errors = [one.error for one in found if one.error]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found], "errors": list(map(str, errors))})
    else:
        console = plain_console()
        for one in found:
            show(one, most, console)
    end(errors)
