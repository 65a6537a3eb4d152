"""The token of a model hub, as a file of this machine holds it."""

from __future__ import annotations

import re
from pathlib import Path

from ingot.errors import IngotError


def read(file: str) -> str:
    """The token in a file.

    Raises: IngotError when it cannot be read, or holds anything but one word.
    """
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise IngotError(f"cache_hub_token_file {file} cannot be read ({words}); correct it.") from None
    if not re.fullmatch(r"[\w.-]+", token):
        raise IngotError(f"cache_hub_token_file {file} holds no token, expected one word; correct it.")
    return token
