"""`ingot usage`: what each team asked for, summed over the hosts' logs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from ingot.commands import when
from ingot.commands.options import end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@click.option(
    "--since", default="30d", show_default=True, metavar="DAY|DURATION", help="From this day (UTC), or so long."
)
@click.option("--until", metavar="DAY", help="Up to and including this day (UTC).  [default: now]")
@click.option("--by", default="team,model", show_default=True, help="What to sum by: some of team, model, day, key.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
def usage(
    inventory: Path | None, hosts: tuple[str, ...], since: str, until: str | None, by: str, as_csv: bool, as_json: bool
) -> None:
    """Requests and tokens per team and model, summed on each HOST from its logs. Changes nothing.

    In and out are tokens of the model; p50 and p95 are times to the first byte of answers. A team '-' stands for
    requests without a key that works.
    """
    now = datetime.now(UTC)
    groups = _groups(by)
    begin, over = when.since("--since", since, now), _until(until, now)
    if begin >= over:
        raise click.UsageError(f"--since is {since!r}, which is not before --until; name an earlier day.")
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console
    from ingot.report.usage import csv_text, merged, summed, table, to_dicts

    answers = summed(selected(inventory, hosts), begin, over, groups)
    used = merged(answers.rows)
    if as_json:
        period = {"since": begin.isoformat(timespec="seconds"), "until": over.isoformat(timespec="seconds")}
        print_json({**period, "usage": to_dicts(used, groups), "errors": list(answers.errors)})
    elif as_csv:
        click.echo(csv_text(used, groups), nl=False)
    else:
        plain_console().print(table(used, groups))
    if answers.wrong_lines:
        click.echo(f"ingot: {answers.wrong_lines} lines of the logs could not be read and are not counted.", err=True)
    end(answers.errors)


def _groups(by: str) -> tuple[str, ...]:
    from ingot.facts.usage_on_host import GROUPS

    groups = tuple(dict.fromkeys(by.split(",")))
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise click.UsageError(f"--by names {unknown[0]!r}, expected some of {', '.join(GROUPS)}; correct it.")
    return groups


def _until(text: str | None, now: datetime) -> datetime:
    """The end of the day that is named, or now."""
    return min(when.day("--until", text) + when.DAY, now) if text else now
