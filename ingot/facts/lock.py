"""Who holds a host: the lock of the run that changes it now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts import sections

_DIRECTORY = "/run/ingot"


@dataclass(frozen=True, slots=True)
class LockState:
    """Whether a run holds the host, what it said of itself, and how long ago it was heard of."""

    held: bool = False
    run: Mapping[str, Any] = field(default_factory=dict)
    silent_s: int = 0
    #: Whether the host was asked at all: a lost connection is no free lock.
    answered: bool = False


class Lock(FactBase[LockState]):
    """The lock of a host; the question takes it from nobody.

    Returns: LockState(held=True, run={"id": "5f0c2a11", "user": "anna", …}, silent_s=4, answered=True)
    """

    def command(self) -> str:
        return sections.compose(
            {
                # Trying to take it would refuse a run that begins at this moment, and /proc/locks leaves out a lock
                # whose taker has ended, as flock(1) does.
                "held": f'pid=$(cat {_DIRECTORY}/lock.pid) && [ "$(readlink "/proc/$pid/fd/9")" = {_DIRECTORY}/lock ]',
                "run": f"cat {_DIRECTORY}/lock.json 2>/dev/null",
                "silent": f"echo $(($(date +%s) - $(stat -c %Y {_DIRECTORY}/lock.json 2>/dev/null || date +%s)))",
            }
        )

    @staticmethod
    def default() -> LockState:
        return LockState()

    def process(self, output: list[str]) -> LockState:
        found = sections.split(output)
        try:
            run = json.loads(found["run"].output or "{}")
        except ValueError:
            run = {}
        silent = found["silent"].line
        return LockState(
            found["held"].status == 0,
            run if isinstance(run, Mapping) else {},
            int(silent) if silent.isdigit() else 0,
            answered=True,
        )


def breaking(by: str) -> str:
    """A shell command that ends the process which holds the host; the run learns who did that, and stops."""
    return (
        f"cd {_DIRECTORY} 2>/dev/null && pid=$(cat lock.pid 2>/dev/null) && printf '%s' '{by}' >lock.broken && "
        'kill "$pid" && for i in $(seq 50); do [ -e lock.pid ] || break; sleep 0.1; done; [ ! -e lock.pid ]'
    )
