"""What Ingot reads on hosts, or in outputs that someone recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ingot.errors import IngotError
from ingot.facts.driver import Driver
from ingot.facts.errors import ParseError
from ingot.facts.replay import combine, read, show_look, text_of
from ingot.operations.driver.request import driver_request
from ingot.settings import of_host

#: A GPU that hangs takes nvidia-smi along; each of its calls is limited to a minute.
TIMEOUT_S = 300


def looked(host: Host, record: Path | None) -> dict[str, Any]:
    """What one look at a connected host says, and the driver that follows from it; the raw answers go to `record`.

    Raises: IngotError, one sentence naming the host.
    """
    values, fact = of_host(host), Driver()
    done, output = host.run_shell_command(
        StringCommand(fact.command()), _sudo=bool(host.data.get("_sudo")), _timeout=TIMEOUT_S
    )
    if not done:
        raise IngotError(f"{host.name}: the look failed ({output.stderr.strip()[-200:]}); check sudo on the host.")
    if record:
        record.write_text(output.stdout + "\n", encoding="utf-8")
    try:
        shown = show_look(
            fact.process(output.stdout.splitlines()),
            driver_request(values),
            console=values.driver_console,
            partial=values.gpus_use is not None,
        )
    except (ParseError, IngotError) as error:
        raise IngotError(f"{host.name}: {str(error).rstrip('.')}.") from None
    return {"host": host.name, **shown}


def replayed(paths: Sequence[Path]) -> dict[str, Any]:
    """Each recorded file's reading, and the GPUs that all of them describe together.

    Raises: IngotError, one sentence naming the file.
    """
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
    return {"files": files, **({"gpus": combine(readings)} if len(readings) > 1 else {})}
