"""The number of users at which limits still hold, on simulated engines of known capacity."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from ingot.bench.measured import Asked, Measured, measure
from ingot.bench.users import MOST_LEVELS, find

pytestmark = pytest.mark.observe

LIMITS = {"ttft": 1.0, "itl": 0.05}


def engine(capacity: int, noise: float = 0.0) -> Callable[[int], Measured]:
    """An engine whose time between tokens rises in a straight line, from 10 ms at one user to just below 50 ms."""
    random = Random(capacity)

    def probe(users: int) -> Measured:
        gap_s = 0.01 + 0.0399 * (users - 1) / (capacity - 1) if capacity > 1 else 0.01 if users <= capacity else 0.06
        asked = [
            Asked(turn * 2.0, True, 0.2, (gap_s * random.gauss(1, noise),) * 20, 10, 21)
            for turn in range(10)
            for _ in range(users)
        ]
        return measure(asked, users, LIMITS)

    return probe


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 30, 100, 333, 1000])
def test_the_answer_is_within_a_tenth_of_the_truth(capacity: int) -> None:
    found = find(engine(capacity))
    assert capacity * 0.9 <= found.held <= capacity and not found.is_bound
    assert len(found.levels) <= MOST_LEVELS


@pytest.mark.parametrize("capacity", [30, 100, 333])
def test_noise_moves_it_little(capacity: int) -> None:
    # 95 % of answers must hold, so with 2 % of noise about 3 % fewer users do.
    assert capacity * 0.9 <= find(engine(capacity, noise=0.02)).held <= capacity * 1.02


def test_one_user_may_be_too_many() -> None:
    found = find(engine(0))
    assert (found.held, [users for users, _ in found.levels]) == (0, [1])


def test_a_service_that_holds_all_that_may_be_tried_is_said_to() -> None:
    found = find(engine(5000), most=64)
    assert (found.held, found.is_bound, [users for users, _ in found.levels]) == (64, True, [1, 2, 4, 8, 16, 32, 64])
