"""A secret in a file of this machine that a value names: a token, a password."""

from __future__ import annotations

from pathlib import Path

from ingot.errors import IngotError


def read(file: str, value: str) -> str:
    """The secret, without the white space around it; `value` names the file.

    Raises: IngotError where it is empty; OSError where it may not be read.
    """
    word = Path(file).expanduser().read_text(encoding="utf-8").strip()
    if not word:
        raise IngotError(f"{file}, which {value} names, is empty, expected a secret; write it into the file.")
    return word
