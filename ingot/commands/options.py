"""What commands have in common: how hosts are named, the inventory, JSON, and the exit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ingot.commands import words
from ingot.errors import Held, IngotError
from ingot.inventory.default import DEFAULT_INVENTORY

#: Exit statuses of every command. 2 is also what click gives for a command line that it cannot read.
WELL, REFUSED, USAGE = 0, 1, 2
#: Nothing but hosts that other runs hold: the same line may work later (EX_TEMPFAIL of sysexits.h).
HELD = 75

FILE = click.Path(path_type=Path, dir_okay=False)

Command = Callable[..., Any]


def hosts_options(command: Command) -> Command:
    """Give a command `[INVENTORY] [HOST]...`, --inventory and --limit; it gets `inventory` (or None) and `hosts`.

    A word that ends with .py or has a slash is the inventory; every other one is a host, a group or a pattern.
    """

    @click.argument("words", nargs=-1, metavar="[INVENTORY] [HOST]...", shell_complete=words.hosts)
    @click.option(
        "--inventory",
        type=FILE,
        help="The inventory file given to pyinfra.  [default: the first that has the hosts, inventories/prod.py before "
        "others]",
    )
    @click.option(
        "--limit",
        "--host",
        "limits",
        multiple=True,
        metavar="NAME",
        shell_complete=words.hosts,
        help="Same as HOST: a host, a group, or a pattern.",
    )
    @wraps(command)
    def with_hosts(words: Sequence[str], inventory: Path | None, limits: Sequence[str], **others: Any) -> Any:
        files = [Path(word) for word in words if _is_file(word)]
        if len(files) + bool(inventory) > 1:
            raise click.UsageError("more than one inventory is named; run the command once for each.")
        hosts = (*(word for word in words if not _is_file(word)), *limits)
        return command(inventory=inventory or next(iter(files), None), hosts=hosts, **others)

    return with_hosts


def inventory_option(help_text: str) -> Callable[[Command], Command]:
    """Give a command --inventory, where it needs none of the inventory's hosts."""
    return click.option("--inventory", type=FILE, default=DEFAULT_INVENTORY, show_default=True, help=help_text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def print_json(shown: Any) -> None:
    """Print one object for programs."""
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


def end(errors: Sequence[str | IngotError], *, found: bool = False) -> None:
    """Say each error on standard error, one line each, and end the command.

    REFUSED with an error or a finding; HELD where the only errors are hosts that other runs hold.
    """
    for error in errors:
        click.echo(f"ingot: {error}", err=True)
    if errors and not found and all(isinstance(error, Held) for error in errors):
        raise SystemExit(HELD)
    raise SystemExit(REFUSED if errors or found else WELL)


def _is_file(word: str) -> bool:
    return word.endswith(".py") or ("/" in word and "://" not in word)
