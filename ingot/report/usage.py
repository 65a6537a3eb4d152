"""Usage of teams: sums of several hosts added up, and shown as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingot.facts.usage_on_host import STEPS


@dataclass
class Used:
    """What one group asked for: `first_byte` counts answers by the time to their first byte, in steps of 5 %."""

    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_byte: Counter[int] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one host's row."""
        self.requests += row["requests"]
        self.refused.update(row["refused"])
        self.aborted += row["aborted"]
        self.prompt_tokens += row["prompt_tokens"]
        self.completion_tokens += row["completion_tokens"]
        self.first_byte.update({int(step): count for step, count in row["first_byte"].items()})

    def first_byte_s(self, share: float) -> float | None:
        """The time in seconds within which this share of answers began, within 5 %; None without answers."""
        wanted, seen = share * self.first_byte.total(), 0
        for step, count in sorted(self.first_byte.items()):
            seen += count
            if seen >= wanted:
                return float(10 ** (step / STEPS))
        return None

    def cells(self) -> dict[str, Any]:
        """What is shown of it, by column; times in seconds."""
        p50, p95 = self.first_byte_s(0.5), self.first_byte_s(0.95)
        return {
            "requests": self.requests,
            "refused": " ".join(f"{count}x{status}" for status, count in sorted(self.refused.items())),
            "aborted": self.aborted,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_byte_p50_s": p50 and round(p50, 3),
            "first_byte_p95_s": p95 and round(p95, 3),
        }


def merged(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], Used]:
    """Rows of any number of hosts, added up by group and sorted by it."""
    found: dict[tuple[str, ...], Used] = {}
    for row in rows:
        found.setdefault(tuple(row["group"]), Used()).add(row)
    return dict(sorted(found.items()))
