"""The audit of a host read back: its lines become the runs that they tell of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ingot.runs.run import Run


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run and its end; `result` is "done", "failed", "interrupted", "cut off", what a command states, or None
    while it goes on. `operations` are the names of those that changed something, `changes` what they said of it."""

    run: Run
    result: str | None = None
    ended: str | None = None
    why: str = ""
    operations: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.run.to_dict(),
            "result": self.result,
            "ended": self.ended,
            "why": self.why,
            "operations": list(self.operations),
            "changes": list(self.changes),
        }


def past_runs(lines: Iterable[str]) -> tuple[PastRun, ...]:
    """The runs of an audit, oldest first; a line that is torn or of another form is passed over.

    A run that lost its connection begins more than once: its last end counts.
    """
    found: dict[str, PastRun] = {}
    for line in lines:
        try:
            record = json.loads(line)
            if record["event"] == "begin":
                run = Run.from_dict(record["run"])
                found[run.id] = PastRun(run)
            elif record["event"] == "end" and record["run"] in found:
                found[record["run"]] = _ended(found[record["run"]], record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(found.values())


def _ended(run: PastRun, record: Mapping[str, Any]) -> PastRun:
    return replace(
        run,
        result=str(record["result"]),
        ended=str(record["at"]),
        why=str(record.get("why", "")),
        operations=tuple(map(str, record.get("operations", ()))),
        changes=tuple(map(str, record.get("changes", ()))),
    )
