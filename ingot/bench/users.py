"""How many users at once a service holds its limits for: doubled until it does not, then halved in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingot.bench.load import MOST_AT_ONCE
from ingot.bench.measured import Measured

#: The share of requests that must meet every limit, and how near the answer must be to the truth.
ATTAINED, NEAR = 0.95, 0.05
#: The most levels that are tried.
MOST_LEVELS = 20


@dataclass(frozen=True, slots=True)
class Users:
    """The most users at once for whom the limits held; `levels` are all that were tried, in their order.

    `is_bound` says that more users held them than may be tried, so that the service holds at least this many.
    """

    held: int
    levels: tuple[tuple[int, Measured], ...]
    is_bound: bool = False


def holds(measured: Measured) -> bool:
    """Whether a level met its limits."""
    return measured.within is not None and measured.within >= ATTAINED


def find(probe: Callable[[int], Measured], most: int = MOST_AT_ONCE) -> Users:
    """Try levels with `probe`, each with as many users at once, until the answer is near enough.

    A service that holds no limit for one user holds them for 0.
    """
    levels: list[tuple[int, Measured]] = []

    def try_level(users: int) -> bool:
        measured = probe(users)
        levels.append((users, measured))
        return holds(measured)

    held, failed = 0, None
    users = 1
    while failed is None and held < most and len(levels) < MOST_LEVELS:
        if try_level(users):
            held, users = users, min(users * 2, most)
        else:
            failed = users
    while failed is not None and failed - held > max(1, NEAR * held) and len(levels) < MOST_LEVELS:
        middle = (held + failed) // 2
        if try_level(middle):
            held = middle
        else:
            failed = middle
    return Users(held, tuple(levels), is_bound=failed is None)
