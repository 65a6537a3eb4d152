"""Tokens of each team by day, kept in files, so that they outlive the process that counted them.

Each process writes a file of its own, since a new one and the one that it replaces count at the same time, and reads
those of the others. A process that starts takes over the files of processes that have ended: their kernel locks tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: Days that are kept: the longest month and the one before.
KEPT = timedelta(days=62)
#: How old others' counts may be, seconds.
_OLD_S = 1.0

Days = dict[str, Counter[str]]


def today() -> str:
    """The day by which tokens count, UTC, as 2026-11-28."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


class Ledger:
    """Counts of this process and of the others in `directory`; None: in this process's memory alone."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._days: Days = {}
        self._others: dict[str, Days] = {}
        self._absorbed: list[str] = []
        self._read_at = float("-inf")
        self.is_dirty = False
        if directory:
            self._name = f"{time.time_ns()}-{os.getpid()}.json"
            # Held, and never closed, as long as this process runs.
            self._locks = [self._lock(directory / f"{self._name}.lock")]
            self._take_over(directory)

    def add(self, team: str, tokens: int, day: str) -> None:
        """Count tokens of a team on a day."""
        if tokens:
            self._days.setdefault(day, Counter())[team] += tokens
            self.is_dirty = True

    def used(self, team: str, period: str) -> int:
        """Tokens of a team on a day (2026-11-28) or in a month (2026-11)."""
        self._read_others()
        every = (self._days, *self._others.values())
        return sum(counts[team] for days in every for day, counts in days.items() if day.startswith(period))

    def save(self) -> None:
        """Write this process's counts down, as one file that is whole at every moment. Raises: OSError."""
        self.is_dirty = False
        if self._directory is None:
            return
        first = (datetime.now(UTC) - KEPT).strftime("%Y-%m-%d")
        days = {day: dict(counts) for day, counts in self._days.items() if day >= first}
        path = self._directory / self._name
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump({"absorbed": self._absorbed, "days": days}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _take_over(self, directory: Path) -> None:
        """Make the counts of processes that have ended this one's, and remove their files."""
        gone = []
        for name, days in self._read(directory).items():
            lock = self._lock(directory / f"{name}.lock")
            if lock is None:
                continue
            gone.append(name)
            self._locks.append(lock)
            for day, counts in days.items():
                self._days.setdefault(day, Counter()).update(counts)
        self._absorbed = gone
        self.save()
        for name in gone:
            for left in (directory / name, directory / f"{name}.lock"):
                left.unlink(missing_ok=True)

    def _read_others(self) -> None:
        now = time.monotonic()
        if self._directory is None or now - self._read_at < _OLD_S:
            return
        self._read_at = now
        self._others = self._read(self._directory)

    def _read(self, directory: Path) -> dict[str, Days]:
        """What other processes' files count, by name: nothing where it cannot be read, or was taken over already."""
        found: dict[str, Days] = {}
        absorbed: set[str] = set()
        for path in directory.glob("*.json"):
            if path.name == self._name or path.name in self._absorbed:
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                content = json.loads(path.read_text(encoding="utf-8"))
                days = {
                    day: Counter({team: int(count) for team, count in one.items()})
                    for day, one in content["days"].items()
                }
                absorbed |= set(content["absorbed"])
                found[path.name] = days
        return {name: {} if name in absorbed else days for name, days in found.items()}

    @staticmethod
    def _lock(path: Path) -> int | None:
        """A lock that ends with this process; None where another process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
