"""`ingot usage`: what each team asked for, summed over the hosts' logs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from ingot.commands import when
from ingot.commands.options import FILE, end, hosts_options, json_option, print_json

#: What the page shows.
PAGE = ("team", "model", "day")


@click.command()
@hosts_options
@click.option(
    "--since", default="30d", show_default=True, metavar="DAY|DURATION", help="From this day (UTC), or so long."
)
@click.option("--until", metavar="DAY", help="Up to and including this day (UTC).  [default: now]")
@click.option("--by", default="team,model", show_default=True, help="What to sum by: some of team, model, day, key.")
@click.option("--month", metavar="YYYY-MM", help="This calendar month (UTC), instead of --since and --until.")
@click.option("--cost", is_flag=True, help="Also what it cost, by `prices` of group_data.")
@click.option("--html", type=FILE, help="Also write a page with plots per team and model here.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
def usage(
    inventory: Path | None,
    hosts: tuple[str, ...],
    since: str,
    until: str | None,
    by: str,
    month: str | None,
    cost: bool,
    html: Path | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Sum the requests and tokens of each team on each HOST.

    Hosts sum their own logs; nothing is changed. In and out are tokens of the model; p50 and p95 are times to the first
    byte of answers. A team '-' stands for requests without a key that works.
    """
    now = datetime.now(UTC)
    groups = _groups(by)
    if month:
        begin, over = when.month("--month", month, now)
    else:
        begin, over = when.since("--since", since, now), _until(until, now)
    if begin >= over:
        raise click.UsageError(f"--since is {since!r}, which is not before --until; name an earlier day.")
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console
    from ingot.report.usage import by_groups, csv_text, currency_of, summed, table, to_dicts

    chosen = selected(inventory, hosts)
    currency = currency_of(chosen) if cost else None
    # A page shows teams, models and days, whatever is printed: the hosts are asked once for both.
    asks = tuple(dict.fromkeys((*groups, *PAGE))) if html else groups
    answers = summed(chosen, begin, over, asks, priced=cost)
    used = by_groups(answers.rows, asks, groups)
    if html:
        from ingot.report.usage_page import usage_page

        html.write_text(usage_page(by_groups(answers.rows, asks, PAGE), begin, over, currency), encoding="utf-8")
        click.echo(f"wrote {html}", err=True)
    if as_json:
        period = {"since": begin.isoformat(timespec="seconds"), "until": over.isoformat(timespec="seconds")}
        print_json({**period, "usage": to_dicts(used, groups, currency), "errors": list(answers.errors)})
    elif as_csv:
        click.echo(csv_text(used, groups, currency), nl=False)
    else:
        plain_console().print(table(used, groups, currency))
    unpriced = sorted({model for one in used.values() for model in one.unpriced})
    if unpriced:
        names = ", ".join(name or "no model" for name in unpriced)
        click.echo(f"ingot: tokens of {names} have no price and cost nothing here; add it to `prices`.", err=True)
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
