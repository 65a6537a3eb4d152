"""Which states the hosts of a group keep together, and to which of them they go back as one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ingot.errors import IngotError
from ingot.operations.rollback.state import GoodState


@dataclass(frozen=True, slots=True)
class Part:
    """What a host of a group keeps, oldest first, and what it serves now. `Parts` are by host, the head first."""

    states: tuple[GoodState, ...]
    now: GoodState


Parts = Mapping[str, Part]


def shared(parts: Parts) -> tuple[int, ...]:
    """The numbers of the states that all hosts of the group keep of it, oldest first."""
    hosts = tuple(parts)
    kept = [{(one.number, one.run) for one in part.states if one.hosts == hosts} for part in parts.values()]
    return tuple(sorted(number for number, _ in set.intersection(*kept)))


def serves(parts: Parts, number: int) -> bool:
    """Whether every host of the group serves a state that all keep."""
    return all(_state(part, number).digest == part.now.digest for part in parts.values())


def kept(parts: Parts, me: str, keep: int) -> tuple[GoodState, ...]:
    """The states of one host after a deploy of the group, oldest first: each host gives the newest the same number.

    A state that serves the same on all of them makes way for it.
    """
    own, numbers = parts[me], shared(parts)
    again = {number for number in numbers if serves(parts, number)}
    highest = max((one.number for part in parts.values() for one in part.states), default=0)
    if highest in again:
        return own.states[-keep:]
    others = [one for one in own.states if one.number not in again]
    return (*others, replace(own.now, number=highest + 1))[-keep:]


def target(parts: Parts, number: int | None) -> int:
    """The number of the state to go back to: the one asked for, else the newest that is older than what serves now.

    Raises: IngotError, where there is none, with the host that lacks it.
    """
    hosts, numbers = tuple(parts), shared(parts)
    for name, part in parts.items():
        if part.now.hosts != hosts:
            others = " and ".join(one for one in hosts if one != name)
            raise IngotError(
                f"{name}: it does not serve together with {others} yet, as its `serve` says, expected a group that was "
                "deployed; deploy all its hosts."
            )
    now = next((one for one in reversed(numbers) if serves(parts, one)), None)
    if number in numbers:
        return number
    older = [one for one in numbers if now is None or one < now]
    if number is None and older:
        return older[-1]
    words = ", ".join(f"{one}{' (serves now)' if one == now else ''}" for one in numbers) or "none"
    if number is None:
        lacks, what = hosts[0], "no state of its group older than what serves now"
    else:
        lacks = next((name for name, part in parts.items() if not _keeps(part, number, hosts)), hosts[0])
        what = f"no state {number} of its group"
    raise IngotError(
        f"{lacks}: it keeps {what}, expected one that {' and '.join(hosts)} all keep ({words}); see `ingot history "
        f"{' '.join(hosts)}`, or deploy an earlier commit of the fleet's repository."
    )


def _keeps(part: Part, number: int, hosts: tuple[str, ...]) -> bool:
    return any((one.number, one.hosts) == (number, hosts) for one in part.states)


def _state(part: Part, number: int) -> GoodState:
    return next(one for one in part.states if one.number == number)
