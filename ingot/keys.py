"""API keys of teams: a key is shown once, only its SHA-256 is kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from ingot import files
from ingot.errors import IngotError

KEYS_FILE = "keys.yaml"
#: A team is a word in logs, in nginx' map and in the key itself.
_TEAM = re.compile(r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Key:
    """One active API key, without the key itself."""

    team: str
    sha256: str
    created: str

    @property
    def id(self) -> str:
        """What logs and lists call this key: the first eight hexadecimal digits of its hash."""
        return self.sha256[:8]


def secrets_dir(configured: str | None, inventory: str) -> Path:
    """Where the secrets of an inventory live: what is configured, else `~/.config/ingot/<inventory>`."""
    return Path(configured).expanduser() if configured else Path.home() / ".config" / "ingot" / inventory


def read(directory: Path) -> tuple[Key, ...]:
    """Every active key, oldest first; none when no key was ever made.

    Raises: IngotError when the file is damaged.
    """
    path = directory / KEYS_FILE
    if not path.exists():
        return ()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = tuple(Key(entry["team"], entry["sha256"], entry["created"]) for entry in content["keys"])
        wrong = [key for key in found if not _TEAM.fullmatch(key.team) or not _SHA256.fullmatch(key.sha256)]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise IngotError(f"{path}: not a list of keys ({type(error).__name__}); restore it from a backup.") from error
    if wrong:
        raise IngotError(f"{path}: the entry of team {wrong[0].team!r} is damaged; restore it from a backup.")
    return found


def create(directory: Path, team: str) -> str:
    """Make a key for a team and return it; this is the only time that it exists outside the caller's hands.

    Raises: IngotError when the team's name cannot be used.
    """
    if not _TEAM.fullmatch(team):
        raise IngotError(
            f"team {team!r}: expected 1 to 32 characters out of a-z, 0-9 and '-', "
            "not starting or ending with '-'; choose such a name."
        )
    key = f"sk-{team}-{secrets.token_urlsafe(32)}"
    entry = Key(team, fingerprint(key), datetime.now(UTC).isoformat(timespec="seconds"))
    with _locked(directory):
        _write(directory, (*read(directory), entry))
    return key


def revoke(directory: Path, team: str) -> tuple[Key, ...]:
    """Remove every key of a team and return what was removed.

    Raises: IngotError when the team has no key.
    """
    with _locked(directory):
        active = read(directory)
        removed = tuple(key for key in active if key.team == team)
        if not removed:
            teams = ", ".join(sorted({key.team for key in active})) or "no team"
            raise IngotError(f"team {team!r} has no key in {directory / KEYS_FILE}; keys exist for: {teams}.")
        _write(directory, tuple(key for key in active if key.team != team))
    return removed


def fingerprint(key: str) -> str:
    """SHA-256 of a key in hexadecimal; enough for a secret of 256 random bits, no salt or stretching needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _write(directory: Path, keys: Sequence[Key]) -> None:
    content = yaml.safe_dump({"keys": [asdict(key) for key in keys]}, sort_keys=False)
    files.replace(directory / KEYS_FILE, content, mode=0o600)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two `ingot keys` at once must not lose a key."""
    files.private_directory(directory)
    descriptor = os.open(directory / f".{KEYS_FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
