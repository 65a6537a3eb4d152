"""The API key by which `ingot verify` calls hosts: made by a deploy, kept on the control machine alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ingot.secrets import files, keys

TEAM = "ingot-verify"
FILE = "verify.key"


def read(directory: Path) -> str | None:
    """The key kept in a secrets directory; None where there is none, or its team's key was revoked or ended since."""
    path = directory / FILE
    key = path.read_text(encoding="ascii").strip() if path.is_file() else ""
    now = datetime.now(UTC)
    active = {one.sha256 for one in keys.read(directory) if one.team == TEAM and one.works(now)}
    return key if keys.fingerprint(key) in active else None


def provide(directory: Path) -> None:
    """Make the key unless there is one that works; a revoked one (`ingot keys revoke ingot-verify`) is replaced."""
    if read(directory) is None:
        files.replace(directory / FILE, keys.create(directory, TEAM) + "\n", mode=0o600)
