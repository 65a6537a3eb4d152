"""What the operations of a run tell its audit, kept with pyinfra's host until the run ends."""

from __future__ import annotations

from pyinfra.api.host import Host

_REFUSALS, _CHANGES, _RESULT = "ingot_refusals", "ingot_changes", "ingot_result"


def refused(host: Host, sentence: str) -> None:
    """An operation failed the host, and says why."""
    host.connector_data.setdefault(_REFUSALS, []).append(sentence)


def changed(host: Host, sentence: str) -> None:
    """An operation that executes announced a change."""
    host.connector_data.setdefault(_CHANGES, []).append(sentence)


def conclude(host: Host, result: str, why: str = "") -> None:
    """A command states the result of its run itself, since no operations of pyinfra tell it."""
    host.connector_data[_RESULT] = (result, why)


def refusals(host: Host) -> list[str]:
    """Why the host failed: each sentence once, in order."""
    return list(dict.fromkeys(host.connector_data.get(_REFUSALS, ())))


def changes(host: Host) -> list[str]:
    """What was announced while it was done: each sentence once, in order."""
    return list(dict.fromkeys(host.connector_data.get(_CHANGES, ())))


def conclusion(host: Host) -> tuple[str, str] | None:
    """The result and its reason that a command stated; None where none did."""
    stated: tuple[str, str] | None = host.connector_data.get(_RESULT)
    return stated
