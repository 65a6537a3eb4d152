"""Acceptance of every host that is meant, at the same time, and where its records are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko import SSHException
from pyinfra.api.host import Host

from ingot.acceptance import evidence, runner
from ingot.acceptance.evidence import Outcome
from ingot.acceptance.meeting import incomplete, meetings
from ingot.errors import IngotError
from ingot.inventory.fleet import Selected, asked, at_once, connected, secrets_of
from ingot.operations import lock
from ingot.runs import told

#: Tells how far a host is: its name, what it does, and at its end the result.
Say = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Accepted:
    """What came of a run: the outcome of each host that was gone through, a sentence for each other one."""

    outcomes: tuple[Outcome, ...]
    errors: tuple[IngotError, ...]


def directory_of(chosen: Selected) -> Path:
    """Where the records of an inventory's hosts are kept."""
    return secrets_of(chosen.path, chosen.state) / evidence.DIRECTORY


def accept(chosen: Selected, options: runner.Options, say: Say) -> Accepted:
    """Accept every host at once and keep its record; what fails for one stops no other."""
    directory = directory_of(chosen)
    groups = meetings(chosen.hosts) if options.burn_in else {}

    def one(host: Host) -> Outcome | IngotError:
        answer = alone(host)
        if meeting := groups.get(host.name):
            meeting.end(host.name, answer if isinstance(answer, Outcome) else None)
        return answer

    def alone(host: Host) -> Outcome | IngotError:
        name, meeting = host.name, groups.get(host.name)
        try:
            if meeting and (sentence := incomplete(name, meeting, chosen.names)):
                raise IngotError(sentence)
            say(name, "connecting", "")
            with connected(host):
                _hold(host)
                if meeting:
                    meeting.begin(name)
                fleet = evidence.fleet(directory, options.level.name, without=name)
                outcome = runner.accept(host, name, options, lambda text: say(name, text, ""), fleet)
                if meeting and (judged := meeting.judged(name, outcome)) != outcome:
                    outcome = judged
                    runner.record(host, runner.records(outcome))
                told.conclude(host, str(outcome.verdict), "; ".join(outcome.reasons))
        except IngotError as refused:
            error = refused
        except (OSError, EOFError, SSHException) as broken:
            error = IngotError(f"{name}: the connection broke ({broken!r}); the host goes on, run the same line again.")
        else:
            evidence.write(directory, name, outcome.at, outcome.to_dict())
            say(name, outcome.reasons[0] if outcome.reasons else "as it should be", str(outcome.verdict))
            return outcome
        say(name, str(error), "error")
        return error

    answers = at_once(chosen.state, chosen.hosts, one)
    return Accepted(
        tuple(answer for answer in answers if isinstance(answer, Outcome)),
        tuple(answer for answer in answers if isinstance(answer, IngotError)),
    )


def override(chosen: Selected, reason: str) -> Sequence[dict[str, Any] | IngotError]:
    """Let each host serve that failed, with the reason, and keep that: each one's acceptance as it is now."""
    directory = directory_of(chosen)

    def one(host: Host) -> dict[str, Any]:
        _hold(host)
        acceptance = {"host": host.name, **runner.override(host, host.name, reason)}
        evidence.write(directory, host.name, acceptance["override"]["at"], acceptance)
        told.conclude(host, "overridden", reason)
        return acceptance

    return asked(chosen, one)


def _hold(host: Host) -> None:
    """Hold a connected host for its acceptance. Raises: Held."""
    lock.hold(host, "accept")
    told.conclude(host, "failed", "it was not gone through to its end")
