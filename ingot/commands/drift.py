"""`ingot drift`: where hosts differ from the repository, for a person and for a nightly job."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@json_option
def drift(inventory: Path | None, hosts: tuple[str, ...], as_json: bool) -> None:
    """Show what a deploy would change on each HOST.

    Nothing is changed. Differences are listed by role. The exit status is 0 when every host is as the repository says.
    """
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from ingot.inventory.fleet import root, selected
    from ingot.verification.drift import compare

    chosen = selected(inventory, hosts)
    found = compare(chosen.state, chosen.hosts, root(chosen.path) / "deploy.py")
    errors = [f"{one.host}: {error}" for one in found for error in one.errors]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found if not one.errors], "errors": errors})
    else:
        for one in found:
            for change in one.changes:
                for line in change.lines():
                    click.echo(f"{one.host}: {change.role}: {line}")
        clean = sum(not one.changes and not one.errors for one in found)
        click.echo(f"{clean} of {len(found)} hosts are as the repository says.")
    end(errors, found=any(one.changes for one in found))
