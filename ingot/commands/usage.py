"""`ingot usage`: what each team asked for, summed over the hosts' logs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ingot.commands import when
from ingot.errors import IngotError
from ingot.facts.usage_on_host import GROUPS
from ingot.report.usage import Used, merged

#: Summing takes some seconds per gigabyte of logs.
TIMEOUT_S = 900
COLUMNS = tuple(Used().cells())
HEADINGS = ("requests", "refused", "aborted", "in", "out", "p50 s", "p95 s")


@click.command()
@click.option(
    "--inventory",
    default=None,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory file given to pyinfra.  [default: the first that has every --host, else inventories/prod.py]",
)
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this host of the inventory (repeatable).")
@click.option(
    "--since", default="30d", show_default=True, metavar="DAY|DURATION", help="From this day (UTC), or so long."
)
@click.option("--until", metavar="DAY", help="Up to and including this day (UTC).  [default: now]")
@click.option("--by", default="team,model", show_default=True, help=f"What to sum by: some of {', '.join(GROUPS)}.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def usage(
    inventory: Path | None, hosts: tuple[str, ...], since: str, until: str | None, by: str, as_csv: bool, as_json: bool
) -> None:
    """Requests and tokens per team and model, summed on the hosts out of their logs. Changes nothing.

    In and out are tokens of the model; p50 and p95 are times to the first byte of answers. A team '-' stands for
    requests without a key that works.
    """
    now = datetime.now(UTC)
    groups = _groups(by)
    begin, end = when.since("--since", since, now), _until(until, now)
    if begin >= end:
        raise IngotError(f"--since is {since!r}, which is not before --until; name an earlier day.")
    rows, wrong, faults = _asked(inventory, hosts, begin, end, groups)
    used = merged(rows)
    if as_json:
        _json(used, groups, begin, end)
    elif as_csv:
        _csv(used, groups)
    else:
        _table(used, groups)
    if wrong:
        click.echo(f"ingot: {wrong} lines of the logs could not be read and are not counted.", err=True)
    for fault in faults:
        click.echo(f"ingot: {fault}", err=True)
    if faults:
        raise SystemExit(1)


def _groups(by: str) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(by.split(",")))
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise IngotError(f"--by names {unknown[0]!r}, expected some of {', '.join(GROUPS)}; correct it.")
    return groups


def _until(text: str | None, now: datetime) -> datetime:
    """The end of the day that is named, or now."""
    return min(when.day("--until", text) + when.DAY, now) if text else now


def _asked(
    inventory: Path | None, names: Sequence[str], begin: datetime, end: datetime, by: Sequence[str]
) -> tuple[list[dict[str, Any]], int, list[str]]:
    """Every host's rows, how many lines could not be read, and a sentence for each host that gave none."""
    # pyinfra's import patches the standard library: the help alone does not pay for it.
    from pyinfra.api.host import Host

    from ingot.facts.usage import HostUsage, Usage
    from ingot.inventory import fleet

    def ask(host: Host) -> HostUsage:
        period = {"since": begin.timestamp(), "until": end.timestamp()}
        try:
            with fleet.connected(host):
                return host.get_fact(Usage, **period, by=by, _timeout=TIMEOUT_S, _ignore_errors=True)
        except IngotError as refused:
            return HostUsage(fault=str(refused))

    path = fleet.meant(inventory, names)
    state = fleet.load(path)
    chosen = fleet.chosen(state, path, names)
    answers = fleet.at_once(state, [host for _, host in chosen], ask)
    faults = [
        one.fault if one.fault.startswith(name) else f"{name}: {one.fault}."
        for (name, _), one in zip(chosen, answers, strict=True)
        if one.fault
    ]
    return [row for one in answers for row in one.rows], sum(one.wrong_lines for one in answers), faults


def _table(used: Mapping[tuple[str, ...], Used], groups: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for group in groups:
        table.add_column(group, overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right", overflow="fold")
    for names, one in used.items():
        shown = [f"{cell:,}" if type(cell) is int else str(cell or "-") for cell in one.cells().values()]
        table.add_row(*(name or "-" for name in names), *shown)
    Console().print(table)


def _csv(used: Mapping[tuple[str, ...], Used], groups: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*groups, *COLUMNS))
    writer.writerows((*group, *one.cells().values()) for group, one in used.items())


def _json(used: Mapping[tuple[str, ...], Used], groups: Sequence[str], begin: datetime, end: datetime) -> None:
    rows = [
        {**dict(zip(groups, group, strict=True)), **one.cells(), "refused": dict(one.refused)}
        for group, one in used.items()
    ]
    period = {"since": begin.isoformat(timespec="seconds"), "until": end.isoformat(timespec="seconds")}
    click.echo(json.dumps({**period, "usage": rows}, indent=2))
