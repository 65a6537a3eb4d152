"""`ingot probe`: what Ingot reads on hosts, or in outputs that someone recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json

_FORMATS = "nvidia-smi --query-gpu=… --format=csv, -q -x, topo -m, -L; lspci -nnk; a file of --record"


@click.command()
@hosts_options
@click.option("--record", type=FILE, help="Also write the raw answers of the one HOST here.")
@click.option(
    "--replay", multiple=True, type=FILE, help=f"Read recorded outputs instead of hosts, repeatable: {_FORMATS}."
)
@json_option
def probe(
    inventory: Path | None, hosts: tuple[str, ...], record: Path | None, replay: tuple[Path, ...], as_json: bool
) -> None:
    """Show what Ingot reads on each HOST, or in recorded files.

    Changes nothing. A recorded file can be attached to a bug report: it holds GPU identifiers, no keys.
    """
    if replay and (hosts or inventory or record):
        raise click.UsageError("--replay reads files, no hosts; give --replay before each file and no HOST.")
    from ingot.errors import IngotError
    from ingot.inventory.fleet import asked, selected
    from ingot.report.probe import looked, replayed

    if replay:
        _print(replayed(replay), as_json)
        return
    chosen = selected(inventory, hosts)
    if record and len(chosen.hosts) != 1:
        raise click.UsageError(f"--record keeps one host's answers and {len(chosen.hosts)} are meant; name one HOST.")
    answers = asked(chosen, lambda host: looked(host, record))
    errors = [str(one) for one in answers if isinstance(one, IngotError)]
    _print({"hosts": [one for one in answers if not isinstance(one, IngotError)], "errors": errors}, as_json)
    end(errors)


def _print(shown: dict[str, Any], as_json: bool) -> None:
    """JSON for programs; for people the same as YAML."""
    if as_json:
        print_json(shown)
        return
    import json

    import yaml

    for one in shown.get("hosts", [shown]):
        click.echo(
            yaml.safe_dump(json.loads(json.dumps(one)), sort_keys=False, allow_unicode=True, width=120), nl=False
        )
