"""`ingot accept`: prove that servers are what was ordered and compute as their models do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingot.commands.options import end, hosts_options, json_option, print_json

if TYPE_CHECKING:
    from ingot.inventory.fleet import Selected


@click.command()
@hosts_options
@click.option(
    "--level",
    type=click.Choice(["quick", "standard", "soak"]),
    default="standard",
    show_default=True,
    help="2 minutes, 20 minutes, or hours.",
)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Length of the soak; default by level.")
@click.option("--no-burn-in", is_flag=True, help="Leave replicas serving: only what needs no GPU for itself.")
@click.option("--again", is_flag=True, help="Repeat steps that are done already.")
@click.option(
    "--override", "reason", metavar="REASON", help="Let a failed HOST serve; REASON is recorded with your name."
)
@json_option
def accept(
    inventory: Path | None,
    hosts: tuple[str, ...],
    level: str,
    hours: float | None,
    no_burn_in: bool,
    again: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Prove that each HOST is as ordered and computes right.

    It is measured, compared and judged, and the evidence is kept. Replicas are drained and stopped for the burn-in and
    brought back after it. Steps that are done are not repeated. Exit status 0 is pass or warn, 1 is fail; a failed host
    gets no requests until it passes or is overridden.
    """
    if reason is not None and not hosts:
        raise click.UsageError("--override names no host; name the ones that shall serve all the same.")
    from ingot.acceptance import hosts as acceptance
    from ingot.acceptance.level import LEVELS
    from ingot.acceptance.runner import Options
    from ingot.inventory.fleet import selected
    from ingot.report.acceptance import show, write_page
    from ingot.report.board import Board
    from ingot.report.console import plain_console

    chosen = selected(inventory, hosts)
    if reason is not None:
        _override(chosen, reason, as_json)
        return
    options = Options(LEVELS[level].with_soak(hours), burn_in=not no_burn_in, again=again)
    with Board(plain_console(stderr=as_json)) as board:
        accepted = acceptance.accept(chosen, options, board.say)
    if as_json:
        print_json({"hosts": [one.to_dict() for one in accepted.outcomes], "errors": list(map(str, accepted.errors))})
    else:
        show(accepted.outcomes, plain_console())
    if accepted.outcomes:
        click.echo(f"evidence: {write_page(accepted.outcomes, acceptance.directory_of(chosen))}", err=True)
    end(accepted.errors, found=any(one.verdict == "fail" for one in accepted.outcomes))


def _override(chosen: Selected, reason: str, as_json: bool) -> None:
    from ingot.acceptance.hosts import override
    from ingot.errors import IngotError

    answers = override(chosen, reason)
    done = [one for one in answers if not isinstance(one, IngotError)]
    errors = [one for one in answers if isinstance(one, IngotError)]
    if as_json:
        print_json({"hosts": done, "errors": list(map(str, errors))})
    else:
        for one in done:
            given = one["override"]
            click.echo(
                f"{one['host']}: serves though it failed ({given['reason']}), recorded as decided by {given['by']}."
            )
    end(errors)
