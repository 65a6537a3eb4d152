"""`ingot onboard`: a server that answers SSH becomes a member of an inventory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from ingot.errors import IngotError

if TYPE_CHECKING:
    from ingot.onboarding.asking import Options
    from ingot.onboarding.servers import BadRow, Server

DEFAULT_INVENTORY = Path("inventories/prod.py")
PARALLEL = 8


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("name", required=False)
@click.argument("address", required=False)
@click.option("--from", "table", type=FILE, help="Onboard every server of this CSV (name,address,user,port,jump,…).")
@click.option("--parallel", type=click.IntRange(1, 64), default=PARALLEL, show_default=True, help="Servers at a time.")
@click.option("--inventory", type=FILE, default=DEFAULT_INVENTORY, show_default=True, help="What it becomes part of.")
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
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="Seconds to wait for cloud-init and apt.",
)
@click.option("--dry", is_flag=True, help="Show everything, change nothing: not there, not here.")
def onboard(
    name: str | None,
    address: str | None,
    table: Path | None,
    parallel: int,
    password_stdin: bool,
    sudo_password_stdin: bool,
    **options: Any,
) -> None:
    """Make the server at ADDRESS the member NAME of an inventory: reachable, known by its host key, and measured.

    Safe to repeat: a second run repairs what is missing and changes nothing else.
    """
    if bool(table) == bool(name):
        raise click.UsageError("give NAME and ADDRESS, or --from FILE")
    if table and options["fingerprint"]:
        raise click.UsageError("every server has a fingerprint of its own: write it into its row")
    # Only this command pays for paramiko and pyinfra.
    from ingot.onboarding.asking import Options, known_members
    from ingot.onboarding.servers import Server, read

    password = _line("--password-stdin") if password_stdin else None
    sudo_password = _line("--sudo-password-stdin") if sudo_password_stdin else None
    asked = Options(**options, password=password, sudo_password=sudo_password)
    # Before any connection: it patches the standard library for gevent.
    members = known_members(asked.inventory)
    if table:
        _many(asked, read(table), parallel, members)
    else:
        _one(asked, Server(str(name), address or ""), members)


def _one(asked: Options, server: Server, members: Mapping[str, Mapping[str, Any]]) -> None:
    from ingot.onboarding.asking import request
    from ingot.onboarding.steps import onboard as run
    from ingot.onboarding.view import Lines, show_one

    console = Console()
    name = server.name
    talk = Lines(console, asks=sys.stdin.isatty() and sys.stderr.isatty())
    outcome = run(request(asked, server, members.get(name, {})), talk)
    show_one(console, outcome, dry=asked.dry)
    if _judge(console, asked, [name]):
        raise IngotError(
            f"{name}: is a member of {asked.inventory}, but preflight refuses to deploy it; mend that first."
        )


def _many(
    asked: Options, rows: Sequence[Server | BadRow], parallel: int, members: Mapping[str, Mapping[str, Any]]
) -> None:
    from ingot.onboarding.asking import request
    from ingot.onboarding.many import onboard_all
    from ingot.onboarding.request import Outcome
    from ingot.onboarding.servers import BadRow
    from ingot.onboarding.view import Board, Lines, show_one, summary

    console = Console()
    requests, refused = [], []
    for row in rows:
        try:
            if isinstance(row, BadRow):
                raise IngotError(row.sentence)
            requests.append(request(asked, row, members.get(row.name, {})))
        except IngotError as error:
            refused.append(Outcome(row.name, error=str(error)))
    talk = Board(console, [one.name for one in requests]) if console.is_terminal else Lines(console, asks=False)
    with talk.live if isinstance(talk, Board) else contextlib.nullcontext():
        outcomes = [*onboard_all(requests, talk, parallel), *refused]
    if asked.dry:
        for outcome in outcomes:
            show_one(console, outcome, dry=True)
    held = _judge(console, asked, [one.name for one in outcomes if not one.error])
    console.print(summary(outcomes, held))
    failed = [outcome.error for outcome in outcomes if outcome.error]
    for sentence in failed:
        click.echo(f"ingot: {sentence}", err=True)
    if failed or held:
        raise IngotError(
            f"{len(failed)} of {len(outcomes)} servers failed and preflight refuses {len(held)}; mend what is said "
            "above and run the same line again: members stay as they are."
        )


def _judge(console: Console, asked: Options, names: Sequence[str]) -> set[str]:
    """Show what preflight says of new members; those that it refuses."""
    if asked.dry or not names:
        return set()
    from ingot.onboarding.preflight import preflight
    from ingot.onboarding.view import show_judged

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
