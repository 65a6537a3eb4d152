"""The key by which the supervisors of a group know each other: made by a deploy, one for each group of hosts."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from ingot.secrets import files

BYTES = 32


def provide(directory: Path, hosts: Sequence[str]) -> str:
    """The key of these hosts, as hexadecimal digits; made where there is none."""
    name = hashlib.sha256("\n".join(hosts).encode()).hexdigest()[:16]
    files.private_directory(directory)
    path = directory / "groups" / f"{name}.key"
    if not path.is_file():
        files.create_once(path, secrets.token_hex(BYTES) + "\n")
    return path.read_text(encoding="ascii").strip()
