"""Runs commands on a host outside of a deploy, with sudo where its inventory says so."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ingot.errors import IngotError

#: A command that answers at once.
COMMAND_S = 120


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    good: bool
    stdout: str
    stderr: str = ""

    @property
    def said(self) -> str:
        """The end of what it printed, for a sentence."""
        return (self.stderr or self.stdout).strip()[-200:]


def run(host: Host, command: str, *, stdin: str | None = None, timeout_s: float = COMMAND_S) -> Done:
    """Run one command and wait for its end. Raises: what paramiko raises where the connection breaks."""
    arguments: dict[str, Any] = {"_sudo": bool(host.data.get("_sudo")), "_timeout": int(timeout_s)}
    if stdin is not None:
        arguments["_stdin"] = stdin
    good, output = host.run_shell_command(StringCommand(command), **arguments)
    return Done(good, output.stdout, output.stderr)


def write(host: Host, path: str, text: str) -> None:
    """Write a file in one step. Everyone may read it, since the gateway and people do."""
    quoted = shlex.quote(path)
    done = run(
        host,
        f"umask 022; t=$(mktemp {quoted}.XXXXXXXX) && cat >$t && chmod 0644 $t && sync $t && mv -T $t {quoted}",
        stdin=text,
    )
    if not done.good:
        raise IngotError(f"{host.name}: {path} could not be written ({done.said}); free space there.")
