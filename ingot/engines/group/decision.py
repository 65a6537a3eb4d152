"""When all hosts of a group stop and start: pure, from what a host knows of itself and has heard of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Optional

#: What the head tells: members stop and say so; members run.
STOP, RUN = "stop", "run"
#: What members tell of the epoch that they are in.
STOPPED, RUNNING, ENDED = "stopped", "running", "ended"
#: A host that was not heard for this long is lost, seconds. Its own engine ends for the same reason.
LOST_S = 20.0
#: Seconds to wait before a start after so many in a row that came to nothing.
PAUSES_S = (0.0, 0.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Heard:
    """What a host said last, and when it was heard, by this host's own clock."""

    epoch: int
    phase: str
    digest: str
    at: float
    answered: bool = False
    failures: int = 0


@dataclass(frozen=True)
class Head:
    """Where the head is: `since` is when the phase began, `failures` are epochs in a row that never answered.

    `why` says whom it waits for, `cause` what ended the epoch before.
    """

    epoch: int
    phase: str = STOP
    since: float = 0.0
    why: str = ""
    failures: int = 0
    answered: bool = False
    cause: str = ""


@dataclass(frozen=True)
class Member:
    """Where another host is: the epoch that it follows, and what became of it there."""

    epoch: int = 0
    phase: str = ENDED
    why: str = ""


def lead(
    head: Head,
    heard: Mapping[str, Optional[Heard]],  # noqa: UP045 (python 3.9)
    *,
    runs: bool,
    answered: bool,
    trouble: str,
    digest: str,
    now: float,
) -> Head:
    """The head's next state: `heard` of every other host, whether the engine runs here, and what its answers show."""
    if head.phase == STOP:
        waits = [_why_not(name, one, head.epoch, digest, now) for name, one in heard.items()]
        why = next(filter(None, waits), "")
        paused = now - head.since < PAUSES_S[min(head.failures, len(PAUSES_S) - 1)]
        if why or paused:
            return replace(head, why=why)
        return replace(head, phase=RUN, since=now, why="")
    if answered and not head.answered:
        head = replace(head, answered=True, failures=0)
    ended = "the engine ended on this host" if not runs else trouble
    why = ended or next(filter(None, (_lost(name, one, head, now) for name, one in heard.items())), "")
    if not why:
        return head
    return Head(head.epoch + 1, STOP, now, "", 0 if head.answered else head.failures + 1, cause=why)


def _why_not(name: str, one: Optional[Heard], epoch: int, digest: str, now: float) -> str:  # noqa: UP045
    """Why a host is not ready to start; empty where it is."""
    if one is None or now - one.at > LOST_S:
        return f"{name} is not heard"
    if one.digest != digest:
        return f"{name} is set up for another group than this host: deploy both"
    return "" if (one.epoch, one.phase) == (epoch, STOPPED) else f"{name} has not stopped yet"


def _lost(name: str, one: Optional[Heard], head: Head, now: float) -> str:  # noqa: UP045
    """Why a host is lost while all should run; empty where it is not."""
    if one is None or now - one.at > LOST_S:
        return f"{name} is not heard"
    if (one.epoch, one.phase) == (head.epoch, RUNNING):
        return ""
    if (one.epoch, one.phase) == (head.epoch, ENDED):
        return f"the engine ended on {name}"
    # It has not heard of the start yet, or begins anew.
    return f"{name} does not run" if now - head.since > LOST_S else ""


def follow(
    member: Member,
    heard: Optional[Heard],  # noqa: UP045
    *,
    runs: bool,
    digest: str,
    now: float,
) -> Member:
    """A member's next state, by what it heard of the head. It runs only in an epoch whose stop it has seen."""
    if heard is None or now - heard.at > LOST_S:
        lost = replace(member, phase=ENDED, why="the head is not heard")
        return lost if member.phase in (RUNNING, STOPPED) else member
    if heard.digest != digest:
        return replace(member, phase=ENDED, why="the head is set up for another group than this host: deploy both")
    if heard.phase == STOP:
        return Member(heard.epoch, STOPPED)
    if heard.epoch != member.epoch:
        return Member(heard.epoch, ENDED, "it began anew while the others run")
    if member.phase == STOPPED:
        return replace(member, phase=RUNNING)
    if member.phase == RUNNING and not runs:
        return replace(member, phase=ENDED, why="the engine ended on this host")
    return member
