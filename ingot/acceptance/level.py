"""How thorough an acceptance is: what is measured for how long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

GIB = 1 << 30
#: Seconds that start and end of a container with torch take, and what a server's steps beside the burn-in take.
OVERHEAD_S = 60


@dataclass(frozen=True, slots=True)
class Level:
    """One level. `seconds` is of each measurement, `soak_s` of the soak; `dcgm` is the level of DCGM's diagnostics."""

    name: str
    seconds: float
    soak_s: float
    disk_bytes: int
    disk_s: int
    dcgm: int
    interval_s: float

    def with_soak(self, hours: float | None) -> Level:
        """The level with a soak of so many hours; its own where None."""
        return self if hours is None else replace(self, soak_s=hours * 3600)

    def longest_s(self, gpus: int) -> int:
        """How long a burn-in of so many GPUs may take before it is ended; the limits of each step are within it."""
        measured = self.seconds * (8 + gpus) * 3
        return int(measured + self.soak_s * 1.5 + {1: 300, 2: 900, 3: 3600}[self.dcgm] + OVERHEAD_S * 15)


LEVELS = {
    level.name: level
    for level in (
        Level("quick", seconds=1, soak_s=45, disk_bytes=2 * GIB, disk_s=8, dcgm=1, interval_s=1),
        Level("standard", seconds=5, soak_s=900, disk_bytes=16 * GIB, disk_s=60, dcgm=2, interval_s=5),
        Level("soak", seconds=10, soak_s=4 * 3600, disk_bytes=32 * GIB, disk_s=120, dcgm=3, interval_s=15),
    )
}

#: What records call an acceptance that left the replicas serving.
WITHOUT = "without burn-in"


def proves(level: str) -> int:
    """How much an acceptance proves, as a number to compare; 0 without a burn-in, and for what nobody knows."""
    return list(LEVELS).index(level) + 1 if level in LEVELS else 0


def key_of(level: Level, *, boot_id: str, image: str, gpus: Sequence[str], driver: str, script: str) -> str:
    """The key of finished steps: it changes with a reboot, level, image, driver or GPU, and all are repeated then."""
    parts = [asdict(level), boot_id, image, list(gpus), driver, hashlib.sha256(script.encode()).hexdigest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
