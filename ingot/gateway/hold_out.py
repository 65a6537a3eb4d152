"""Whether a host's engines are kept from callers: its acceptance failed and nobody overrode that."""

from __future__ import annotations

import json

#: Written by `ingot accept`.
ACCEPTANCE_FILE = "/var/lib/ingot/acceptance.json"


def held_out(text: str) -> bool:
    """What the text of ACCEPTANCE_FILE decides. Only a verdict that can be read keeps a host out."""
    try:
        acceptance = json.loads(text)
        return bool(acceptance["verdict"] == "fail" and not acceptance.get("override"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
