"""How callers fared since a moment, by the gateway's log of requests."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

#: A request of a team: neither a monitor's, nor of somebody without a key.
_REQUEST = '"team":"[^"]'
_FAILED = '"status":5[0-9][0-9],'


@dataclass(frozen=True, slots=True)
class LogMark:
    """A place in a log: the file's inode and its size in bytes; an inode of 0 where there is no log."""

    inode: int = 0
    size: int = 0


class AccessLogMark(FactBase[LogMark | None]):
    """Where a log ends now. Returns: LogMark(inode=131, size=5120); None where the host gave no answer."""

    def command(self, log: str) -> str:
        return f"stat --format '%i %s' {shlex.quote(log)} 2>/dev/null || echo '0 0'"

    @staticmethod
    def default() -> LogMark | None:
        return None

    def process(self, output: list[str]) -> LogMark | None:
        inode, size = output[0].split()
        return LogMark(int(inode), int(size))


@dataclass(frozen=True, slots=True)
class Served:
    """Requests of teams that ended, and how many of them with a status of 5xx."""

    requests: int = 0
    failed: int = 0

    @property
    def share(self) -> float:
        """The share that failed; 0 where nobody asked."""
        return self.failed / self.requests if self.requests else 0.0


class AccessLogSince(FactBase[Served | None]):
    """How requests ended since a mark, whether or not the log was rotated. Returns: Served(requests=50, failed=1)."""

    def command(self, log: str, mark: LogMark) -> str:
        directory, rest = shlex.quote(log.rpartition("/")[0]), f"tail --bytes +{mark.size + 1}"
        return (
            f"log={shlex.quote(log)}; "
            f'if [ "$(stat --format %i "$log" 2>/dev/null)" = {mark.inode} ]; then {rest} "$log"; else '
            f"find {directory} -maxdepth 1 -inum {mark.inode} -exec {rest} {{}} ';' 2>/dev/null; "
            'cat "$log" 2>/dev/null; fi '
            f"| awk '/{_REQUEST}/ {{n++; if (/{_FAILED}/) e++}} END {{print n + 0, e + 0}}'"
        )

    @staticmethod
    def default() -> Served | None:
        return None

    def process(self, output: list[str]) -> Served | None:
        requests, failed = output[-1].split()
        return Served(int(requests), int(failed))
