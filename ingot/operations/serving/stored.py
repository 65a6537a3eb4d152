"""The services that were proven last, as a host keeps them: in this version's form, whichever version wrote them.

A file's form has a number. Its migrations are functions, one per number, each to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ingot.engines import Service

#: Below /var/lib/ingot: the services that were proven last, one file each.
LAST_GOOD = "engine/last-good"
#: Of a service's file.
SCHEMA = 1

Stored = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LastGood:
    """A service that was proven, and the digest that its container carries: the version that made it computed that."""

    service: Service
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """What its file holds."""
        return {"schema": SCHEMA, "digest": self.digest, "service": self.service.to_dict()}

    def runs_as(self, digest: str) -> bool:
        """Whether a container with this digest runs it: as the version that made it called it, or as this one does."""
        return digest in (self.digest, self.service.digest)


def numbered(stored: Stored) -> Stored:
    """0 to 1: a service stood bare in its file; it becomes a part beside its digest, and gets what was added since."""
    waiting = {"start_deadline_s", "stop_grace_s"}
    lasting = {key: value for key, value in stored.items() if key not in waiting}
    # As that version computed it, over the fields that it knew.
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:16]
    added: Stored = {"kind": "generate", "width": None, "calls_tools": False, "reasons": False, "adapters": []}
    return {"schema": 1, "digest": digest, "service": {**added, **stored}}


#: From each number to the next.
MIGRATIONS: Mapping[int, Callable[[Stored], Stored]] = {0: numbered}


def last_good(stored: Stored) -> LastGood:
    """A service's file as this version knows it.

    Raises: KeyError, TypeError or ValueError where it is torn, or where a newer version wrote it.
    """
    number = int(stored.get("schema", 0))
    while number in MIGRATIONS:
        stored = MIGRATIONS[number](stored)
        number = int(stored["schema"])
    if number != SCHEMA:
        raise ValueError(f"schema {number}")
    return LastGood(Service.from_dict(stored["service"]), str(stored["digest"]))


def stored_services(files: Mapping[str, Any]) -> dict[str, LastGood]:
    """The services last proven good, by name, out of a host's files; one that cannot be read cannot be gone back to."""
    found: dict[str, LastGood] = {}
    for path, stored in files.items():
        if path.startswith(f"{LAST_GOOD}/"):
            try:
                one = last_good(stored)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            found[one.service.name] = one
    return found
