"""Files of the watch: written whole or not at all, and read as nothing where they are torn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the owner and mode that it had."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def stored(path: Path, otherwise: Any) -> Any:
    """A JSON file, or what stands for one that is missing or torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return otherwise
