"""Long work on a host in a systemd unit of its own: it survives the connection, and the next run waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from pyinfra.api.command import StringCommand
from pyinfra.context import state

from ingot.operations.bundle import pack

SCRIPT = (files(__package__) / "detached.sh").read_text()


def command(unit: str, script: str, members: Mapping[str, str | bytes], patience_s: int = 1800) -> StringCommand:
    """Run `script` as `unit` and wait for its end.

    The script gets a private directory with the members as its first argument and the path of its log as its
    second. When it fails it writes why, in one sentence, to `sentence` in that directory. An earlier run of the
    same unit is waited for, up to `patience_s` seconds.
    """
    return StringCommand(
        starter(unit, patience_s), _stdin=payload(script, members, getattr(state, "print_output", False))
    )


def starter(unit: str, patience_s: int) -> str:
    """The shell command that starts the unit; what it runs comes by standard input."""
    return f"unit={unit} patience={patience_s}\n{SCRIPT}"


def payload(script: str, members: Mapping[str, str | bytes], verbose: bool) -> str:
    """The standard input for `starter`."""
    given = {**members, "run.sh": script, **({"verbose": ""} if verbose else {})}
    return pack({name: text.encode() if isinstance(text, str) else text for name, text in given.items()})
