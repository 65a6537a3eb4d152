"""`ingot accept`: prove that servers are what was ordered and compute as their models do."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ingot.errors import IngotError

if TYPE_CHECKING:
    from pyinfra.api.host import Host

    from ingot.acceptance.evidence import Outcome
    from ingot.acceptance.runner import Options

STYLES = {"pass": "green", "warn": "yellow", "fail": "red", "error": "red"}


@dataclass
class Progress:
    """How far every host is, as the table shows it; where no person watches, one line per step."""

    console: Console
    rows: dict[str, list[str]] = field(default_factory=dict)
    live: Live | None = None
    began: float = field(default_factory=time.monotonic)

    def say(self, host: str, text: str, result: str = "") -> None:
        """Show what a host does now."""
        if self.rows.get(host, ["", ""])[:2] == [text, result]:
            return
        self.rows[host] = [text, result, f"{time.monotonic() - self.began:.0f} s"]
        if self.live:
            self.live.update(self.table(), refresh=True)
        elif not result:
            self.console.print(f"{host}: {text}", markup=False, highlight=False)

    def table(self) -> Table:
        """One row per host."""
        table = Table(box=None, pad_edge=False)
        for heading in ("host", "", "time", "step"):
            table.add_column(heading, overflow="fold")
        for host, (text, result, spent) in sorted(self.rows.items()):
            style = STYLES.get(result, "")
            table.add_row(host, f"[{style}]{result}[/]" if style else result, spent, text)
        return table


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST…]")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory of the hosts; default: the first that has them, inventories/prod.py before others.",
)
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
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON on standard output.")
def accept(
    hosts: tuple[str, ...],
    inventory: Path | None,
    level: str,
    hours: float | None,
    no_burn_in: bool,
    again: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Accept HOSTs (default: all of the inventory): measure, compare, judge, and keep the evidence.

    Replicas of the GPUs are drained and stopped for the burn-in and brought back after it. Steps that are done are not
    repeated. Exit status 0 is pass or warn, 1 is fail; a failed host gets no requests until it passes or is overridden.
    """
    from ingot.acceptance.level import LEVELS
    from ingot.acceptance.runner import Options
    from ingot.inventory.fleet import meant

    path = meant(inventory, hosts)
    if reason is not None:
        if not hosts:
            raise IngotError("ingot accept --override names no host; name the ones that shall serve all the same.")
        _override(path, hosts, reason)
        return
    options = Options(LEVELS[level].with_soak(hours), burn_in=not no_burn_in, again=again)
    outcomes, errors, directory = _accept(path, hosts, options, Console(stderr=as_json))
    if as_json:
        click.echo(json.dumps({"hosts": [one.to_dict() for one in outcomes], "errors": errors}, indent=2))
    else:
        _show(outcomes)
    for error in errors:
        click.echo(f"ingot: {error}", err=True)
    if outcomes:
        click.echo(f"evidence: {_page(outcomes, directory)}", err=True)
    if errors or any(one.verdict == "fail" for one in outcomes):
        raise SystemExit(1)


def _accept(
    path: Path, names: Sequence[str], options: Options, console: Console
) -> tuple[list[Outcome], list[str], Path]:
    """Every host at once; what fails for one stops no other."""
    from paramiko import SSHException
    from pyinfra.context import ctx_host, ctx_state

    from ingot.acceptance import evidence, runner
    from ingot.inventory.fleet import at_once, chosen, connected, load

    state = load(path)
    hosts = chosen(state, path, names)
    called = {host.name: name for name, host in hosts}
    directory = _directory(path, [host for _, host in hosts])
    progress = Progress(console)

    def work(host: Host) -> Outcome | str:
        name = called[host.name]
        try:
            progress.say(name, "connecting")
            with ctx_state.use(state), ctx_host.use(host), connected(host):
                fleet = evidence.fleet(directory, options.level.name, without=name)
                outcome = runner.accept(host, name, options, lambda text: progress.say(name, text), fleet)
        except IngotError as error:
            progress.say(name, str(error.args[0]), "error")
            return str(error.args[0])
        except (OSError, EOFError, SSHException) as broken:
            text = f"{name}: the connection broke ({broken!r}); the host goes on, run the same line again."
            progress.say(name, text, "error")
            return text
        evidence.write(directory, name, outcome.at, outcome.to_dict())
        progress.say(name, outcome.reasons[0] if outcome.reasons else "as it should be", str(outcome.verdict))
        return outcome

    if console.is_terminal:
        with Live(progress.table(), console=console, auto_refresh=False) as live:
            progress.live = live
            done = at_once(state, [host for _, host in hosts], work)
    else:
        done = at_once(state, [host for _, host in hosts], work)
    return [one for one in done if not isinstance(one, str)], [one for one in done if isinstance(one, str)], directory


def _override(path: Path, names: Sequence[str], reason: str) -> None:
    from pyinfra.context import ctx_host, ctx_state

    from ingot.acceptance import evidence, runner
    from ingot.inventory.fleet import chosen, connected, load

    state = load(path)
    for name, host in chosen(state, path, names):
        with ctx_state.use(state), ctx_host.use(host), connected(host):
            acceptance = runner.override(host, name, reason)
        given = acceptance["override"]
        evidence.write(_directory(path, [host]), name, given["at"], {"host": name, **acceptance})
        click.echo(f"{name}: serves though it failed ({given['reason']}), recorded as decided by {given['by']}.")


def _directory(path: Path, hosts: Sequence[Host]) -> Path:
    from ingot.acceptance.evidence import DIRECTORY
    from ingot.secrets.keys import secrets_dir

    configured = next((host.data.get("secrets_dir") for host in hosts), None)
    return secrets_dir(configured, path.stem) / DIRECTORY


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console()
    for one in outcomes:
        verdict = str(one.verdict)
        console.print(f"{one.host}: [{STYLES[verdict]}]{verdict}[/] ({one.level})", highlight=False)
        for finding in one.findings:
            console.print(f"  {finding.verdict}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
        if one.measured.burn_in and one.measured.burn_in.gpus:
            console.print(_figures(one))


def _figures(outcome: Outcome) -> Table:
    """What each GPU measured."""
    from ingot.acceptance.finding import label
    from ingot.acceptance.speed import METRICS

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for words, unit, _ in METRICS.values():
        table.add_column(f"{words}\n{unit}", justify="right")
    assert outcome.measured.burn_in
    for one in outcome.measured.burn_in.gpus:
        values = [read(one) for _, _, read in METRICS.values()]
        cells = ["-" if value is None else f"{value:,.1f}" for value in values]
        table.add_row(label(outcome.measured, one.uuid), *cells)
    return table


def _page(outcomes: Sequence[Outcome], directory: Path) -> Path:
    """The page of this run; returns where it is."""
    from ingot.report.acceptance import render
    from ingot.secrets import files

    at = max(one.at for one in outcomes).replace(":", "").replace("+0000", "Z")
    path = directory / f"{at}-{outcomes[0].level.replace(' ', '-')}.html"
    files.replace(path, render([one.to_dict() for one in outcomes]), 0o600)
    return path
