"""`ingot bench`: load on a service, and how fast it is under it."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingot.bench.load import (
    FAILED_SHARE,
    LONGEST_S,
    MOST_AT_ONCE,
    MOST_USERS,
    PRESETS,
    USUAL_S,
    Load,
    check,
    parse_limits,
)
from ingot.commands.options import FILE, end, hosts_options, json_option, print_json
from ingot.errors import IngotError
from ingot.secrets import files

if TYPE_CHECKING:
    from ingot.bench.running import Done

#: The load where nobody says, and levels where nobody names one: a curve.
USUAL = Load(requests=0, at_once=1)
LEVELS = (1, 2, 4, 8, 16)
#: Requests of a level that names none: ten rounds, and not fewer than this.
ROUNDS, FEWEST = 10, 20


@click.command()
@hosts_options
@click.option("--from", "source", metavar="HOST", help="Ask from this host  [default: the HOST that is asked].")
@click.option("--model", metavar="NAME", help="Ask this model  [default: the only one that is served].")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Ask with the key in this private file, - for standard input  [default: INGOT_API_KEY, or the key that "
    "deploys keep].",
)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="A load by name; other options change it.")
@click.option(
    "--concurrency",
    metavar="N,…",
    help="Closed loop: so many requests at once, a level each  [default: 1,2,4,8,16].",
)
@click.option("--rate", metavar="R,…", help="Open loop: so many requests per second come, a level each.")
@click.option("--requests", type=int, help="Requests of each level  [default: ten rounds, at least 20].")
@click.option("--input-tokens", type=int, help="Tokens of each prompt  [default: 512].")
@click.option("--output-tokens", type=int, help="Tokens of each answer  [default: 128].")
@click.option("--shared-prefix", type=float, help="Share of each prompt that all have, 0 to 0.95  [default: 0].")
@click.option("--slo", metavar="LIMITS", help="Count what meets these limits, such as ttft=1s,itl=50ms.")
@click.option("--users-at", metavar="LIMITS", help="Find the number of users for whom these limits still hold.")
@click.option(
    "--most-users",
    type=click.IntRange(1, MOST_AT_ONCE),
    default=MOST_USERS,
    show_default=True,
    metavar="N",
    help="Try no more users than this.",
)
@click.option(
    "--seconds",
    type=click.IntRange(10, LONGEST_S),
    default=USUAL_S,
    show_default=True,
    metavar="N",
    help="End after so long.",
)
@click.option(
    "--failed-share",
    type=click.FloatRange(0, 0.5),
    default=FAILED_SHARE,
    show_default=True,
    metavar="SHARE",
    help="Stop where more than this share of the requests fail.",
)
@click.option("--html", type=FILE, help="Also write an HTML page with plots here.")
@json_option
def bench(
    inventory: Path | None,
    hosts: tuple[str, ...],
    source: str | None,
    model: str | None,
    api_key_file: Path | None,
    preset: str | None,
    concurrency: str | None,
    rate: str | None,
    requests: int | None,
    input_tokens: int | None,
    output_tokens: int | None,
    shared_prefix: float | None,
    slo: str | None,
    users_at: str | None,
    most_users: int,
    seconds: int,
    failed_share: float,
    html: Path | None,
    as_json: bool,
) -> None:
    """Put load on one HOST, or on the https address of a service, and measure.

    The engine image's own benchmark runs in a container there, or on the host of --from, and asks through the gateway
    with TLS and a key. The host is held meanwhile, so that nobody changes it. The record is kept beside the inventory's
    secrets and compared with the last one. The exit status is 1 where it was stopped before its end.
    """
    if len(hosts) != 1:
        raise click.UsageError("a benchmark is of one host or address; name one.")
    if slo and users_at:
        raise click.UsageError("--users-at has the limits; leave out --slo.")
    if concurrency and rate:
        raise click.UsageError("--concurrency is a closed loop and --rate an open one; give one of them.")
    if users_at and (concurrency or rate or requests):
        raise click.UsageError("--users-at tries its own levels; leave out --concurrency, --rate and --requests.")
    chosen = PRESETS[preset] if preset else USUAL
    given = {
        "requests": requests,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "shared_prefix": shared_prefix,
    }
    one = replace(chosen, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    limits = parse_limits(users_at or slo or "") if users_at or slo else {}
    loads = (replace(one, requests=FEWEST, at_once=1),) if users_at else _loads(one, concurrency, rate, bool(preset))
    check(loads)
    key = _key(api_key_file)

    from ingot.bench.running import Wanted, bench, is_address
    from ingot.inventory.fleet import selected
    from ingot.report.bench import Bars
    from ingot.report.console import plain_console

    (target,) = hosts
    if is_address(target) and not source:
        raise click.UsageError("an address is asked from a host of the inventory; name it with --from.")
    names = (source,) if is_address(target) else (target, source) if source else (target,)
    wanted = Wanted(loads, limits, model, bool(users_at), most_users, limit_s=seconds, failed_share=failed_share)
    found = selected(inventory, [name for name in names if name])
    if source and source not in found.names:
        raise click.UsageError(f"--from {source} is no single host; name one.")
    if not is_address(target):
        # A group or a pattern may mean one host too.
        meant = [name for name in found.names if name != source] or list(found.names)
        if len(meant) > 1:
            raise click.UsageError(f"{target} is {len(meant)} hosts; a benchmark is of one, name it.")
        (target,) = meant
    asker = source or target
    try:
        with Bars(plain_console(stderr=True)) as bars:
            done = bench(found, target, asker, wanted, key, bars.say)
    except IngotError as error:
        if as_json:
            print_json({"hosts": [], "errors": [str(error)]})
        end([error])
    _show(done, html, as_json=as_json)


def _loads(one: Load, concurrency: str | None, rate: str | None, has_preset: bool) -> tuple[Load, ...]:
    """A level for each number that is named."""
    if rate:
        return tuple(
            replace(one, per_s=per_s, at_once=MOST_AT_ONCE, requests=one.requests or max(round(per_s * 60), FEWEST))
            for per_s in _numbers(rate, "--rate", "requests per second")
        )
    if has_preset and not concurrency:
        return (one,)
    numbers = _numbers(concurrency, "--concurrency", "requests at once") if concurrency else LEVELS
    return tuple(
        replace(one, at_once=int(number), requests=one.requests or max(ROUNDS * int(number), FEWEST))
        for number in numbers
    )


def _numbers(text: str, option: str, what: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) <= 0 or (option == "--concurrency" and any(one % 1 for one in found)):
        raise IngotError(f"{option} {text}: expected {what}, such as 1,4,16; correct it.")
    return found


def _key(path: Path | None) -> str | None:
    """The key of a file that nobody else may read, of standard input, or of INGOT_API_KEY; None: none is given."""
    from ingot.bench.record import read_key

    if path is None:
        return os.environ.get("INGOT_API_KEY") or None
    if str(path) == "-":
        return read_key(path, sys.stdin.readline())
    with path.open(encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise IngotError(f"{path}: others may read it, expected a key that only you can read; `chmod 600 {path}`.")
        return read_key(path, file.read())


def _show(done: Done, html: Path | None, *, as_json: bool) -> None:
    from ingot.report.bench import sentences, table
    from ingot.report.console import plain_console

    if html:
        from ingot.report.bench_page import render

        files.replace(html, render(done.record, done.before), 0o600)
    if as_json:
        shown = {**done.record.to_dict(), "path": str(done.path), "before": done.before and done.before.to_dict()}
        print_json({"hosts": [shown], "errors": []})
    else:
        console = plain_console()
        console.print(table(done.record))
        for sentence in sentences(done.record, done.before):
            console.print(sentence, soft_wrap=True)
    click.echo(f"record: {done.path}", err=True)
    end([f"{done.record.host}: the benchmark was stopped: {done.record.why}."] if done.record.why else [])
