"""Which run changes a host now, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from ingot.errors import IngotError
from ingot.facts.lock import Lock, LockState, breaking
from ingot.runs.hold import words
from ingot.runs.run import Run, owner


@dataclass(frozen=True)
class HostLock:
    """A host, whether a run holds it, which one, and how long ago it was heard of."""

    host: str
    held: bool
    run: Run | None
    silent_s: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "host": self.host,
            "held": self.held,
            "run": self.run.to_dict() if self.run else None,
            "silent_s": self.silent_s,
        }


def locked(host: Host) -> HostLock:
    """Ask a connected host for its lock. Raises: IngotError where it gives no answer."""
    found: LockState = host.get_fact(Lock)
    if not found.answered:
        raise IngotError(f"{host.name}: it gave no answer; see that sudo works there, and run again.")
    try:
        run = Run.from_dict(found.run) if found.held else None
    except (KeyError, ValueError, TypeError):
        run = None
    return HostLock(host.name, found.held, run, found.silent_s if found.held else 0)


def sentence(lock: HostLock) -> str:
    """A host's lock in one sentence."""
    if not lock.held:
        return f"{lock.host}: no run changes it now."
    return f"{lock.host}: it is being changed by {words(lock.run, lock.silent_s)}."


def broken(host: Host) -> None:
    """Break the lock of a connected host. Raises: IngotError where the process that holds it does not end."""
    command = StringCommand(breaking(owner()))
    good, _ = host.run_shell_command(command, _sudo=bool(host.data.get("_sudo")), _timeout=60)
    if not good:
        raise IngotError(
            f"{host.name}: its lock could not be broken, expected the process that holds it to end; see "
            "`fuser /run/ingot/lock` on the host."
        )
