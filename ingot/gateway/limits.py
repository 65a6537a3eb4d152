"""Limits of teams for nginx. Teams with the same limit share one zone of memory; each team has its own count in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ingot.gateway.teams import Team

Limit = TypeVar("Limit", bound=Hashable)

#: Words that mean something else at the beginning of a line of nginx' map.
_MAP_WORDS = frozenset({"default", "hostnames", "include", "volatile"})
#: Seconds after which a team with too many running requests may try again: nobody knows when one of them ends.
RUNNING_RETRY_S = 2


@dataclass(frozen=True)
class Shared(Generic[Limit]):
    """One limit and whose it is: `teams`, or (`others`) everybody's but `teams`."""

    limit: Limit
    teams: tuple[str, ...]
    others: bool = False

    @property
    def counted(self) -> tuple[tuple[str, str], ...]:
        """The lines of nginx' map that names a team where this limit is its own, and nobody ('') elsewhere."""
        inside, outside = ('""', "$team") if self.others else ("$team", '""')
        return (("default", outside), *((map_key(team), inside) for team in self.teams))


@dataclass(frozen=True)
class Rate:
    """Requests per minute, and how many of them may come at once."""

    per_minute: int
    burst: int

    @property
    def retry_s(self) -> int:
        """Seconds after which the next request is let through, if no other comes before."""
        return math.ceil(60 / self.per_minute)


def shared(others: Team, teams: Mapping[str, Team], limit: Callable[[Team], Limit]) -> tuple[Shared[Limit], ...]:
    """A limit of every team, by its values; the first is that of all teams without settings of their own."""
    usual = limit(others)
    own: dict[Limit, list[str]] = {}
    for name, team in teams.items():
        own.setdefault(limit(team), []).append(name)
    usually = {*own.pop(usual, ())}
    different = tuple(name for name in teams if name not in usually)
    return (
        Shared(usual, different, others=True),
        *(Shared(value, tuple(names)) for value, names in own.items()),
    )


def rates(others: Team, teams: Mapping[str, Team]) -> tuple[Shared[Rate], ...]:
    """Requests that may be started."""
    return shared(others, teams, lambda team: Rate(team.requests_per_minute, team.burst))


def running(others: Team, teams: Mapping[str, Team]) -> tuple[Shared[int], ...]:
    """Requests that may run at once."""
    return shared(others, teams, lambda team: team.concurrency)


def bodies(others: Team, teams: Mapping[str, Team]) -> tuple[Shared[int], ...]:
    """Largest request bodies in bytes, the largest of all first; only the first is nginx' own limit."""
    found = shared(others, teams, lambda team: team.max_body_bytes)
    return tuple(sorted(found, key=lambda one: -one.limit))


def refused(teams: Mapping[str, Team], models: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The models among `models` that a team may not use, for teams that may not use all of them."""
    found = {name: tuple(model for model in models if not team.may_use(model)) for name, team in teams.items()}
    return {name: denied for name, denied in found.items() if denied}


def by_team(limits: Sequence[Shared[Limit]], value: Callable[[Limit], object]) -> tuple[tuple[str, str], ...]:
    """The lines of nginx' map from a team to something that follows from its limit."""
    lines = [("default", str(value(one.limit))) for one in limits if one.others]
    return (*lines, *((map_key(team), str(value(one.limit))) for one in limits if not one.others for team in one.teams))


def listed(teams: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    """The lines of nginx' map from these teams to what is known of each."""
    return tuple((map_key(team), value) for team, value in teams.items())


def map_key(team: str) -> str:
    """A team's name as a line of nginx' map begins with it."""
    return f"\\{team}" if team in _MAP_WORDS else team
