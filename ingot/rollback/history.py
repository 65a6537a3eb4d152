"""What was done to a host, by its own audit or, where it is gone, by this machine's; and the states that it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra.api.host import Host

from ingot.errors import IngotError
from ingot.facts.audit import Audit
from ingot.facts.good_states import Serving, ServingLook
from ingot.inventory import journal
from ingot.inventory.fleet import Selected, asked
from ingot.operations.rollback.keep import serving
from ingot.operations.rollback.state import GoodState, read
from ingot.runs.audit import PastRun, past_runs
from ingot.settings import WrongValues, of_host


@dataclass(frozen=True)
class History:
    """A host's runs and states, oldest first; `now` is the number of the state that serves, None where none of them
    does. `from_here`: the host did not answer, so that the runs are those of this machine."""

    host: str
    runs: Sequence[PastRun]
    states: Sequence[GoodState] = ()
    now: int | None = None
    from_here: bool = False
    error: IngotError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "host": self.host,
            "from": "control machine" if self.from_here else "host",
            "runs": [one.to_dict() for one in self.runs],
            "states": [
                {
                    "number": one.number,
                    "at": one.at,
                    "run": one.run or None,
                    "commit": one.commit,
                    "serves": one.words(),
                    "images": list(one.images),
                    "now": one.number == self.now,
                }
                for one in self.states
            ],
        }


def histories(chosen: Selected) -> list[History]:
    """The history of each host, all of them asked at once."""
    answers = asked(chosen, _of_host)
    return [
        _of_here(host, answer) if isinstance(answer, IngotError) else answer
        for host, answer in zip(chosen.hosts, answers, strict=True)
    ]


def _of_host(host: Host) -> History:
    lines = host.get_fact(Audit)
    found: Serving = host.get_fact(ServingLook)
    if lines is None or not found.answered:
        raise IngotError(f"{host.name}: it gave no answer; see that sudo works there, and run again.")
    states = read(found.states)
    try:
        digest = serving(found, of_host(host)).digest
    except WrongValues:
        digest = ""
    now = next((one.number for one in reversed(states) if one.digest == digest), None)
    return History(host.name, past_runs(lines), states, now)


def _of_here(host: Host, error: IngotError) -> History:
    path = journal.file_of(host)
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    return History(host.name, past_runs(lines), from_here=True, error=error)
