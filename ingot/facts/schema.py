"""The schema of what Ingot keeps on a host: a number that grows when a file there changes its form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Of this version. 0 is what versions wrote that had no number yet.
SCHEMA = 1
SCHEMA_FILE = "/var/lib/ingot/schema.json"


def schema_json() -> str:
    """The content of SCHEMA_FILE."""
    return json.dumps({"schema": SCHEMA}) + "\n"


def number(stored: Mapping[str, Any] | None) -> int:
    """The schema of a host by its file; 0 where there is none."""
    found = (stored or {}).get("schema", 0)
    return found if isinstance(found, int) else 0


def newer(stored: Mapping[str, Any] | None, host: str) -> str | None:
    """Why this Ingot must leave a host alone, in one sentence: a newer one has written there. None where it may."""
    found = number(stored)
    if found <= SCHEMA:
        return None
    return (
        f"{host}: a newer Ingot has changed it (its state has schema {found}, this Ingot knows {SCHEMA}), expected a "
        "host of this Ingot's or of an older one; update this checkout to the newest, and run again."
    )
