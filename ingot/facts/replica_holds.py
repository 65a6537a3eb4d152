"""Replicas that a host holds out of its pool since they or their GPU failed; written by the host's own timer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: Written by ingot/engines/replica_watch on the host.
HOLDS_FILE = "/var/lib/ingot/replica-holds.json"


@dataclass(frozen=True)
class ReplicaHold:
    """A replica that gets no requests: its address (`ip:port`), the reason, and since when (ISO 8601).

    `gpu` is the GPU that failed, empty where the replica itself did.
    """

    address: str
    gpu: str
    why: str
    since: str

    @property
    def sentence(self) -> str:
        """For a person, without the host's name."""
        cause = f"GPU {self.gpu}: " if self.gpu else ""
        return f"replica {self.address} gets no requests since {self.since}: {cause}{self.why}"


def parse_holds(text: str) -> tuple[ReplicaHold, ...]:
    """The text of HOLDS_FILE; nothing is held out by a file that cannot be read."""
    try:
        return read_holds(json.loads(text))
    except ValueError:
        return ()


def read_holds(stored: Any) -> tuple[ReplicaHold, ...]:
    """What HOLDS_FILE holds as JSON; nothing is held out by what is none of ours."""
    try:
        return tuple(
            ReplicaHold(str(address), str(hold["gpu"]), str(hold["why"]), str(hold["since"]))
            for address, hold in sorted(stored.items())
        )
    except (KeyError, TypeError, AttributeError):
        return ()
