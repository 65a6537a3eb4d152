"""Figures of a level from the times of its requests."""

from __future__ import annotations

from random import Random

import pytest

from ingot.bench.measured import Asked, measure, meets

pytestmark = pytest.mark.observe


def steady(rounds: int, at_once: int, ttft_s: float = 0.5, gap_s: float = 0.1, tokens: int = 6) -> list[Asked]:
    """Rounds of equal requests in lockstep: each answer takes a second by default."""
    each_s = ttft_s + gap_s * (tokens - 1)
    return [
        Asked(turn * each_s, True, ttft_s, (gap_s,) * (tokens - 1), input_tokens=100, output_tokens=tokens)
        for turn in range(rounds)
        for _ in range(at_once)
    ]


def test_rates_are_those_of_the_time_under_full_load() -> None:
    measured = measure(steady(rounds=10, at_once=4), 4, {})
    # From the end of the first round (1 s) to the end of the last (10 s).
    assert measured.steady_s == pytest.approx(9)
    assert measured.requests_per_s == pytest.approx(4)
    assert measured.output_tokens_per_s == pytest.approx(24, rel=0.02)
    assert measured.total_tokens_per_s == pytest.approx(424, rel=0.02)
    assert (measured.requests, measured.failed, measured.within, measured.goodput_per_s) == (40, 0, None, None)


def test_an_end_that_drags_on_does_not_lower_the_rate() -> None:
    straggler = Asked(9.0, True, 60.0, (0.1,), 100, 2)
    whole, dragged = measure(steady(10, 4), 4, {}), measure([*steady(10, 4), straggler], 4, {})
    assert dragged.requests_per_s == pytest.approx(whole.requests_per_s, rel=0.01)


def test_few_rounds_are_measured_as_a_whole() -> None:
    measured = measure(steady(rounds=2, at_once=4), 4, {})
    assert (measured.steady_s, measured.requests_per_s) == (pytest.approx(2), pytest.approx(4))


def test_several_tokens_in_one_step_are_all_counted() -> None:
    two_a_step = [Asked(float(turn), True, 0.5, (0.1, 0.1), 1, 6) for turn in range(10)]
    assert measure(two_a_step, 1, {}).output_tokens_per_s == pytest.approx(6, rel=0.1)


def test_percentiles_are_told_only_from_enough_requests() -> None:
    few, some, many = (measure(steady(rounds, 1), 1, {}) for rounds in (199, 200, 1000))
    assert few.ttft.p95_s is None and few.itl.p95_s is None
    assert (some.ttft.p95_s, some.ttft.p99_s) == (0.5, None)
    assert many.itl.p99_s == pytest.approx(0.1)


def test_percentiles_are_ranks() -> None:
    order = [number / 100 for number in range(1, 1001)]
    Random(7).shuffle(order)
    measured = measure([Asked(0.0, True, ttft_s=one, output_tokens=1) for one in order], 1, {})
    assert (measured.ttft.p50_s, measured.ttft.p95_s, measured.ttft.p99_s) == (5.0, 9.5, 9.9)


def test_goodput_is_what_meets_every_limit_and_failures_never_do() -> None:
    slow = [Asked(number, True, 2.0, (0.1,) * 5, 1, 6) for number in range(5)]
    failed = [Asked(0.0, False)] * 5
    measured = measure([*steady(10, 1), *slow, *failed], 1, {"ttft": 1.0, "itl": 0.2})
    assert (measured.failed, measured.within) == (5, 0.5)
    assert measured.goodput_per_s is not None and measured.goodput_per_s < measured.requests_per_s


def test_a_limit_of_time_between_tokens_judges_the_mean_of_an_answer() -> None:
    one = Asked(0.0, True, 0.1, (0.01, 0.09), 1, 3)
    assert meets(one, {"itl": 0.05}) and not meets(one, {"itl": 0.049}) and not meets(Asked(0.0, False), {})


def test_a_level_without_one_answer_has_figures_of_none() -> None:
    measured = measure([Asked(0.0, False)] * 3, 2, {"ttft": 1.0})
    assert (measured.failed, measured.requests_per_s, measured.within, measured.goodput_per_s) == (3, 0.0, 0.0, 0.0)
    assert measured.ttft.p95_s is None
