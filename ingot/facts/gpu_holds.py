"""Replicas that a host holds out of its pool since a GPU of theirs failed; written by the host's own timer."""

from __future__ import annotations

import json
from dataclasses import dataclass

#: Written by ingot/engines/gpu_watch.py on the host.
HOLDS_FILE = "/var/lib/ingot/gpu-holds.json"


@dataclass(frozen=True)
class GpuHold:
    """A replica that gets no requests: its address (`ip:port`), its GPU, the reason, and since when (ISO 8601)."""

    address: str
    gpu: str
    why: str
    since: str

    @property
    def sentence(self) -> str:
        """For a person, without the host's name."""
        return f"replica {self.address} gets no requests since {self.since}: GPU {self.gpu}: {self.why}"


def parse_holds(text: str) -> tuple[GpuHold, ...]:
    """The text of HOLDS_FILE; nothing is held out by a file that cannot be read."""
    try:
        return tuple(
            GpuHold(str(address), str(hold["gpu"]), str(hold["why"]), str(hold["since"]))
            for address, hold in sorted(json.loads(text).items())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
