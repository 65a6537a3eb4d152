"""How long replicas of a host take to start, as measured there: what callers are told, and what deadlines follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Where nothing was measured: the upper end of published starts without the weights (`ingot.engines.vllm`).
UNKNOWN_S = 200


@dataclass(frozen=True, slots=True)
class Starts:
    """`seconds` from the stop of a replica until it, or what took its place, answered, by its name."""

    disk_bytes_per_s: int | None = None
    seconds: Mapping[str, int] = field(default_factory=dict)

    def expected_s(self, name: str) -> int:
        """How long the next start is expected to take."""
        return self.seconds.get(name, UNKNOWN_S)

    def took(self, name: str, seconds: int) -> Starts:
        """With one more start."""
        return replace(self, seconds={**self.seconds, name: seconds})

    def of(self, names: Iterable[str]) -> Starts:
        """Of these replicas alone."""
        return replace(self, seconds={name: self.seconds[name] for name in names if name in self.seconds})

    def to_dict(self) -> dict[str, Any]:
        """What is stored on the host."""
        return {"disk_bytes_per_s": self.disk_bytes_per_s, "seconds": dict(self.seconds)}

    @classmethod
    def from_stored(cls, stored: Any) -> Starts:
        """What `to_dict` wrote; nothing where that cannot be read."""
        try:
            rate = stored["disk_bytes_per_s"]
            seconds = {str(name): int(value) for name, value in stored["seconds"].items()}
            return cls(int(rate) if rate else None, seconds)
        except (TypeError, KeyError, ValueError, AttributeError):
            return cls()
