"""`ingot onboard`: a server that answers SSH becomes a member of an inventory."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingot.commands.options import FILE, end, inventory_option, json_option, print_json
from ingot.errors import IngotError

if TYPE_CHECKING:
    from rich.console import Console

    from ingot.onboarding.options import Options
    from ingot.onboarding.request import Outcome
    from ingot.onboarding.servers import BadRow, Server


@click.command()
@click.argument("name", required=False)
@click.argument("address", required=False)
@click.option("--from", "table", type=FILE, help="Onboard every server of this CSV (name,address,user,port,jump,…).")
@click.option("--parallel", type=click.IntRange(1, 64), default=8, show_default=True, help="Servers at a time.")
@inventory_option("What it becomes part of.")
@click.option("--user", help="Who logs in at first contact [default: what the inventory says of it, or root].")
@click.option("--port", type=click.IntRange(1, 65535), help="Its SSH port [default: 22].")
@click.option("--jump", metavar="USER@HOST[:PORT]", help="Reach it through this host.")
@click.option("--ssh-config", type=FILE, help="Reach it as this ssh_config says.")
@click.option("--ssh-key", type=FILE, help="Private key of the first login [default: the agent's and ~/.ssh].")
@click.option("--password-stdin", is_flag=True, help="Read the password of the first login from standard input.")
@click.option("--sudo-password-stdin", is_flag=True, help="Read sudo's password from its next line.")
@click.option("--fingerprint", metavar="SHA256:…", help="The host key that it must show.")
@click.option("--jump-fingerprint", metavar="SHA256:…", help="The host key that the jump host must show.")
@click.option("--accept-new", is_flag=True, help="Believe a host key that is not known yet.")
@click.option("--deploy-user", help="The account that deploys use [default: what its host file says, or ingot].")
@click.option("--key", "keys", type=FILE, multiple=True, help="Public key to install (repeatable).")
@click.option("--harden", is_flag=True, help="Switch password and root logins off, once the new login is proven.")
@click.option("--no-gpu", is_flag=True, help="It only fronts other hosts, without a GPU of its own.")
@click.option("--processor", is_flag=True, help="It serves on its processor, by llama.cpp, without a GPU.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="Seconds to wait for cloud-init and apt.",
)
@click.option("--dry", is_flag=True, help="Show everything, change nothing: not there, not here.")
@json_option
def onboard(
    name: str | None,
    address: str | None,
    table: Path | None,
    parallel: int,
    password_stdin: bool,
    sudo_password_stdin: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make the server at ADDRESS the member NAME of an inventory.

    It can be reached then, its host key is pinned, and its hardware is known.

    Safe to repeat: a second run repairs what is missing and changes nothing else.
    """
    if bool(table) == bool(name):
        raise click.UsageError("give NAME and ADDRESS, or --from FILE")
    if table and options["fingerprint"]:
        raise click.UsageError("every server has a fingerprint of its own: write it into its row")
    # Only this command pays for paramiko and pyinfra.
    from ingot.onboarding.options import Options, known_members
    from ingot.onboarding.servers import Server, read
    from ingot.report.console import plain_console
    from ingot.report.onboarding import show_one, summary, to_dict

    password = _line("--password-stdin") if password_stdin else None
    sudo_password = _line("--sudo-password-stdin") if sudo_password_stdin else None
    asked = Options(**options, password=password, sudo_password=sudo_password)
    # Before any connection: it patches the standard library for gevent.
    members = known_members(asked.inventory)
    console = plain_console(stderr=as_json)
    if table:
        outcomes = _many(console, asked, read(table), parallel, members)
    else:
        outcomes = [_one(console, asked, Server(str(name), address or ""), members)]
    for outcome in outcomes if asked.dry or not table else ():
        if not outcome.error:
            show_one(console, outcome, dry=asked.dry)
    held = _judge(console, asked, [one.name for one in outcomes if not one.error])
    if table:
        console.print(summary(outcomes, held))
    errors = [one.error for one in outcomes if one.error]
    if as_json:
        print_json({"hosts": [to_dict(one, held) for one in outcomes if not one.error], "errors": errors})
    for name in sorted(held):
        errors.append(f"{name}: is a member of {asked.inventory}, but preflight refuses to deploy it; mend that first.")
    end(errors)


def _one(console: Console, asked: Options, server: Server, members: Mapping[str, Mapping[str, Any]]) -> Outcome:
    from ingot.onboarding.options import request
    from ingot.onboarding.request import Outcome
    from ingot.onboarding.steps import onboard as run
    from ingot.report.onboarding import Lines

    talk = Lines(console, asks=sys.stdin.isatty() and sys.stderr.isatty())
    try:
        return run(request(asked, server, members.get(server.name, {})), talk)
    except IngotError as error:
        return Outcome(server.name, error=str(error))


def _many(
    console: Console,
    asked: Options,
    rows: Sequence[Server | BadRow],
    parallel: int,
    members: Mapping[str, Mapping[str, Any]],
) -> list[Outcome]:
    from ingot.onboarding.many import onboard_all, requests_of
    from ingot.report.board import Board
    from ingot.report.onboarding import Lines

    requests, refused = requests_of(asked, rows, members)
    if not console.is_terminal:
        return [*onboard_all(requests, Lines(console, asks=False), parallel), *refused]
    with Board(console, [one.name for one in requests]) as board:
        return [*onboard_all(requests, board, parallel), *refused]


def _judge(console: Console, asked: Options, names: Sequence[str]) -> set[str]:
    """Show what preflight says of new members; those that it refuses."""
    if asked.dry or not names:
        return set()
    from ingot.onboarding.preflight import preflight
    from ingot.report.onboarding import show_judged

    judged = preflight(asked.inventory, names)
    for name in names:
        show_judged(console, name, judged[name])
    return {name for name, one in judged.items() if one.stops}


def _line(option: str) -> str:
    """The next line of standard input. Raises: IngotError when there is none."""
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise IngotError(f"{option}: standard input has no line for it; pipe the password into this command.")
    return line
