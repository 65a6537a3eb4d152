"""`ingot probe`: what Ingot reads on a host, or in outputs that someone recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ingot.errors import IngotError
from ingot.facts.errors import ParseError

#: A GPU that hangs takes nvidia-smi along; each of its calls is limited to a minute.
TIMEOUT_S = 300

_FORMATS = "nvidia-smi --query-gpu=… --format=csv, -q -x, topo -m, -L; lspci -nnk; a file of --record"


@click.command()
@click.argument("names", nargs=-1, metavar="HOST | FILE…")
@click.option("--replay", is_flag=True, help=f"Read recorded outputs instead of a host ({_FORMATS}).")
@click.option(
    "--inventory",
    default="inventories/prod.py",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The inventory that HOST is in.",
)
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), help="Also write the raw answers here.")
def probe(names: tuple[str, ...], replay: bool, inventory: Path, record: Path | None) -> None:
    """Print as JSON what Ingot reads on HOST, or with --replay in each FILE.

    Changes nothing. A recorded FILE can be attached to a bug report: it holds GPU identifiers, no keys.
    """
    if replay:
        if not names or record:
            raise click.UsageError("--replay takes at least one FILE, and no --record")
        shown = replayed([Path(name) for name in names])
    else:
        if len(names) != 1:
            raise click.UsageError("name one HOST, or give --replay with FILEs")
        shown = probed(names[0], inventory, record)
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


def replayed(paths: list[Path]) -> dict[str, Any]:
    """One file's reading, or all of several with the GPUs that they describe together.

    Raises: IngotError, one sentence naming the file.
    """
    from ingot.facts.replay import combine, read, text_of

    readings = []
    for path in paths:
        try:
            readings.append(read(text_of(path.read_bytes())))
        except OSError as error:
            raise IngotError(
                f"{path}: cannot be read ({error.strerror or error}); name a file that was recorded."
            ) from None
        except ParseError as error:
            raise IngotError(f"{path}: {error}") from None
    files = [{"file": str(path), **one.values} for path, one in zip(paths, readings, strict=True)]
    return files[0] if len(files) == 1 else {"files": files, "gpus": combine(readings)}


def probed(name: str, inventory: Path, record: Path | None) -> dict[str, Any]:
    """What one look at a host of the inventory says, and the driver that follows from it.

    Raises: IngotError, one sentence naming the host.
    """
    # pyinfra's import patches the standard library and takes a moment: only this branch pays for it.
    from pyinfra.api.command import StringCommand
    from pyinfra.context import ctx_host, ctx_state

    from ingot.facts.driver import Driver
    from ingot.facts.replay import show_look
    from ingot.inventory.fleet import connected, load
    from ingot.operations.driver.request import driver_request
    from ingot.settings import of_host

    state = load(inventory)
    host = next((host for host in state.inventory if host.name in (name, f"@ingot/{name}")), None)
    if host is None:
        known = ", ".join(sorted(one.name for one in state.inventory)) or "none"
        raise IngotError(f"{name}: no such host in {inventory}, expected one of {known}; correct the name.")
    values = of_host(host)
    fact = Driver()
    with ctx_state.use(state), ctx_host.use(host), connected(host):
        done, output = host.run_shell_command(
            StringCommand(fact.command()), _sudo=bool(host.data.get("_sudo")), _timeout=TIMEOUT_S
        )
    if not done:
        raise IngotError(f"{name}: the look failed ({output.stderr.strip()[-200:]}); check sudo on the host.")
    if record:
        record.write_text(output.stdout + "\n", encoding="utf-8")
    try:
        return show_look(
            fact.process(output.stdout.splitlines()),
            driver_request(values),
            console=values.driver_console,
            partial=values.gpus_use is not None,
        )
    except (ParseError, IngotError) as error:
        raise IngotError(f"{name}: {str(error).rstrip('.')}.") from None
