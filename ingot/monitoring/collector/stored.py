"""Files of the host: read as nothing where they are missing or torn, and written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def stored(path: str | Path, otherwise: Any) -> Any:
    """A JSON file, or what stands for one that is missing, torn or of another kind."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise


def replace(path: str | Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that its readers see the old content or the new."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(target)
