"""`ingot verify`: every check of tests/hosts on hosts of an inventory, and what they found in one table."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ingot.errors import IngotError
from ingot.verification.summary import HEADINGS, HostSummary, parse

#: pytest's exit statuses for a run that came to its end: all passed, some failed.
ENDED = (0, 1)


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory file given to pyinfra [default: inventories/prod.py, or the first that has the hosts].",
)
@click.option("--evidence", type=click.Path(path_type=Path, file_okay=False), help="Keep verify.json and JUnit here.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Call hosts with this key [default: INGOT_API_KEY, or the key that deploys keep for this].",
)
@click.option("--daemon-reload", is_flag=True, help="First have systemd read its configuration again.")
@click.option("--after-reboot", is_flag=True, help="First reboot the hosts, all at once; they must be named.")
def verify(
    hosts: tuple[str, ...],
    inventory: Path | None,
    evidence: Path | None,
    api_key_file: Path | None,
    daemon_reload: bool,
    after_reboot: bool,
) -> None:
    """Prove that each HOST keeps every promise of every role, from inside and as its callers meet it.

    All hosts are looked at at once; nothing on them is changed. The exit status is 0 when every check passed.
    """
    if after_reboot and not hosts:
        raise IngotError("--after-reboot reboots hosts and needs their names; give them, e.g. `ingot verify gpu-01`.")
    from ingot.inventory.fleet import meant, root

    chosen = meant(inventory, hosts)
    flags = [flag for flag, on in (("--daemon-reload", daemon_reload), ("--reboot", after_reboot)) if on]
    if api_key_file:
        flags += ["--api-key-file", str(api_key_file.resolve())]
    if after_reboot:
        click.echo(f"rebooting {', '.join(hosts)} and waiting for the engines: some minutes …", err=True)
    with tempfile.TemporaryDirectory(prefix="ingot-verify-") as temporary:
        directory = (evidence or Path(temporary)).resolve()
        found = checked(root(chosen), chosen.resolve(), hosts, directory, flags)
    _show(found)
    if not all(one.good for one in found):
        raise SystemExit(1)


def checked(
    checkout: Path, inventory: Path, hosts: Sequence[str], evidence: Path, flags: Sequence[str]
) -> tuple[HostSummary, ...]:
    """Run tests/hosts of a checkout and read what it recorded in `evidence`.

    Raises: IngotError with pytest's own sentence when it could not run.
    """
    limits = [word for host in hosts for word in ("--limit", host)]
    command = [sys.executable, "-m", "pytest", "tests/hosts", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += ["--inventory", str(inventory), "--evidence", str(evidence), *limits, *flags]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode not in ENDED:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise IngotError(said[0] if said else f"the checks could not run: {(done.stdout + done.stderr)[-2000:]}")
    return parse(json.loads((evidence / "verify.json").read_text(encoding="utf-8")))


def _show(found: Iterable[HostSummary]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "host" else "right")
    for one in found:
        table.add_row(*one.cells())
    console = Console()
    console.print(table)
    for one in found:
        for sentence in one.sentences():
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
