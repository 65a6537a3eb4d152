"""The login by which people reach Prometheus and Alertmanager: made once, kept on the control machine."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

from ingot.errors import IngotError
from ingot.secrets import files

USER = "ingot"
FILE = "monitoring.password"


def password(directory: Path) -> str:
    """The password kept in a secrets directory, made at the first call (256 bits).

    Raises: IngotError where the file is empty; OSError where it may not be read.
    """
    path = directory / FILE
    if not path.exists():
        files.create_once(path, secrets.token_urlsafe(32) + "\n")
    found = path.read_text(encoding="utf-8").strip()
    if not found:
        raise IngotError(f"{path} is empty, expected a password; remove it, and a new one is made.")
    return found


def htpasswd(word: str) -> str:
    """The line by which nginx knows the login (`auth_basic_user_file`): a salted digest, the same for the same word.

    {SSHA} of RFC 2307, which every nginx reads: a digest is enough for a word that nobody can guess.
    """
    salt = hashlib.sha256(b"salt" + word.encode()).digest()[:8]
    digest = hashlib.sha1(word.encode() + salt, usedforsecurity=False).digest()
    return f"{USER}:{{SSHA}}{base64.b64encode(digest + salt).decode()}\n"
