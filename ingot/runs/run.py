"""A run that changes hosts: who started it, where, for what, and from which commit of the fleet's repository."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: git answers about a checkout in less than this, or not at all, seconds.
GIT_S = 10
#: What a run of pyinfra's own command is for.
DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `pyinfra` or of an `ingot` command; `started` is a moment in ISO 8601, UTC.

    `commit` is the fleet repository's, None where there is none; `dirty`: files differ from that commit.
    """

    id: str
    user: str
    machine: str
    pid: int
    purpose: str
    started: str
    commit: str | None = None
    dirty: bool = False

    @property
    def owner(self) -> str:
        """Who runs it: `user@machine`."""
        return f"{self.user}@{self.machine}"

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Run:
        """The run that `to_dict` wrote; keys of later versions are passed over. Raises: KeyError, ValueError."""
        commit = stored.get("commit")
        return cls(
            id=str(stored["id"]),
            user=str(stored["user"]),
            machine=str(stored["machine"]),
            pid=int(stored["pid"]),
            purpose=str(stored["purpose"]),
            started=str(stored["started"]),
            commit=str(commit) if commit else None,
            dirty=bool(stored.get("dirty")),
        )


def this_run(purpose: str, checkout: Path) -> Run:
    """This process as a run: the same for every host that it changes."""
    known = _runs.get((purpose, checkout))
    # Hosts are held at the same time, and git lets others go first: the first that is made is everybody's.
    return known or _runs.setdefault((purpose, checkout), _new(purpose, checkout))


_runs: dict[tuple[str, Path], Run] = {}


def _new(purpose: str, checkout: Path) -> Run:
    commit, dirty = commit_of(checkout)
    return Run(
        id=secrets.token_hex(4),
        user=user(),
        machine=socket.gethostname(),
        pid=os.getpid(),
        purpose=purpose,
        started=now(),
        commit=commit,
        dirty=dirty,
    )


def user() -> str:
    """Who works at this machine: also behind sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def owner() -> str:
    """Who works here, as `user@machine`."""
    return f"{user()}@{socket.gethostname()}"


def commit_of(checkout: Path) -> tuple[str | None, bool]:
    """The commit that a checkout is at, and whether its files differ from it; (None, False) where git knows of none."""
    head = _git(checkout, "rev-parse", "HEAD")
    if head is None:
        return None, False
    return head.strip(), bool((_git(checkout, "status", "--porcelain") or "").strip())


def now() -> str:
    """This moment."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def ago(moment: str, at: datetime | None = None) -> str:
    """How long ago a moment was, as people say it: `40 s`, `12 min`, `3 h 5 min`."""
    seconds = max(int(((at or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()), 0)
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _git(checkout: Path, *words: str) -> str | None:
    command = ["git", "-C", str(checkout), "--no-optional-locks", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
