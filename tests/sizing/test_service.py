"""Which of two ways to serve is better, and by what."""

from __future__ import annotations

import pytest

from ingot.sizing.service import Service, rank
from ingot.sizing.throughput import Load, typical

pytestmark = pytest.mark.sizing

FAST = Service(tokens_per_s=100, request_s=1.0, gpus=4)
MUCH = Service(tokens_per_s=400, request_s=4.0, gpus=4)


def better(one: Service, other: Service, goal: str = "throughput", wanted: float | None = None) -> bool:
    return rank(one, goal, wanted) < rank(other, goal, wanted)  # type: ignore[arg-type]


def test_the_goal_decides() -> None:
    assert better(MUCH, FAST)
    assert better(FAST, MUCH, "latency")


def test_what_is_hardly_better_is_not_worth_a_gpu() -> None:
    smaller = Service(tokens_per_s=99.9, request_s=1.001, gpus=2)
    assert better(smaller, FAST)
    assert better(smaller, FAST, "latency")
    assert better(FAST, Service(tokens_per_s=90, request_s=1.2, gpus=2))


def test_among_equals_the_other_goal_decides() -> None:
    assert better(Service(100, 1.0, 4), Service(100, 2.0, 4))
    assert better(Service(200, 1.0, 4), Service(100, 1.0, 4), "latency")


def test_a_wished_rate_is_reached_with_the_fewest_gpus() -> None:
    enough, more, short = Service(120, 2.0, 2), Service(400, 1.0, 4), Service(90, 1.0, 1)
    assert better(enough, more, wanted=100)
    assert better(enough, short, wanted=100)
    assert better(more, enough, wanted=200)


def test_a_sequence_is_assumed_to_end_at_half_of_its_context_with_three_quarters_prompt() -> None:
    assert typical(8192, 4) == Load(3072, 1024, 4)
    assert typical(1, 1).prompt + typical(1, 1).answer == 1
