"""What the checks of tests/hosts found, read from their record and made readable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The schema of verify.json that this reads (tests/hosts/evidence.py writes it).
SCHEMA = 1
HEADINGS = ("host", "checks", "passed", "failed", "looked at in")


@dataclass(frozen=True)
class HostSummary:
    """One host: how many checks passed and failed, and why, each reason once."""

    host: str
    passed: int
    failed: int
    looked_s: float
    failures: tuple[str, ...]
    trouble: str | None = None

    @property
    def good(self) -> bool:
        return self.trouble is None and not self.failed

    def cells(self) -> tuple[str, ...]:
        """The row of the table; a host that could not be looked at has no figures."""
        if self.trouble:
            return (self.host, *("-" for _ in HEADINGS[1:]))
        counts = (self.passed + self.failed, self.passed, self.failed)
        return (self.host, *map(str, counts), f"{self.looked_s:.1f} s")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, where the host could be looked at."""
        return {"host": self.host, "passed": self.passed, "failed": self.failed, "failures": list(self.failures)}


def parse(record: Mapping[str, Any]) -> tuple[HostSummary, ...]:
    """The hosts of a verify.json, as it lists them.

    Raises: ValueError when it is of another schema.
    """
    if record.get("schema") != SCHEMA:
        raise ValueError(f"schema {record.get('schema')!r}, expected {SCHEMA}")
    return tuple(
        HostSummary(
            host=name,
            passed=one["passed"],
            failed=one["failed"],
            looked_s=one["looked_s"],
            failures=tuple(
                dict.fromkeys(
                    check["sentence"] or check["check"] for check in one["checks"] if check["outcome"] == "failed"
                )
            ),
            trouble=one["trouble"],
        )
        for name, one in record["hosts"].items()
    )
