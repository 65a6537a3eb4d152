"""Hosts that serve one replica are accepted at the same time: all begin or none, and a failed one fails their head."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyinfra.api.host import Host

from ingot.acceptance.evidence import Outcome
from ingot.acceptance.finding import Finding, Verdict
from ingot.errors import IngotError
from ingot.settings import WrongValues, section
from ingot.settings.serving import Serving

#: How long a host waits for the others of its group to be connected and held, seconds.
BEGIN_S = 300
PAUSE_S = 0.5


@dataclass
class Meeting:
    """The hosts of one group in one run, the head first: whether each can begin, and its outcome (None: none)."""

    model: str
    hosts: tuple[str, ...]
    begun: dict[str, bool] = field(default_factory=dict)
    ended: dict[str, Outcome | None] = field(default_factory=dict)

    def begin(self, name: str) -> None:
        """Wait until all hosts can begin. Raises: IngotError where one of them cannot."""
        self.begun[name] = True
        until = time.monotonic() + BEGIN_S
        while len(self.begun) < len(self.hosts) and all(self.begun.values()) and time.monotonic() < until:
            time.sleep(PAUSE_S)
        if lost := [one for one in self.hosts if not self.begun.get(one)]:
            raise IngotError(
                f"{name}: nothing was begun here, since {' and '.join(lost)}, with which it serves {self.model}, could "
                "not begin; mend that, and accept them together again."
            )

    def end(self, name: str, outcome: Outcome | None) -> None:
        """Tell the others what a host came to."""
        self.begun.setdefault(name, False)
        self.ended[name] = outcome

    def judged(self, name: str, outcome: Outcome) -> Outcome:
        """What a host comes to with the others: the head fails with each of them, since it answers for all.

        Only its gateway can hold them out.
        """
        others = [one for one in self.hosts if one != name]
        if name != self.hosts[0]:
            return outcome
        while not set(others) <= set(self.ended):
            time.sleep(PAUSE_S)
        failed = [one for one in others if (its := self.ended[one]) and its.verdict is Verdict.FAIL]
        if not failed or outcome.verdict is Verdict.FAIL:
            return outcome
        words = f"{' and '.join(failed)}, with which it serves {self.model}, failed; see there"
        return replace(outcome, verdict=Verdict.FAIL, findings=(Finding(Verdict.FAIL, words), *outcome.findings))


def meetings(hosts: Sequence[Host]) -> dict[str, Meeting]:
    """The groups of these hosts, by the names of hosts; who serves alone, or has wrong values, is of none."""
    made: dict[tuple[str, ...], Meeting] = {}
    found = {}
    for host in hosts:
        try:
            item = section(host, Serving).together
        except WrongValues:
            continue
        if item:
            found[host.name] = made.setdefault(item.hosts, Meeting(item.model, item.hosts))
    return found


def incomplete(name: str, meeting: Meeting, chosen: Sequence[str]) -> str | None:
    """Why a host's GPUs cannot be taken from it in this run; None where they can."""
    missing = [one for one in meeting.hosts if one not in chosen]
    if not missing:
        return None
    return (
        f"{name}: it serves {meeting.model} together with {' and '.join(one for one in meeting.hosts if one != name)}, "
        "all of which stop with it, expected all to be accepted in one run; run `ingot accept "
        f"{' '.join(meeting.hosts)}`, or leave their GPUs alone with --no-burn-in."
    )
